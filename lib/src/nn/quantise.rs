//! Giving a network its quantisers.

use super::exec::Inner;
use super::graph::LayerInfo;
use super::net::Net;
use super::quantiser::{Operand, Quantiser, Slot, Slots};
use super::slots::Placed;
use crate::quant::RangeFrom;
use crate::{Error, Result};

impl Net {
    /// Gives layers quantisers: `choose` is asked for each convolution and linear layer, in the order they run.
    ///
    /// Ranges become parameters `NAME.weight_bounds` and `NAME.act_bounds` (or `_scale`) unless they are read in every
    /// pass; they are set from the first training batch (or [`Net::calibrate`]), layer by layer, so that later layers
    /// already see quantised inputs. Bounds that cross while they train end the run with an error that names the layer.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bits outside 1 to 16 or a tensor that is quantised already, and whatever `choose` returns;
    /// the layers before it then have their quantisers.
    pub fn quantise(&self, mut choose: impl FnMut(&LayerInfo) -> Result<Slots>) -> Result<()> {
        for layer in self.layers() {
            let Slots { weight, input } = choose(&layer)?;
            if let Some(slot) = weight {
                self.place(&layer.name, Operand::Weight, slot)?;
            }
            if let Some(slot) = input {
                self.place(&layer.name, Operand::Input, slot)?;
            }
        }
        Ok(())
    }

    /// Puts a quantiser before the first input of any layer, a [site](super::NetBuilder::site) included.
    ///
    /// # Errors
    /// As [`quantise`](Self::quantise); [`Error::Invalid`] for a name that is not in the network.
    pub fn quantise_input(
        &self,
        layer: &str,
        quantiser: impl Quantiser,
        range: impl Into<RangeFrom>,
    ) -> Result<()> {
        let slot = Slot {
            quantiser: Box::new(quantiser),
            from: range.into(),
        };
        self.place(layer, Operand::Input, slot)
    }

    fn place(&self, layer: &str, operand: Operand, slot: Slot) -> Result<()> {
        let mut inner = self.lock();
        let Inner { params, exec } = &mut *inner;
        let node = exec.graph.find(layer)?;
        let Some(of) = exec.graph.layer(node) else {
            return Err(Error::invalid(
                format!("layer {layer}"),
                "is an input of the network; quantise what reads it",
            ));
        };
        let dims = of.weight().map(|w| &params.describe(w).dims);
        let rows = dims.and_then(|dims| dims.first()).copied().unwrap_or(1);
        let slots = &mut exec.slots[node];
        let place = match operand {
            Operand::Weight if of.weight().is_none() => {
                return Err(Error::invalid(
                    format!("layer {layer}"),
                    "has no weight to quantise",
                ));
            }
            Operand::Weight => &mut slots.weight,
            Operand::Input => &mut slots.input,
        };
        if place.is_some() {
            return Err(Error::invalid(
                format!("layer {layer}"),
                "is quantised already; build the network anew",
            ));
        }
        *place = Some(Placed::new(slot, layer, (operand, rows), params)?);
        Ok(())
    }
}
