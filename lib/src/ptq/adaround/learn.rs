//! The trained part: which weights round up.

use rayon::prelude::*;

use super::AdaRoundConfig;
use super::samples::Samples;
use crate::ops::affine_quant::AffineGrid;
use crate::ops::conv2d::{Conv2dKernel, ConvInput};
use crate::ops::relu::Activation;
use crate::show::check_interrupt;
use crate::train::{Adam, Rule, RuleStep};
use crate::{Buffer, Error, HostAccess, Result, buffer, dev};

/// The sigmoid is stretched to these ends and cut to `[0, 1]`.
const GAMMA: f32 = -0.1;
const ZETA: f32 = 1.1;
/// Entries of a part that one thread works on.
const PART: usize = 4096;

/// The share that a weight is rounded up by, and its derivative.
fn rectified_sigmoid(v: f32) -> (f32, f32) {
    let s = 1.0 / (1.0 + (-v).exp());
    let h = s * (ZETA - GAMMA) + GAMMA;
    match h {
        h if h <= 0.0 => (0.0, 0.0),
        h if h >= 1.0 => (1.0, 0.0),
        h => (h, s * (1.0 - s) * (ZETA - GAMMA)),
    }
}

/// `1 - |2 h - 1|^beta` and its derivative by `h`.
fn regulariser(h: f32, beta: f32) -> (f32, f32) {
    let d = 2.0 * h - 1.0;
    let power = d.abs().powf(beta - 1.0);
    (1.0 - power * d.abs(), -2.0 * beta * power * d.signum())
}

/// Exponent of the regulariser at `step`; none during the warm-up.
fn beta(config: &AdaRoundConfig, step: usize) -> Option<f32> {
    let start = (config.warm_up * config.iterations as f32) as usize;
    if step < start {
        return None;
    }
    let share = (step - start) as f32 / (config.iterations - start) as f32;
    let (first, last) = config.beta;
    Some(last + 0.5 * (first - last) * (1.0 + (share * std::f32::consts::PI).cos()))
}

/// Where the entries of a weight lie between their levels; on the host, so that threads share it.
struct Places {
    grids: Vec<AffineGrid>,
    /// Entries of a row.
    row: usize,
    /// `floor(s w - z)`.
    floors: Vec<f32>,
}

impl Places {
    /// An entry for its share, and its derivative by it.
    fn at(&self, i: usize, h: f32) -> (f32, f32) {
        let g = &self.grids[i / self.row];
        let q = self.floors[i] + h;
        let inside = q >= g.lowest && q <= g.highest;
        let w = (q.clamp(g.lowest, g.highest) + g.zero) / g.scale;
        (w, if inside { 1.0 / g.scale } else { 0.0 })
    }
}

/// A weight whose rounding is being learned.
pub(super) struct Rounding {
    places: Places,
    v: Buffer,
}

impl Rounding {
    pub fn new(weights: &[f32], grids: Vec<AffineGrid>) -> Result<Self> {
        let row = (weights.len() / grids.len().max(1)).max(1);
        let place = |(i, w): (usize, &f32)| grids[i / row].scale * w - grids[i / row].zero;
        let places: Vec<f32> = weights.iter().enumerate().map(place).collect();
        let start = |u: &f32| {
            let share = (u - u.floor()).clamp(0.0, 1.0);
            -((ZETA - GAMMA) / (share - GAMMA) - 1.0).ln()
        };
        let v: Vec<f32> = places.iter().map(start).collect();
        Ok(Rounding {
            v: buffer(&v)?,
            places: Places {
                row,
                floors: places.iter().map(|u| u.floor()).collect(),
                grids,
            },
        })
    }

    /// Weights with the shares as they are.
    fn soft(&self, into: &mut [f32]) -> Result<()> {
        let (v, places) = (self.v.view()?, &self.places);
        let parts = into.par_chunks_mut(PART).zip(v.par_chunks(PART));
        parts.enumerate().for_each(|(part, (w, v))| {
            for (i, (w, v)) in w.iter_mut().zip(v).enumerate() {
                let at = part * PART + i;
                *w = places.at(at, rectified_sigmoid(*v).0).0;
            }
        });
        Ok(())
    }

