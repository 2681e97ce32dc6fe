//! Rebit's side of `tests/peers/run training` and `masked`, one JSON object a run.
//!
//! ```text
//! bench_peers prepare FOLDER                        weights and a batch for everybody to start from
//! bench_peers step FOLDER plain|quantised STEPS     losses, seconds of each step, peak memory
//! bench_peers cases                                 the convolutions that are compared
//! bench_peers convs SECONDS                         seconds of forward and backward passes of each
//! bench_peers masked SECONDS                        weight gradients of ResNet-20, dense and partly frozen
//! bench_peers lts freeze|baseline EPOCHS STEPS      seconds of a run that freezes, or of one that does not
//! bench_peers scaling STEPS                         seconds of a step by batch size and by width
//! bench_peers draw-scaling FILE.json FILE.svg       the figure of such runs, one for each number of threads
//! bench_peers peak                                  GFLOP/s of multiply-adds in registers on all threads
//! ```

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use rand::Rng as _;
use rebit::dev;
use rebit::dfdx::tensor::AsArray as _;
use rebit::nn::Param;
use rebit::ops::conv2d::{Conv2dKernel, ConvInput, ConvShape, GradTo};
use rebit::prelude::*;
use serde_json::{Value, json};

#[path = "support/exchange.rs"]
mod exchange;
#[path = "support/masked.rs"]
mod masked;
#[path = "support/peak.rs"]
mod peak;
#[path = "support/scaling.rs"]
mod scaling;
#[path = "support/training.rs"]
mod training;

/// Batches tried in search of a steady one.
const SEEDS: u64 = 20;
const BATCH: usize = 128;
const SAMPLE: usize = 3 * 32 * 32;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["prepare", folder] => prepare(Path::new(folder))?,
        ["step", folder, kind, steps] => {
            step(Path::new(folder), kind, steps.parse().expect("STEPS"))?
        }
        ["cases"] => cases().iter().map(Case::describe).collect(),
        ["convs", seconds] => convs(seconds.parse().expect("SECONDS"))?,
        ["masked", seconds] => masked::layers(seconds.parse().expect("SECONDS"))?,
        ["lts", rule @ ("freeze" | "baseline"), epochs, steps] => masked::run(
            *rule == "freeze",
            epochs.parse().expect("EPOCHS"),
            steps.parse().expect("STEPS"),
        )?,
        ["scaling", steps] => scaling::measure(steps.parse().expect("STEPS"))?,
        ["draw-scaling", from, to] => {
            let text = std::fs::read_to_string(from).expect("the runs");
            let runs: Vec<Value> = serde_json::from_str(&text).expect("a list of runs");
            scaling::draw(&runs).save(to)?;
            Value::Null
        }
        ["peak"] => peak::measure(),
        _ => panic!("usage: bench_peers prepare|step|cases|convs|masked|lts|scaling|peak ..."),
    };
    println!("{result}");
    Ok(())
}

/// ResNet-20, quantised to 2 bits or not.
fn network(kind: &str) -> Result<Net> {
    let net = resnet20(10, rng(0));
    if kind == "quantised" {
        net.quantise(|_| Ok(Slots::bits(2)))?;
    }
    Ok(net)
}

/// Weights, bounds as the first batch sets them, and that batch.
///
/// Few levels make many equal values, and where a crowd of them lies on the edge between two levels, the last bit of a
/// sum decides for all of it: two programs that compute the same differ in the loss. Such batches are passed over.
fn prepare(folder: &Path) -> Result<Value> {
    std::fs::create_dir_all(folder).expect("the folder to exchange files in");
    let labels: Vec<usize> = (0..BATCH).map(|k| k % 10).collect();
    let (pixels, quantised) = (1..=SEEDS)
        .find_map(|seed| steady(seed, &labels).transpose())
        .expect("about every second batch is steady")?;
    quantised.save(folder.join("quantised.safetensors"), &[])?;
    network("plain")?.save(folder.join("plain.safetensors"), &[])?;
    let labels: Vec<f32> = labels.into_iter().map(|l| l as f32).collect();
    let tensors = [
        ("images".into(), vec![BATCH, 3, 32, 32], pixels),
        ("labels".into(), vec![BATCH], labels),
    ];
    exchange::write(&folder.join("batch.safetensors"), &tensors);
    Ok(json!({ "threads": rayon::current_num_threads() }))
}

/// A batch and the network with its bounds, unless the loss moves when the bounds move by a few units in the last place.
fn steady(seed: u64, labels: &[usize]) -> Result<Option<(Vec<f32>, Net)>> {
    let mut rng = rng(seed);
    let pixels: Vec<f32> = (0..BATCH * SAMPLE)
        .map(|_| f32::from(rng.random::<u8>()) / 255.0)
        .collect();
    let x = from_vec(pixels.clone(), (BATCH, 3, 32, 32))?;
    let net = network("quantised")?;
    let loss = || -> Result<f32> {
        let logits = net.forward(x.leaky_trace(), Mode::Train)?;
        Ok(cross_entropy(logits, labels).array())
    };
    let here = loss()?;
    let bounds: Vec<Param> = net
        .parameters()
        .into_iter()
        .filter(|p| p.name.ends_with("act_bounds"))
        .collect();
    for bits in [-4.0, -2.0, -1.0, 1.0, 2.0, 4.0] {
        for p in &bounds {
            let b = p.to_vec();
            net.set_parameter(&p.name, &[b[0], b[1] * (1.0 + bits * f32::EPSILON)])?;
        }
        let there = loss()?;
        for p in &bounds {
            net.set_parameter(&p.name, &p.to_vec())?;
        }
        if (there - here).abs() > 1e-4 {
            return Ok(None);
        }
    }
    Ok(Some((pixels, net)))
}

