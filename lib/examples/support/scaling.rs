//! What a training step costs on this many threads, for batches and networks of different sizes.

use std::time::Instant;

use rebit::nn::cifar_resnet;
use rebit::prelude::*;
use serde_json::{Value, json};

const BATCHES: [usize; 5] = [16, 32, 64, 128, 256];
const WIDTHS: [usize; 4] = [8, 16, 32, 64];
const USUAL: (usize, usize) = (128, 16);

/// Median seconds of a 2-bit step of ResNet-20 by batch size (width 16) and by the width of its first stage (batch 128).
pub fn measure(steps: usize) -> Result<Value> {
    let batches = BATCHES.map(|batch| (batch, USUAL.1));
    let widths = WIDTHS.map(|width| (USUAL.0, width));
    let rows = |sizes: &[(usize, usize)]| -> Result<Vec<Value>> {
        sizes
            .iter()
            .map(|&(batch, width)| {
                let seconds = step(batch, width, steps)?;
                Ok(json!({ "batch": batch, "width": width, "seconds": seconds }))
            })
            .collect()
    };
    Ok(json!({
        "threads": rayon::current_num_threads(),
        "batches": rows(&batches)?,
        "widths": rows(&widths)?,
    }))
}

/// Forward, backward and update, the median of `steps` after three.
fn step(batch: usize, width: usize, steps: usize) -> Result<f64> {
    let net = cifar_resnet(3, 32, [width, 2 * width, 4 * width], 3, 10, rng(0))?;
    net.quantise(|_| Ok(Slots::bits(2)))?;
    let mut optimiser = rebit::train::optimiser(&net, &TrainConfig::default())?;
    let x = images(batch, 3, 32, 32, &mut rng(1));
    let labels: Vec<usize> = (0..batch).map(|k| k % 10).collect();
    let mut seconds = Vec::new();
    for k in 0..steps + 3 {
        let start = Instant::now();
        let loss = cross_entropy(net.run(&x, Mode::Train)?.logits()?, &labels);
        optimiser.step(&mut loss.backward())?;
        if k >= 3 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}

/// The figure of two or more measurements, one for each number of threads.
pub fn draw(runs: &[Value]) -> Figure {
    let panel = |what: &str, key: &str, title: &str, label: &str| {
        let mut chart = plot::lines(title)
            .x(label)
            .y("ms a step")
            .size(430, 320)
            .markers();
        for run in runs {
            let rows = run[what].as_array().into_iter().flatten();
            let (sizes, times): (Vec<f64>, Vec<f64>) = rows
                .filter_map(|row| Some((row[key].as_f64()?, 1e3 * row["seconds"].as_f64()?)))
                .unzip();
            let threads = run["threads"].as_u64().unwrap_or(0);
            let plural = if threads == 1 { "" } else { "s" };
            chart = chart.series(format!("{threads} thread{plural}"), sizes, times);
        }
        chart.log_y().figure()
    };
    plot::row([
        panel(
            "batches",
            "batch",
            "2-bit ResNet-20, width 16",
            "images in a batch",
        ),
        panel(
            "widths",
            "width",
            "2-bit ResNet-20, batch 128",
            "channels of the first stage",
        ),
    ])
}