    /// Weights rounded up where their share is at least a half.
    pub fn rounded(&self) -> Result<Vec<f32>> {
        let v = self.v.view()?;
        let up = |v: f32| f32::from(u8::from(rectified_sigmoid(v).0 >= 0.5));
        Ok(v.iter()
            .enumerate()
            .map(|(i, v)| self.places.at(i, up(*v)).0)
            .collect())
    }

    /// The gradient by `v` from that by the weights, the regulariser's added.
    fn gradient(&self, dw: &[f32], beta: Option<f32>, r: f32, into: &mut [f32]) -> Result<()> {
        let (v, places) = (self.v.view()?, &self.places);
        let parts = into.par_chunks_mut(PART).zip(v.par_chunks(PART));
        parts
            .zip(dw.par_chunks(PART))
            .enumerate()
            .for_each(|(part, ((d, v), dw))| {
                for (i, ((d, v), dw)) in d.iter_mut().zip(v).zip(dw).enumerate() {
                    let (h, slope) = rectified_sigmoid(*v);
                    let pull = beta.map_or(0.0, |beta| r * regulariser(h, beta).1);
                    *d = (dw * places.at(part * PART + i, h).1 + pull) * slope;
                }
            });
        Ok(())
    }

    /// All steps; `report` is told of each.
    pub fn learn(
        &mut self,
        samples: &Samples,
        (bias, act): (Option<Vec<f32>>, Activation),
        config: &AdaRoundConfig,
        mut report: impl FnMut(usize),
    ) -> Result<()> {
        let count = self.places.floors.len();
        let adam = Adam::new(config.lr);
        let mut averages = [buffer(&vec![0.0; count])?, buffer(&vec![0.0; count])?];
        let (mut w, mut dw) = (buffer(&vec![0.0; count])?, buffer(&vec![0.0; count])?);
        let mut dv = buffer(&vec![0.0; count])?;
        let bias = bias.map(|b| buffer(&b)).transpose()?;
        let shape = samples.shape;
        let mut y = buffer(&vec![0.0; shape.output_len()])?;
        for step in 0..config.iterations {
            check_interrupt()?;
            let (x, target) = &samples.parts[step % samples.parts.len()];
            w.edit(|w| self.soft(w))??;
            let input = ConvInput::new(x, None);
            dev().conv2d_forward(&shape, input, &w, bias.as_ref(), &mut y)?;
            let error = y.edit(|y| reconstruction(y, target, samples.rows, act))?;
            if !error.is_finite() {
                return Err(Error::invalid(
                    format!("the error of learned rounding is {error} in step {step}"),
                    "look for weights or activations that are not finite",
                ));
            }
            dev().conv2d_grad_weight(&shape, input, &y, &mut dw, None)?;
            let (r, beta) = (config.regularisation, beta(config, step));
            let dw = dw.view()?;
            dv.edit(|dv| self.gradient(&dw, beta, r, dv))??;
            let at = RuleStep {
                number: step as i32 + 1,
                factor: 1.0,
            };
            adam.update(at, &mut self.v, &mut averages, &dv)?;
            report(step + 1);
        }
        Ok(())
    }
}

