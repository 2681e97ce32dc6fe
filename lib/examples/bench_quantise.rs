//! Rebit's side of `tests/peers/run quantise`, one JSON object a run.
//!
//! ```text
//! bench_quantise prepare FOLDER            calibration and test images, the float network, quantised ones, as files
//! bench_quantise calibrate FOLDER          seconds of post-training quantisation, and its top-1
//! bench_quantise run FOLDER BATCH ROUNDS   seconds of a batch in integers and in floating point
//! bench_quantise adaround FOLDER BITS SEED learned rounding, W<BITS>A8: seconds, and top-1 beside nearest rounding
//! bench_quantise sensitivity FOLDER        Spearman's correlation with the rise of the cross entropy, and seconds
//! ```

use std::path::Path;
use std::time::Instant;

use rebit::integer::Kernel;
use rebit::prelude::*;
use rebit::ptq::{AdaRoundConfig, LayerBits, SensitivityConfig, sensitivity_with};
use serde_json::{Value, json};

// Images go over as plain numbers here.
#[allow(dead_code)]
#[path = "support/exchange.rs"]
mod exchange;
// Here the cross entropy and two orders.
#[allow(dead_code)]
#[path = "support/judge.rs"]
mod judge;

use exchange::{Begun, Steps};
use judge::{judge, spearman};

/// Seeds of the calibration images that rounding is learned on.
const SEEDS: [u64; 3] = [1, 2, 3];
/// Calibration images, and images of the rise of the cross entropy.
const CALIBRATION: usize = 512;
const OTHERS: usize = 1000;
const NORM: Normalize = Normalize::CIFAR10;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |n: &str| n.parse::<usize>().expect("a number");
    let said = match args.as_slice() {
        ["prepare", folder] => prepare(Path::new(folder))?,
        ["calibrate", folder] => calibrate(Path::new(folder))?,
        ["run", folder, batch, rounds] => run(Path::new(folder), number(batch), number(rounds))?,
        ["adaround", folder, bits, seed] => {
            adaround(Path::new(folder), number(bits) as u32, number(seed) as u64)?
        }
        ["sensitivity", folder] => told(Path::new(folder))?,
        _ => {
            return Err(Error::invalid(
                format!("{args:?}"),
                "say prepare, calibrate, run, adaround or sensitivity, and a folder",
            ));
        }
    };
    println!("{said}");
    Ok(())
}

fn all(set: &Dataset) -> Images {
    set.images(&(0..set.len()).collect::<Vec<usize>>(), &NORM)
}

fn calibration() -> Result<(Images, Dataset)> {
    drawn(1)
}

fn drawn(seed: u64) -> Result<(Images, Dataset)> {
    let cifar = data::cifar10()?;
    Ok((all(&cifar.train.take(CALIBRATION, seed)), cifar.test))
}

fn write(path: &Path, values: &[f32]) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(path, bytes).map_err(|e| Error::io(path, e))
}

/// Right answers in percent, and the answers.
fn top1(logits: &[f32], labels: &[u8]) -> (f64, Vec<usize>) {
    let best = |row: &[f32]| {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter().position(|v| *v == most).unwrap_or_default()
    };
    let answers: Vec<usize> = logits.chunks_exact(10).map(best).collect();
    let right = answers
        .iter()
        .zip(labels)
        .filter(|(a, l)| **a == usize::from(**l));
    (100.0 * right.count() as f64 / labels.len() as f64, answers)
}

fn in_parts(test: &Dataset, mut f: impl FnMut(&Images) -> Result<Matrix>) -> Result<Vec<f32>> {
    let mut found = Vec::new();
    let order: Vec<usize> = (0..test.len()).collect();
    for part in order.chunks(250) {
        found.extend(read(&f(&test.images(part, &NORM))?));
    }
    Ok(found)
}

fn prepare(folder: &Path) -> Result<Value> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let (images, test) = calibration()?;
    write(&folder.join("calibration.f32"), &read(&images))?;
    write(&folder.join("test.f32"), &read(&all(&test)))?;
    let labels = folder.join("labels.u8");
    std::fs::write(&labels, &test.labels).map_err(|e| Error::io(&labels, e))?;
    let net = pretrained_resnet20()?;
    let folded = net.folded()?;
    folded.export_onnx(folder.join("float.onnx"))?;
    folded.save(folder.join("float.safetensors"), &[])?;
    for seed in SEEDS {
        let path = folder.join(format!("calibration-{seed}.f32"));
        write(&path, &read(&drawn(seed)?.0))?;
    }
    let mut sizes = Vec::new();
    for bits in [8, 4, 2] {
        let (q, _) = post_training(&net, &images, &PtqConfig::bits(bits).inputs(8))?;
        let (path, int) = (folder.join(format!("w{bits}a8.safetensors")), q.integer()?);
        int.save(&path)?;
        let params = q.parameters();
        let layers = q.layers();
        let biases = layers.iter().filter_map(|l| l.bias);
        let channels: usize = biases.map(|b| params[b].len()).sum();
        let weights: usize = layers.iter().map(|l| l.weights).sum();
        let bytes = path.metadata().map_err(|e| Error::io(&path, e))?.len();
        let least = weights * bits as usize / 8 + 12 * channels;
        sizes.push(json!({"bits": bits, "bytes": bytes, "least": least}));
    }
    // Seven bits: whole numbers of weights fit a signed byte, which programs run as integers.
    for (name, config) in [
        ("w8a8", PtqConfig::bits(8)),
        ("w7a8", PtqConfig::bits(8).weights(7)),
    ] {
        post_training(&net, &images, &config)?
            .0
            .export_onnx(folder.join(format!("{name}.onnx")))?;
    }
    Ok(json!({"sizes": sizes, "seeds": SEEDS}))
}

