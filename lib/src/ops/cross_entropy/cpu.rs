//! Cross entropy on the CPU.

use dfdx::prelude::Cpu;
use rayon::prelude::*;

use super::CrossEntropyKernel;
use crate::error::{Error, Result};
use crate::ops::parallel::expect_len;
use crate::tensors::CpuBuffer as Buffer;

/// Loss of one sample; its gradient, times `weight`, goes to `gradient`.
fn sample(
    logits: &[f32],
    label: usize,
    smoothing: f32,
    weight: f32,
    gradient: Option<&mut [f32]>,
) -> f64 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let sum: f64 = logits.iter().map(|z| ((z - max) as f64).exp()).sum();
    let log_sum = sum.ln();
    let uniform = smoothing / logits.len() as f32;
    if let Some(gradient) = gradient {
        for (j, (g, z)) in gradient.iter_mut().zip(logits).enumerate() {
            let p = (((z - max) as f64) - log_sum).exp() as f32;
            let hit = if j == label { 1.0 - smoothing } else { 0.0 };
            *g = weight * (p - hit - uniform);
        }
    }
    let minus_log_p = |z: f32| log_sum - (z - max) as f64;
    let hit = (1.0 - smoothing) as f64 * minus_log_p(logits[label]);
    if smoothing == 0.0 {
        return hit;
    }
    let all: f64 = logits.iter().map(|&z| minus_log_p(z)).sum();
    hit + uniform as f64 * all
}

/// What every device asks of its arguments; lengths of the logits and of their gradient.
pub(super) fn check(
    samples: usize,
    classes: usize,
    logits: usize,
    labels: &[u32],
    smoothing: f32,
    gradient: Option<usize>,
) -> Result<()> {
    if samples == 0 || classes == 0 {
        return Err(Error::invalid(
            format!("cross_entropy of {samples} samples x {classes} classes"),
            "the mean needs at least one sample and one class",
        ));
    }
    expect_len("cross_entropy", "logits", samples * classes, logits)?;
    expect_len("cross_entropy", "labels", samples, labels.len())?;
    if let Some(found) = gradient {
        expect_len("cross_entropy", "dlogits", samples * classes, found)?;
    }
    if !(0.0..1.0).contains(&smoothing) {
        return Err(Error::invalid(
            format!("label smoothing {smoothing}"),
            "it lies in [0, 1); 0 switches it off",
        ));
    }
    if let Some(i) = labels.iter().position(|&k| k as usize >= classes) {
        return Err(super::no_class(&labels[i], i, classes));
    }
    Ok(())
}

impl CrossEntropyKernel for Cpu {
    fn cross_entropy(
        &self,
        samples: usize,
        classes: usize,
        logits: &Buffer,
        labels: &[u32],
        smoothing: f32,
        mut dlogits: Option<&mut Buffer>,
    ) -> Result<f32> {
        let gradient_len = dlogits.as_ref().map(|d| d.len());
        check(
            samples,
            classes,
            logits.len(),
            labels,
            smoothing,
            gradient_len,
        )?;
        let weight = 1.0 / samples as f32;
        let rows = logits.par_chunks(classes).zip(labels);
        let losses: Vec<f64> = match dlogits.take() {
            Some(d) => rows
                .zip(d.par_chunks_mut(classes))
                .with_min_len(64)
                .map(|((z, &k), d)| sample(z, k as usize, smoothing, weight, Some(d)))
                .collect(),
            None => rows
                .with_min_len(64)
                .map(|(z, &k)| sample(z, k as usize, smoothing, weight, None))
                .collect(),
        };
        Ok((losses.iter().sum::<f64>() / samples as f64) as f32)
    }
}
