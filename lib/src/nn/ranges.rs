//! The ranges of a network's quantisers from outside: looked at, set, observed, frozen.

use super::Mode;
use super::exec::Inner;
use super::graph::NodeId;
use super::net::Net;
use super::quantiser::{Operand, RangeKind};
use super::slots::{Placed, weight_operands};
use crate::ops::affine_quant::AffineGrid;
use crate::{Error, Images, Result};

/// A quantiser in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantiserInfo {
    /// Name of the layer.
    pub layer: String,
    /// Its node.
    pub node: NodeId,
    /// Which tensor it stands before.
    pub operand: Operand,
    /// Bits of a number.
    pub bits: u32,
    /// Whether its range, if it has one, has been read or is read in every pass.
    pub ready: bool,
    /// The numbers of its range, as [`super::Quantiser::range`] says; of a weight's that is read in every pass, those it has
    /// now. None before a range has been read, and where there is none to look at.
    pub range: Option<Vec<f32>>,
    /// Its grids, for a quantiser that has whole-number zero points: one, or one for each output channel.
    pub grids: Option<Vec<AffineGrid>>,
}

impl Net {
    /// The quantisers in the order they run, an input's before its weight's.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// net.quantise(|_| Ok(Slots::weights(Affine::bits(4).per_channel(), Range::MinMax.each_pass())))?;
    /// let first = &net.quantisers()[0];
    /// assert_eq!((first.layer.as_str(), first.bits), ("conv1", 4));
    /// assert_eq!(first.grids.as_ref().map(Vec::len), Some(16));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn quantisers(&self) -> Vec<QuantiserInfo> {
        let inner = self.lock();
        let mut found = Vec::new();
        for (node, slots) in inner.slots.iter().enumerate() {
            let of = &inner.graph.nodes[node];
            for (operand, slot) in [
                (Operand::Input, &slots.input),
                (Operand::Weight, &slots.weight),
            ] {
                let Some(slot) = slot else { continue };
                let weight = of.layer.as_ref().and_then(|l| l.weight());
                let range = match (slot.range, operand, weight) {
                    (Some(id), ..) if slot.ready => {
                        inner.params.view(id).ok().map(|r| r.into_owned())
                    }
                    (None, Operand::Weight, Some(id)) => {
                        let o = weight_operands(&inner.params, id, Mode::Eval);
                        slot.read_range(&o).ok().flatten()
                    }
                    _ => None,
                };
                let grids = match (&range, slot.quantiser.range()) {
                    (Some(range), _) => slot.quantiser.grids(range).ok().flatten(),
                    (None, RangeKind::None) => slot.quantiser.grids(&[]).ok().flatten(),
                    (None, _) => None,
                };
                found.push(QuantiserInfo {
                    layer: of.name.clone(),
                    node,
                    operand,
                    bits: slot.quantiser.bits(),
                    ready: slot.ready,
                    range,
                    grids,
                });
            }
        }
        found
    }

    /// Sets the range of a quantiser: `[lower, upper]`, a pair for each output channel, or a scale, as its
    /// [`range`](super::Quantiser::range) says.
    ///
    /// ```
    /// use rebit::nn::Operand;
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// net.quantise(|_| Ok(Slots::none().inputs(Affine::bits(8), Range::MinMax)))?;
    /// net.set_range("conv1", Operand::Input, &[-2.0, 2.0])?;
    /// assert_eq!(net.parameter("conv1.act_bounds")?.to_vec(), [-2.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer without that quantiser, one whose range is read in every pass, and for numbers that
    /// are not finite or bounds that cross; [`Error::Shape`] for another number of them.
    pub fn set_range(&self, layer: &str, operand: Operand, range: &[f32]) -> Result<()> {
        let mut inner = self.lock();
        let Inner { params, exec } = &mut *inner;
        let node = exec.graph.find(layer)?;
        let slots = &mut exec.slots[node];
        let slot = match operand {
            Operand::Weight => &mut slots.weight,
            Operand::Input => &mut slots.input,
        };
        let what = || format!("layer {layer}: the range of its {operand:?}");
        let Some(Placed {
            range: Some(id),
            ready,
            quantiser,
            ..
        }) = slot
        else {
            let why = "cannot be set: there is no quantiser, or its range is read in every pass";
            return Err(Error::invalid(what(), why));
        };
        let pairs = matches!(
            quantiser.range(),
            RangeKind::Bounds | RangeKind::ChannelBounds
        );
        let crossed = pairs && range.as_chunks::<2>().0.iter().any(|[l, u]| l > u);
        if crossed || range.iter().any(|v| !v.is_finite()) {
            let why = "must be finite, each lower bound at most its upper one";
            return Err(Error::invalid(what(), why));
        }
        params.set(*id, range).map_err(|e| e.in_layer(layer))?;
        *ready = true;
        Ok(())
    }

    /// Runs a batch in inference mode while ranges follow it, as they do in training: those that have not been read yet,
    /// and moving averages. Running statistics and weights stay.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let net = resnet20(10, rng(0));
    /// net.quantise(|_| Ok(Slots::none().inputs(Affine::bits(8), Range::MinMax.ema(0.9))))?;
    /// let x = images(4, 3, 32, 32, &mut rng(1));
    /// net.observe_ranges(&x)?;
    /// net.freeze_ranges();
    /// let before = net.parameter("conv1.act_bounds")?.to_vec();
    /// net.observe_ranges(&(x * 3.0))?;
    /// assert_eq!(net.parameter("conv1.act_bounds")?.to_vec(), before);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`calibrate`](Self::calibrate).
    pub fn observe_ranges(&self, x: &Images) -> Result<()> {
        let mut inner = self.lock();
        let input = inner.images(x)?;
        inner.observing = true;
        let pass = inner.forward(vec![input], Mode::Eval, false, &[]);
        inner.observing = false;
        pass?.release(&mut inner.pool);
        Ok(())
    }

    /// From here on no pass moves a moving average of a range; ranges that have not been read yet are still read.
    pub fn freeze_ranges(&self) {
        self.set_frozen(true);
    }

    /// From here on moving averages follow the passes again.
    pub fn thaw_ranges(&self) {
        self.set_frozen(false);
    }

    fn set_frozen(&self, frozen: bool) {
        let mut inner = self.lock();
        let slots = inner.slots.iter_mut().flat_map(|s| s.each());
        slots.for_each(|slot| slot.frozen = frozen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::layers::testing::net;
    use crate::nn::{Affine, Conv, Slots};
    use crate::quant::{EmaRule, Range};
    use crate::{from_vec, read};

    fn one_layer(range: impl Into<crate::quant::RangeFrom>) -> Result<Net> {
        let net = net((1, 1, 2), |b, x| b.conv("conv", x, Conv::new(2).kernel(1)))?;
        net.set_parameter("conv.weight", &[1.0, -2.0])?;
        let from = range.into();
        net.quantise(|_| Ok(Slots::none().inputs(Affine::bits(8), from)))?;
        Ok(net)
    }

    fn row(a: f32, b: f32) -> Images {
        from_vec(vec![a, b], (1, 1, 1, 2)).expect("a row")
    }

    fn bounds(net: &Net) -> Vec<f32> {
        net.parameter("conv.act_bounds").expect("a range").to_vec()
    }

    #[test]
    fn moving_averages_begin_by_their_rule_and_stop_when_frozen() -> Result<()> {
        // Batches [0, 1] and [-1, 3] at momentum 0.5.
        let cases = [
            (EmaRule::FirstBatch, [-0.5, 2.0]),
            (EmaRule::Corrected, [-2.0 / 3.0, 7.0 / 3.0]),
            (EmaRule::Compounded, [-2.0 / 3.0, 8.0 / 3.0]),
            (EmaRule::FromZero, [-0.5, 1.75]),
        ];
        for (rule, expected) in cases {
            let net = one_layer(Range::MinMax.ema_by(0.5, rule))?;
            net.observe_ranges(&row(0.0, 1.0))?;
            net.observe_ranges(&row(-1.0, 3.0))?;
            for (found, expected) in bounds(&net).iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{rule:?}: {found}, not {expected}"
                );
            }
            // A network from its state goes on where it was.
            let (other, third) = (one_layer(Range::MinMax.ema_by(0.5, rule))?, row(-2.0, 9.0));
            other.restore(&net.state()?)?;
            net.observe_ranges(&third)?;
            other.observe_ranges(&third)?;
            assert_eq!(bounds(&net), bounds(&other), "{rule:?}");
            net.freeze_ranges();
            net.run(&row(50.0, 90.0), Mode::Train)?;
            assert_eq!(bounds(&net), bounds(&other));
            net.thaw_ranges();
            net.run(&row(50.0, 90.0), Mode::Train)?;
            assert!(bounds(&net)[1] > bounds(&other)[1]);
        }
        Ok(())
    }

    #[test]
    fn a_range_that_is_set_is_used() -> Result<()> {
        let net = one_layer(Range::MinMax)?;
        assert_eq!(net.quantisers()[0].range, None);
        net.set_range("conv", Operand::Input, &[0.0, 255.0])?;
        assert_eq!(
            read(&net.predict_images(&row(3.4, -7.0))?),
            [3.0, 0.0, -6.0, 0.0]
        );
        let found = &net.quantisers()[0];
        assert_eq!(found.range.as_deref(), Some(&[0.0, 255.0][..]));
        let grid = found.grids.as_ref().expect("an affine quantiser")[0];
        assert_eq!((grid.scale, grid.zero), (1.0, 128.0));
        for (operand, range) in [
            (Operand::Weight, &[0.0, 1.0][..]),
            (Operand::Input, &[1.0, 0.0]),
            (Operand::Input, &[0.0, f32::NAN]),
            (Operand::Input, &[0.0]),
        ] {
            let error = net
                .set_range("conv", operand, range)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("conv") || error.contains("2 elements"),
                "{error}"
            );
        }
        assert!(
            net.set_range("nowhere", Operand::Input, &[0.0, 1.0])
                .is_err()
        );
        Ok(())
    }
}
