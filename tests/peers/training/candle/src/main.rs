//! A training step of ResNet-20 on candle, as a user of candle would write it.
//!
//! `peer-candle FOLDER plain|quantised REPETITIONS` prints one JSON object: losses, seconds, peak memory.

use std::time::Instant;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{
    AdamW, BatchNorm, BatchNormConfig, ModuleT, Optimizer, ParamsAdamW, VarBuilder, VarMap,
    batch_norm, loss,
};

const LEVELS: f64 = 3.0;

/// `round(LEVELS * clamp(n, 0, 1)) / LEVELS` with `n = (x - lower) / (upper - lower)`; the rounding is straight-through.
fn quantise(x: &Tensor, bounds: &Tensor) -> Result<Tensor> {
    let (lower, upper) = (bounds.narrow(0, 0, 1)?, bounds.narrow(0, 1, 1)?);
    let n = x.broadcast_sub(&lower)?.broadcast_div(&(upper - &lower)?)?;
    let k = (n.clamp(0f32, 1f32)? * LEVELS)?;
    let rounded = (&k + (k.round()? - &k)?.detach())?;
    rounded / LEVELS
}

struct Bounds {
    weight: Tensor,
    act: Tensor,
}

impl Bounds {
    fn new(quantised: bool, vb: &VarBuilder) -> Result<Option<Self>> {
        if !quantised {
            return Ok(None);
        }
        Ok(Some(Bounds {
            weight: vb.get(2, "weight_bounds")?,
            act: vb.get(2, "act_bounds")?,
        }))
    }
}

fn operands(x: &Tensor, w: &Tensor, bounds: &Option<Bounds>) -> Result<(Tensor, Tensor)> {
    match bounds {
        None => Ok((x.clone(), w.clone())),
        Some(b) => {
            let w = ((quantise(w, &b.weight)? - 0.5)? * 2.0)?;
            Ok((quantise(x, &b.act)?, w))
        }
    }
}

struct Conv {
    weight: Tensor,
    bounds: Option<Bounds>,
    stride: usize,
    padding: usize,
}