/// The error of outputs behind their activation, summed over channels and averaged over rows; the outputs become its
/// gradient.
fn reconstruction(y: &mut [f32], target: &[f32], rows: usize, act: Activation) -> f64 {
    let (low, high) = act.bounds();
    let parts = y.par_chunks_mut(PART).zip(target.par_chunks(PART));
    let sums: Vec<f64> = parts
        .map(|(y, target)| {
            let mut sum = 0.0;
            for (y, t) in y.iter_mut().zip(target) {
                let d = y.clamp(low, high) - t.clamp(low, high);
                sum += f64::from(d * d);
                let passes = *y > low && *y < high;
                *y = if passes { 2.0 * d / rows as f32 } else { 0.0 };
            }
            sum
        })
        .collect();
    sums.iter().sum::<f64>() / rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fake_quant::Bounds;

    fn grid(lower: f32, upper: f32, bits: u32) -> AffineGrid {
        AffineGrid::new(Bounds::new(lower, upper), bits).unwrap()
    }

    #[test]
    fn literal_shares_and_regularisers() {
        assert_eq!(rectified_sigmoid(0.0), (0.5, 0.3));
        assert_eq!(rectified_sigmoid(-9.0), (0.0, 0.0));
        assert_eq!(rectified_sigmoid(9.0), (1.0, 0.0));
        let (value, slope) = regulariser(0.75, 2.0);
        assert!((value - 0.75).abs() < 1e-6 && (slope + 2.0).abs() < 1e-6);
        assert_eq!(regulariser(0.0, 20.0).0, 0.0);
        assert_eq!(regulariser(0.5, 2.0), (1.0, 0.0));
        let config = AdaRoundConfig {
            iterations: 100,
            ..AdaRoundConfig::default()
        };
        assert_eq!((beta(&config, 19), beta(&config, 20)), (None, Some(20.0)));
        assert!((beta(&config, 60).unwrap() - 11.0).abs() < 1e-4);
        assert!(beta(&config, 99).unwrap() < 2.01);
    }

    #[test]
    fn shares_start_where_the_weights_are() {
        // [-1, 2] at two bits: levels -1, 0, 1, 2.
        let weights = [-0.75, 0.4, 1.9, -1.0, 5.0];
        let rounding = Rounding::new(&weights, vec![grid(-1.0, 2.0, 2)]).unwrap();
        let mut soft = vec![0.0; 5];
        rounding.soft(&mut soft).unwrap();
        for (w, s) in weights.iter().zip(&soft).take(4) {
            assert!((w - s).abs() < 1e-5, "{w} became {s}");
        }
        assert_eq!(soft[4], 2.0);
        assert_eq!(rounding.rounded().unwrap(), [-1.0, 0.0, 2.0, -1.0, 2.0]);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let weights = [-0.7, 0.4, 1.3, 0.2];
        let grids = vec![grid(-1.0, 2.0, 2), grid(-0.5, 1.5, 2)];
        let mut rounding = Rounding::new(&weights, grids).unwrap();
        let dw = [0.3, -1.0, 2.0, 0.7];
        let loss = |r: &Rounding| -> f64 {
            let mut w = [0.0; 4];
            r.soft(&mut w).unwrap();
            let v = r.v.view().unwrap();
            let pull: f32 = v
                .iter()
                .map(|v| regulariser(rectified_sigmoid(*v).0, 3.0).0)
                .sum();
            w.iter()
                .zip(&dw)
                .map(|(w, d)| f64::from(w * d))
                .sum::<f64>()
                + 0.1 * f64::from(pull)
        };
        let mut found = [0.0; 4];
        rounding.gradient(&dw, Some(3.0), 0.1, &mut found).unwrap();
        for (i, found) in found.iter().enumerate() {
            let mut at = |by: f32| {
                rounding.v.edit(|v| v[i] += by).unwrap();
                let value = loss(&rounding);
                rounding.v.edit(|v| v[i] -= by).unwrap();
                value
            };
            let difference = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!(
                (f64::from(*found) - difference).abs() < 2e-3,
                "{i}: {found} and {difference}"
            );
        }
    }

    #[test]
    fn literal_reconstruction_behind_a_rectifier() {
        let mut y = vec![1.0, -2.0, 3.0, 0.5];
        let error = reconstruction(&mut y, &[0.0, -1.0, 5.0, -0.5], 2, Activation::Relu);
        // Differences 1, 0, -2, 0.5; what is below 0 passes no gradient.
        assert!((error - (1.0 + 4.0 + 0.25) / 2.0).abs() < 1e-6);
        assert_eq!(y, [1.0, 0.0, -2.0, 0.5]);
    }
}
