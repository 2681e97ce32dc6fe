//! A training step of ResNet-20 on burn's CPU back end (flex), as a user of burn would write it.
//!
//! `peer-burn FOLDER plain|quantised REPETITIONS` prints one JSON object: losses, seconds, peak memory.

use std::collections::HashMap;
use std::time::Instant;

use burn::module::{Module, Param, ParamId};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, GradientsParams, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::SafeTensors;

const LEVELS: f64 = 3.0;

/// Tensors of a file by name.
struct File {
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
    device: Device,
}

impl File {
    fn read(path: &str, device: &Device) -> Self {
        let bytes = std::fs::read(path).expect("the exchanged file");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let numbers = view.data().chunks_exact(4);
            let numbers = numbers.map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")));
            (name, (view.shape().to_vec(), numbers.collect()))
        });
        File {
            tensors: tensors.collect(),
            device: device.clone(),
        }
    }

    fn data(&self, name: &str) -> TensorData {
        let (shape, numbers) = &self.tensors[name];
        TensorData::new(numbers.clone(), shape.clone())
    }

    fn param<const D: usize>(&self, name: &str) -> Param<Tensor<D>> {
        Param::from_data(self.data(name), &self.device)
    }

    fn norm(&self, name: &str, channels: usize) -> BatchNorm {
        let mut norm = BatchNormConfig::new(channels).init(&self.device);
        norm.gamma = self.param(&format!("{name}.weight"));
        norm.beta = self.param(&format!("{name}.bias"));
        norm
    }
}

/// `round(LEVELS * clamp(n, 0, 1)) / LEVELS` with `n = (x - lower) / (upper - lower)`; the rounding is straight-through.
fn quantise<const D: usize>(x: Tensor<D>, bounds: Tensor<1>) -> Tensor<D> {
    let lower = bounds.clone().slice([0..1]).reshape([1; D]);
    let upper = bounds.slice([1..2]).reshape([1; D]);
    let n = (x - lower.clone()) / (upper - lower);
    let k = n.clamp(0.0, 1.0) * LEVELS;
    let rounding = (k.clone().round() - k.clone()).detach();
    (k + rounding) / LEVELS
}

#[derive(Module, Debug)]
struct Bounds {
    weight: Param<Tensor<1>>,
    act: Param<Tensor<1>>,
}

impl Bounds {
    fn load(file: &File, name: &str) -> Option<Self> {
        let weight = format!("{name}.weight_bounds");
        file.tensors.contains_key(&weight).then(|| Bounds {
            weight: file.param(&weight),
            act: file.param(&format!("{name}.act_bounds")),
        })
    }

    fn operands<const X: usize, const W: usize>(
        bounds: &Option<Self>,
        x: Tensor<X>,
        w: Tensor<W>,
    ) -> (Tensor<X>, Tensor<W>) {
        match bounds {
            None => (x, w),
            Some(b) => (
                quantise(x, b.act.val()),
                (quantise(w, b.weight.val()) - 0.5) * 2.0,
            ),
        }
    }
}

#[derive(Module, Debug)]
struct Conv {
    weight: Param<Tensor<4>>,
    bounds: Option<Bounds>,
    stride: usize,
    padding: usize,
}