impl Conv {
    fn new(i: usize, o: usize, k: usize, stride: usize, q: bool, vb: VarBuilder) -> Result<Self> {
        Ok(Conv {
            weight: vb.get((o, i, k, k), "weight")?,
            bounds: Bounds::new(q, &vb)?,
            stride,
            padding: k / 2,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (x, w) = operands(x, &self.weight, &self.bounds)?;
        x.conv2d(&w, self.padding, self.stride, 1, 1)
    }
}

struct Block {
    conv1: Conv,
    bn1: BatchNorm,
    conv2: Conv,
    bn2: BatchNorm,
    shortcut: Option<(Conv, BatchNorm)>,
}

impl Block {
    fn new(i: usize, o: usize, stride: usize, q: bool, vb: VarBuilder) -> Result<Self> {
        let norm = |name: &str| batch_norm(o, BatchNormConfig::default(), vb.pp(name));
        let shortcut = if stride != 1 || i != o {
            let conv = Conv::new(i, o, 1, stride, q, vb.pp("downsample.0"))?;
            Some((conv, norm("downsample.1")?))
        } else {
            None
        };
        Ok(Block {
            conv1: Conv::new(i, o, 3, stride, q, vb.pp("conv1"))?,
            bn1: norm("bn1")?,
            conv2: Conv::new(o, o, 3, 1, q, vb.pp("conv2"))?,
            bn2: norm("bn2")?,
            shortcut,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.bn1.forward_t(&self.conv1.forward(x)?, true)?.relu()?;
        let y = self.bn2.forward_t(&self.conv2.forward(&y)?, true)?;
        let x = match &self.shortcut {
            None => x.clone(),
            Some((conv, norm)) => norm.forward_t(&conv.forward(x)?, true)?,
        };
        (y + x)?.relu()
    }
}

struct ResNet20 {
    conv1: Conv,
    bn1: BatchNorm,
    blocks: Vec<Block>,
    weight: Tensor,
    bias: Tensor,
    bounds: Option<Bounds>,
}

impl ResNet20 {
    fn new(q: bool, vb: VarBuilder) -> Result<Self> {
        let mut blocks = Vec::new();
        let mut inputs = 16;
        for (stage, width) in [16, 32, 64].into_iter().enumerate() {
            for block in 0..3 {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let vb = vb.pp(format!("layer{}.{block}", stage + 1));
                blocks.push(Block::new(inputs, width, stride, q, vb)?);
                inputs = width;
            }
        }
        let fc = vb.pp("fc");
        Ok(ResNet20 {
            conv1: Conv::new(3, 16, 3, 1, q, vb.pp("conv1"))?,
            bn1: batch_norm(16, BatchNormConfig::default(), vb.pp("bn1"))?,
            blocks,
            weight: fc.get((10, 64), "weight")?,
            bias: fc.get(10, "bias")?,
            bounds: Bounds::new(q, &fc)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.bn1.forward_t(&self.conv1.forward(x)?, true)?.relu()?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let x = x.mean((D::Minus2, D::Minus1))?;
        let (x, w) = operands(&x, &self.weight, &self.bounds)?;
        x.matmul(&w.t()?)?.broadcast_add(&self.bias)
    }
}

/// SGD with momentum and weight decay, which candle does not bring.
struct Sgd {
    params: Vec<(Var, Option<Tensor>)>,
}

impl Sgd {
    fn step(&mut self, grads: &candle_core::backprop::GradStore) -> Result<()> {
        for (var, velocity) in &mut self.params {
            let Some(grad) = grads.get(var) else { continue };
            let grad = (grad + (var.as_tensor() * 1e-4)?)?;
            let v = match velocity.take() {
                None => grad,
                Some(v) => ((v * 0.9)? + grad)?,
            }
            .detach();
            var.set(&(var.as_tensor() - (&v * 0.1)?)?)?;
            *velocity = Some(v);
        }
        Ok(())
    }
}

fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux kernel");
    let line = status.lines().find(|l| l.starts_with("VmHWM")).expect("VmHWM");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, folder, kind, repetitions] = args.as_slice() else {
        panic!("usage: peer-candle FOLDER plain|quantised REPETITIONS");
    };
    let device = Device::Cpu;
    let mut variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &device);
    let net = ResNet20::new(kind == "quantised", vb)?;
    variables.load(format!("{folder}/{kind}.safetensors"))?;
    let batch = candle_core::safetensors::load(format!("{folder}/batch.safetensors"), &device)?;
    let (x, labels) = (&batch["images"], batch["labels"].to_dtype(DType::U32)?);
    let (mut weights, mut bounds) = (Vec::new(), Vec::new());
    for (name, var) in variables.data().lock().expect("no other thread").iter() {
        if name.ends_with("_bounds") {
            bounds.push(var.clone());
        } else if !name.contains("running_") {
            weights.push((var.clone(), None));
        }
    }
    let mut sgd = Sgd { params: weights };
    let mut adam = AdamW::new(
        bounds,
        ParamsAdamW {
            lr: 1e-4,
            weight_decay: 0.0,
            ..ParamsAdamW::default()
        },
    )?;
    let (mut losses, mut seconds) = (Vec::new(), Vec::new());
    for _ in 0..repetitions.parse::<usize>().expect("a number") {
        let start = Instant::now();
        let loss = loss::cross_entropy(&net.forward(x)?, &labels)?;
        let grads = loss.backward()?;
        sgd.step(&grads)?;
        adam.step(&grads)?;
        losses.push(loss.to_scalar::<f32>()?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    println!(
        "{}",
        serde_json::json!({ "losses": losses, "seconds": seconds, "peak_kilobytes": peak_kilobytes() })
    );
    Ok(())
}