/// The batch again and again.
fn step(folder: &Path, kind: &str, steps: usize) -> Result<Value> {
    let net = network(kind)?;
    net.load(folder.join(format!("{kind}.safetensors")))?;
    let batch = exchange::read(&folder.join("batch.safetensors"));
    let pixels = batch["images"].iter();
    let pixels = pixels.map(|v| (v * 255.0).round() as u8).collect();
    let labels = batch["labels"].iter().map(|&l| l as u8).collect();
    let mut told = training::repeat(&net, pixels, labels, steps)?.describe();
    told["activation_bytes"] = net.peak_activation_bytes().into();
    Ok(told)
}

/// One convolution of the table.
struct Case {
    name: &'static str,
    shape: ConvShape,
}

impl Case {
    fn describe(&self) -> Value {
        let s = &self.shape;
        json!({
            "name": self.name, "batch": s.batch, "size": s.in_h, "in_channels": s.in_channels,
            "out_channels": s.out_channels, "kernel": s.kernel.0, "stride": s.stride, "groups": s.groups,
            "macs": s.macs(),
        })
    }
}

fn cases() -> Vec<Case> {
    let conv = |name, batch, size, channels, k, stride, groups| {
        let shape = ConvShape {
            groups,
            ..ConvShape::square(batch, size, channels, k, stride)
        };
        Case { name, shape }
    };
    let dense = |name, batch, size, channels| conv(name, batch, size, channels, 3, 1, 1);
    let depthwise = |name, batch, size, c, stride| conv(name, batch, size, (c, c), 3, stride, c);
    let pointwise = |name, batch, size, channels| conv(name, batch, size, channels, 1, 1, 1);
    vec![
        dense("16ch 32x32, batch 128", 128, 32, (16, 16)),
        dense("32ch 16x16, batch 128", 128, 16, (32, 32)),
        dense("64ch 8x8, batch 128", 128, 8, (64, 64)),
        depthwise("depthwise 32ch 112x112, batch 8", 8, 112, 32, 1),
        depthwise("depthwise 96ch 112x112 stride 2, batch 8", 8, 112, 96, 2),
        depthwise("depthwise 144ch 56x56, batch 8", 8, 56, 144, 1),
        depthwise("depthwise 384ch 14x14, batch 8", 8, 14, 384, 1),
        depthwise("depthwise 960ch 7x7, batch 8", 8, 7, 960, 1),
        depthwise("depthwise 96ch 32x32, batch 128", 128, 32, 96, 1),
        depthwise("depthwise 192ch 8x8, batch 128", 128, 8, 192, 1),
        pointwise("pointwise 32->16 112x112, batch 8", 8, 112, (32, 16)),
        pointwise("pointwise 24->144 56x56, batch 8", 8, 56, (24, 144)),
        pointwise("pointwise 384->64 14x14, batch 8", 8, 14, (384, 64)),
        pointwise("pointwise 160->960 7x7, batch 8", 8, 7, (160, 960)),
        pointwise("pointwise 16->96 32x32, batch 128", 128, 32, (16, 96)),
        pointwise("pointwise 192->64 4x4, batch 128", 128, 4, (192, 64)),
        dense("EDSR 64ch 48x48, batch 16", 16, 48, (64, 64)),
    ]
}

/// Forward pass, gradient of the input, gradient of the weight: seconds of each call.
fn convs(wanted: f64) -> Result<Value> {
    let d = dev();
    let mut results = serde_json::Map::new();
    for Case { name, shape: s } in cases() {
        let fill = |len: usize| {
            let of = |k: usize| ((k * 7919) % 1000) as f32 * 0.002 - 1.0;
            rebit::buffer(&(0..len).map(of).collect::<Vec<_>>()).expect("memory")
        };
        let (x, w, dy) = (
            fill(s.input_len()),
            fill(s.weight_len()),
            fill(s.output_len()),
        );
        let (mut y, mut dx, mut dw) = (
            fill(s.output_len()),
            fill(s.input_len()),
            fill(s.weight_len()),
        );
        let begin = Instant::now();
        let mut parts = [const { Vec::new() }; 3];
        while parts[0].len() < 6 || begin.elapsed().as_secs_f64() < wanted {
            let start = Instant::now();
            d.conv2d_forward(&s, ConvInput::new(&x, None), &w, None, black_box(&mut y))?;
            let forward = start.elapsed().as_secs_f64();
            d.conv2d_grad_input(
                &s,
                &dy,
                &w,
                ConvInput::new(&x, None),
                GradTo::Overwrite(black_box(&mut dx)),
            )?;
            let input = start.elapsed().as_secs_f64();
            d.conv2d_grad_weight(&s, ConvInput::new(&x, None), &dy, black_box(&mut dw), None)?;
            let weight = start.elapsed().as_secs_f64();
            for (part, t) in parts
                .iter_mut()
                .zip([forward, input - forward, weight - input])
            {
                part.push(t);
            }
        }
        // The first call touches its memory for the first time.
        let whole: Vec<f64> = (1..parts[0].len())
            .map(|k| parts.iter().map(|p| p[k]).sum())
            .collect();
        let [forward, input, weight] = parts;
        results.insert(
            name.into(),
            json!({ "default": whole, "forward": forward, "grad_input": input, "grad_weight": weight }),
        );
    }
    Ok(Value::Object(results))
}
