//! Quantisers' bounds: how a tensor's range is observed.

use crate::Result;
use crate::ops::fake_quant::Bounds;

/// `[-3 std, 3 std]` of a weight tensor (unbiased), the LTS initialisation.
pub fn weight_three_sigma(w: &[f32]) -> Result<Bounds> {
    let s = 3.0 * std(w);
    Bounds::new(-s, s).check()
}

/// `[min, 3 std / sqrt(1 - 2/pi)]` of an activation: three sigmas of the normal whose rectified half it is.
pub fn activation_three_sigma(x: &[f32]) -> Result<Bounds> {
    let lower = x.iter().copied().fold(f32::INFINITY, f32::min);
    Bounds::new(
        lower,
        3.0 * std(x) / (1.0 - std::f32::consts::FRAC_2_PI).sqrt(),
    )
    .check()
}

fn std(x: &[f32]) -> f32 {
    let n = x.len() as f64;
    let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let square = x
        .iter()
        .map(|v| (f64::from(*v) - mean).powi(2))
        .sum::<f64>();
    (square / (n - 1.0)).sqrt() as f32
}