impl Conv {
    fn load(file: &File, name: &str, stride: usize) -> Self {
        let weight: Param<Tensor<4>> = file.param(&format!("{name}.weight"));
        let padding = weight.dims()[2] / 2;
        Conv {
            weight,
            bounds: Bounds::load(file, name),
            stride,
            padding,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (x, w) = Bounds::operands(&self.bounds, x, self.weight.val());
        let options = ConvOptions::new([self.stride; 2], [self.padding; 2], [1; 2], 1);
        conv2d(x, w, None, options)
    }
}

#[derive(Module, Debug)]
struct Shortcut {
    conv: Conv,
    norm: BatchNorm,
}

#[derive(Module, Debug)]
struct Block {
    conv1: Conv,
    bn1: BatchNorm,
    conv2: Conv,
    bn2: BatchNorm,
    shortcut: Option<Shortcut>,
}

impl Block {
    fn load(file: &File, name: &str, inputs: usize, width: usize, stride: usize) -> Self {
        let shortcut = (stride != 1 || inputs != width).then(|| Shortcut {
            conv: Conv::load(file, &format!("{name}.downsample.0"), stride),
            norm: file.norm(&format!("{name}.downsample.1"), width),
        });
        Block {
            conv1: Conv::load(file, &format!("{name}.conv1"), stride),
            bn1: file.norm(&format!("{name}.bn1"), width),
            conv2: Conv::load(file, &format!("{name}.conv2"), 1),
            bn2: file.norm(&format!("{name}.bn2"), width),
            shortcut,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = relu(self.bn1.forward(self.conv1.forward(x.clone())));
        let y = self.bn2.forward(self.conv2.forward(y));
        let x = match &self.shortcut {
            None => x,
            Some(s) => s.norm.forward(s.conv.forward(x)),
        };
        relu(y + x)
    }
}

#[derive(Module, Debug)]
struct ResNet20 {
    conv1: Conv,
    bn1: BatchNorm,
    blocks: Vec<Block>,
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
    bounds: Option<Bounds>,
}

impl ResNet20 {
    fn load(file: &File) -> Self {
        let mut blocks = Vec::new();
        let mut inputs = 16;
        for (stage, width) in [16, 32, 64].into_iter().enumerate() {
            for block in 0..3 {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                blocks.push(Block::load(file, &name, inputs, width, stride));
                inputs = width;
            }
        }
        ResNet20 {
            conv1: Conv::load(file, "conv1", 1),
            bn1: file.norm("bn1", 16),
            blocks,
            weight: file.param("fc.weight"),
            bias: file.param("fc.bias"),
            bounds: Bounds::load(file, "fc"),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.bn1.forward(self.conv1.forward(x)));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x: Tensor<2> = x.mean_dim(3).mean_dim(2).flatten(1, 3);
        let (x, w) = Bounds::operands(&self.bounds, x, self.weight.val());
        x.matmul(w.transpose()) + self.bias.val().unsqueeze()
    }

    /// The parameters that Adam updates.
    fn bound_ids(&self) -> Vec<ParamId> {
        let convs = self.blocks.iter().flat_map(|b| {
            let shortcut = b.shortcut.as_ref().map(|s| &s.conv);
            [&b.conv1, &b.conv2].into_iter().chain(shortcut)
        });
        let layers = convs.chain([&self.conv1]).map(|c| &c.bounds);
        layers
            .chain([&self.bounds])
            .flatten()
            .flat_map(|b| [b.weight.id, b.act.id])
            .collect()
    }
}

fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux kernel");
    let line = status.lines().find(|l| l.starts_with("VmHWM")).expect("VmHWM");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, folder, kind, repetitions] = args.as_slice() else {
        panic!("usage: peer-burn FOLDER plain|quantised REPETITIONS");
    };
    let device = Device::flex().autodiff();
    let mut net = ResNet20::load(&File::read(&format!("{folder}/{kind}.safetensors"), &device));
    let batch = File::read(&format!("{folder}/batch.safetensors"), &device);
    let x: Tensor<4> = Tensor::from_data(batch.data("images"), &device);
    let labels: Vec<i64> = batch.tensors["labels"].1.iter().map(|&l| l as i64).collect();
    let labels: Tensor<1, Int> = Tensor::from_data(labels.as_slice(), &device);
    let criterion = CrossEntropyLossConfig::new().init(&device);
    let mut sgd = SgdConfig::new()
        .with_momentum(Some(MomentumConfig::new().with_dampening(0.0)))
        .with_weight_decay(Some(WeightDecayConfig::new(1e-4)))
        .init();
    let mut adam = AdamConfig::new().with_epsilon(1e-8).init();
    let bounds = net.bound_ids();
    let (mut losses, mut seconds) = (Vec::new(), Vec::new());
    for _ in 0..repetitions.parse::<usize>().expect("a number") {
        let start = Instant::now();
        let loss = criterion.forward(net.forward(x.clone()), labels.clone());
        let mut grads = loss.backward();
        let of_bounds = GradientsParams::from_params(&mut grads, &net, &bounds);
        let of_others = GradientsParams::from_module(&mut grads, &net);
        net = sgd.step(0.1, net, of_others);
        net = adam.step(1e-4, net, of_bounds);
        losses.push(loss.into_scalar::<f32>());
        seconds.push(start.elapsed().as_secs_f64());
    }
    println!(
        "{}",
        serde_json::json!({ "losses": losses, "seconds": seconds, "peak_kilobytes": peak_kilobytes() })
    );
}
