//! Weight quantisers whose bounds follow from the weights themselves at every step.

use super::graph::LayerInfo;
use super::net::Net;
use crate::ops::bound_quant::{BoundQuant, BoundQuantKernel};
use crate::quant::{Bounds, Range};
use crate::{Buffer, Error, HostAccess, Result, dev};

/// Where the bounds of a weight tensor come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightRange {
    /// Percentiles `100 (1 - p)` and `100 p`, `2^b` levels; weights beyond them get no gradient.
    Percentile(f32),
    /// Smallest and largest weight, `2^b` levels.
    MinMax,
    /// The largest magnitude on either side of 0, `2^b - 1` levels (PAMS).
    MaxAbs,
}

/// A fake quantiser of one layer's weights, on the grid of [`crate::ops::bound_quant`]; the bounds are not trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataQuant {
    /// Bits of a weight.
    pub bits: u32,
    /// Its bounds.
    pub range: WeightRange,
}

impl DataQuant {
    /// The quantiser of these weights.
    ///
    /// # Errors
    /// As [`BoundQuant::dual`] and [`Range::bounds`]: weights that are all alike or not finite have no range.
    pub fn for_weights(self, w: &[f32]) -> Result<BoundQuant> {
        let range = match self.range {
            WeightRange::Percentile(p) => Range::Percentile(p),
            WeightRange::MinMax => Range::MinMax,
            WeightRange::MaxAbs => {
                let largest = w.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                return BoundQuant::symmetric(largest, self.bits);
            }
        };
        let Bounds { lower, upper } = range.bounds(w)?;
        BoundQuant::dual(Bounds::new(lower, upper), self.bits)
    }

    pub(super) fn quantise(self, w: &Buffer, y: &mut Buffer) -> Result<()> {
        let q = self.for_weights(&w.view()?)?;
        dev().bound_quant_forward(w, &[q], y)
    }

    /// Turns the gradient of the quantised weights into that of the weights.
    pub(super) fn mask_gradient(self, w: &[f32], dw: &mut [f32]) -> Result<()> {
        let q = self.for_weights(w)?;
        for (w, dw) in w.iter().zip(dw) {
            if *w < q.lower || *w > q.upper {
                *dw = 0.0;
            } else if *w == q.lower || *w == q.upper {
                *dw *= 0.5;
            }
        }
        Ok(())
    }
}

impl Net {
    /// Quantises the weights of layers, not their inputs: `choose` is asked for each.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that is quantised already or bits without levels.
    pub fn quantise_weights(
        &self,
        mut choose: impl FnMut(&LayerInfo) -> Option<DataQuant>,
    ) -> Result<()> {
        for layer in self.layers() {
            let Some(quant) = choose(&layer) else {
                continue;
            };
            let mut inner = self.lock();
            quant.for_weights(&inner.values[layer.weight].view()?)?;
            let node = inner.node(&layer.name)?;
            if layer.bits.is_some() {
                let what = format!("layer {}", layer.name);
                return Err(Error::invalid(what, "is quantised already"));
            }
            inner.data_quant[node] = Some(quant);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Conv, Mode, NetBuilder};
    use crate::rng;

    fn quant(range: WeightRange) -> DataQuant {
        DataQuant { bits: 2, range }
    }

    #[test]
    fn bounds_follow_from_the_weights() {
        let w: Vec<f32> = (0..=100).map(|i| i as f32 - 30.0).collect();
        let pair = |range| {
            let q = quant(range).for_weights(&w).unwrap();
            (q.lower, q.upper, q.steps)
        };
        assert_eq!(pair(WeightRange::Percentile(0.99)), (-29.0, 69.0, 3));
        assert_eq!(pair(WeightRange::MinMax), (-30.0, 70.0, 3));
        assert_eq!(pair(WeightRange::MaxAbs), (-70.0, 70.0, 2));
        assert!(quant(WeightRange::MinMax).for_weights(&[1.0, 1.0]).is_err());
    }

    #[test]
    fn clipped_weights_get_no_gradient_and_those_at_a_bound_half() {
        let w = [-2.0, -1.0, 0.0, 1.0];
        let mut dw = [4.0; 4];
        quant(WeightRange::MinMax)
            .mask_gradient(&w, &mut dw)
            .unwrap();
        assert_eq!(dw, [2.0, 4.0, 4.0, 2.0]);
        let w: Vec<f32> = (0..200).map(|i| i as f32).collect();
        let mut dw = vec![1.0; 200];
        quant(WeightRange::Percentile(0.99))
            .mask_gradient(&w, &mut dw)
            .unwrap();
        assert_eq!(dw.iter().filter(|g| **g == 0.0).count(), 4);
    }

    #[test]
    fn a_quantised_layer_computes_with_its_levels_and_counts_its_bits() -> Result<()> {
        use dfdx::prelude::Trace;
        let mut b = NetBuilder::new(1, 1, 1, rng(1));
        let x = b.input();
        let x = b.conv("conv", x, Conv::new(8).kernel(1))?;
        let net = b.build(x)?;
        let w = net.parameter("conv.weight")?.to_vec();
        net.quantise_weights(|_| Some(quant(WeightRange::MaxAbs)))?;
        assert_eq!(net.layers()[0].bits, Some(2));
        let one = crate::from_vec(vec![1.0], (1, 1, 1, 1))?;
        let y = crate::read(&net.forward(one.leaky_trace(), Mode::Train)?);
        let largest = w.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        for (w, y) in w.iter().zip(y) {
            assert_eq!(y, (w / largest).round_ties_even() * largest);
        }
        let twice = net.quantise_weights(|_| Some(quant(WeightRange::MinMax)));
        assert!(twice.unwrap_err().to_string().contains("quantised already"));
        Ok(())
    }
}