fn calibrate(_folder: &Path) -> Result<Value> {
    let (images, test) = calibration()?;
    let net = pretrained_resnet20()?;
    let mut rows = Vec::new();
    for (name, config) in [
        ("minmax", PtqConfig::minmax(8)),
        ("default", PtqConfig::bits(8)),
    ] {
        // The first run starts threads and fills pools.
        post_training(&net, &images, &config)?;
        let mut seconds = Vec::new();
        let mut made = None;
        for _ in 0..5 {
            let start = Instant::now();
            made = Some(post_training(&net, &images, &config)?.0);
            seconds.push(start.elapsed().as_secs_f64());
        }
        let Some(q) = made else { continue };
        let fake = in_parts(&test, |x| q.predict(x))?;
        let int = q.integer()?;
        let whole = in_parts(&test, |x| int.predict(x))?;
        let ((ours, a), (theirs, b)) = (top1(&whole, &test.labels), top1(&fake, &test.labels));
        let equal = a.iter().zip(&b).filter(|(a, b)| a == b).count();
        let equal = 100.0 * equal as f64 / a.len() as f64;
        rows.push(json!({"recipe": name, "seconds": seconds, "top1": theirs, "integer_top1": ours, "equal": equal}));
    }
    let float = in_parts(&test, |x| net.predict(x))?;
    Ok(json!({"float_top1": top1(&float, &test.labels).0, "recipes": rows}))
}

fn run(folder: &Path, batch: usize, rounds: usize) -> Result<Value> {
    let (_, test) = calibration()?;
    let x = test.images(&(0..batch).collect::<Vec<usize>>(), &NORM);
    let net = pretrained_resnet20()?;
    let folded = net.folded()?;
    let int = IntegerNet::load(folder.join("w8a8.safetensors"))?;
    let mut times: [Steps; 3] = Default::default();
    for _ in 0..rounds {
        let works: [&dyn Fn() -> Result<Matrix>; 3] =
            [&|| int.predict(&x), &|| net.predict(&x), &|| {
                folded.predict(&x)
            }];
        for (times, work) in times.iter_mut().zip(works) {
            let begun = Begun::now();
            work()?;
            times.end(begun, 0.0);
        }
    }
    let [integer, float, folded] = times;
    let amx = std::fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .contains("amx_int8");
    Ok(json!({
        "seconds": integer.seconds, "float_seconds": float.seconds, "folded_seconds": folded.seconds,
        "processor": integer.processor_seconds, "float_processor": float.processor_seconds,
        "kernel": format!("{:?}", int.kernel()), "vnni": Kernel::Vnni.is_available(), "amx": amx,
    }))
}

/// Learned rounding by channel, with inputs on 256 levels.
fn adaround(_folder: &Path, bits: u32, seed: u64) -> Result<Value> {
    let (images, test) = drawn(seed)?;
    let net = pretrained_resnet20()?;
    let right = |net: &Net| -> Result<f64> {
        Ok(top1(&in_parts(&test, |x| net.predict(x))?, &test.labels).0)
    };
    let nearest = PtqConfig::bits(bits).inputs(8);
    let before = right(&post_training(&net, &images, &nearest)?.0)?;
    let how = AdaRoundConfig {
        seed,
        ..AdaRoundConfig::default()
    };
    let steps = how.iterations;
    let learned = PtqConfig {
        rounding: Some(how),
        ..nearest
    };
    let start = Instant::now();
    let (q, _) = post_training(&net, &images, &learned)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(
        json!({"seconds": seconds, "steps": steps, "nearest": before, "top1": right(&q)?, "float_top1": right(&net)?}),
    )
}

fn told(_folder: &Path) -> Result<Value> {
    let (images, test) = calibration()?;
    let test_images = test.take(OTHERS, 99);
    let net = pretrained_resnet20()?;
    let start = Instant::now();
    let found = sensitivity_with(&net, &images, &SensitivityConfig::bits(3))?;
    let seconds = start.elapsed().as_secs_f64();
    let folded = net.folded()?;
    let (_, before) = judge(&folded, &test_images)?;
    let (mut told, mut rises) = (Vec::new(), Vec::new());
    for layer in &found.layers {
        let mut alone = PtqConfig::bits(3).weights_only();
        let others = net.layers().into_iter().filter(|l| l.name != layer.name);
        for other in others {
            alone = alone.layer(other.name, LayerBits::FLOAT);
        }
        let (q, _) = post_training(&net, &images, &alone)?;
        told.push(layer.at(3).unwrap_or(f64::NAN));
        rises.push(judge(&q, &test_images)?.1 - before);
    }
    let spearman = spearman(&told, &rises);
    Ok(json!({"seconds": seconds, "spearman": spearman, "layers": found.layers.len()}))
}
