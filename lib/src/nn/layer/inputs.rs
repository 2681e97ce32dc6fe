//! What both passes of a layer see.

use crate::Buffer;
use crate::nn::Mode;
use crate::nn::extent::Extent;
use crate::ops::conv2d::ActQuant;

/// The node, its inputs and sizes: the same in both passes, which give its methods as their own.
pub struct LayerInputs<'a> {
    pub(crate) name: &'a str,
    pub(crate) batch: usize,
    pub(crate) mode: Mode,
    pub(crate) inputs: Vec<&'a Buffer>,
    pub(crate) extents: &'a [Extent],
    pub(crate) extent: Extent,
    pub(crate) weight: Option<&'a Buffer>,
    pub(crate) fused: Option<ActQuant>,
}

impl<'a> LayerInputs<'a> {
    /// Name of the node.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Samples of the batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whether the network trains, in the forward pass.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The `i`-th input, `(samples, height, width, channels)`.
    ///
    /// # Panics
    /// When the layer has fewer inputs, as a slice would.
    pub fn input(&self, i: usize) -> &'a Buffer {
        self.inputs[i]
    }

    /// Extents of the inputs.
    pub fn extents(&self) -> &'a [Extent] {
        self.extents
    }

    /// Extent of the output.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The weight on its levels, where a quantiser stands before it.
    pub fn weight(&self) -> Option<&'a Buffer> {
        self.weight
    }

    /// The quantiser to apply while the first input is read; only for a layer that [fuses](super::Layer::fuses).
    pub fn fused(&self) -> Option<ActQuant> {
        self.fused
    }
}
