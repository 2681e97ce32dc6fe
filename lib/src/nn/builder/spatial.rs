//! The short names of layers that move, pool or join values and learn nothing.

use std::ops::Range;

use super::NetBuilder;
#[cfg(doc)]
use crate::Error;
use crate::Result;
use crate::nn::extent::Extent;
use crate::nn::graph::NodeId;
use crate::nn::layers::{
    AvgPool, Concat, Flatten, GlobalAvgPool, MaxPool, PixelShuffle, Reshape, Slice, Stack, Upsample,
};
use crate::ops::upsample;

/// Layers by name: each method takes the node to read and returns the new one. Layers that only change the shape name
/// themselves (`flatten`, `flatten_2`, ...).
impl NetBuilder {
    /// The channels of several nodes behind each other.
    ///
    /// # Errors
    /// [`Error::Invalid`] without nodes, [`Error::Shape`] for nodes of different height or width.
    pub fn concat(&mut self, name: &str, nodes: &[NodeId]) -> Result<NodeId> {
        self.layer(name, nodes, Concat)
    }

    /// `factor * factor` channels become a square of pixels.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the square of a positive factor divides the channels.
    pub fn pixel_shuffle(&mut self, name: &str, from: NodeId, factor: usize) -> Result<NodeId> {
        self.layer(name, &[from], PixelShuffle { factor })
    }

    /// Maximum over `kernel` x `kernel` windows.
    ///
    /// # Errors
    /// [`Error::Shape`] for a window that does not fit.
    pub fn max_pool(
        &mut self,
        from: NodeId,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<NodeId> {
        let name = self.free_name("max_pool");
        let layer = MaxPool {
            kernel,
            stride,
            padding,
        };
        self.layer(&name, &[from], layer)
    }

    /// Mean over height and width.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn global_avg_pool(&mut self, from: NodeId) -> Result<NodeId> {
        let name = self.free_name("global_avg_pool");
        self.layer(&name, &[from], GlobalAvgPool)
    }

    /// Mean over `kernel` (rows, columns) windows every `stride` pixels, without padding.
    ///
    /// # Errors
    /// As [`AvgPool`]'s op: [`Error::Shape`] for a window that does not fit, [`Error::Invalid`] for sides of 0.
    pub fn avg_pool(
        &mut self,
        from: NodeId,
        kernel: (usize, usize),
        stride: (usize, usize),
    ) -> Result<NodeId> {
        let name = self.free_name("avg_pool");
        self.layer(&name, &[from], AvgPool { kernel, stride })
    }

    /// Pixels repeated, or twice the size by straight lines: [`crate::ops::upsample`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a factor of 0.
    pub fn upsample(&mut self, from: NodeId, how: upsample::Upsample) -> Result<NodeId> {
        let name = self.free_name("upsample");
        self.layer(&name, &[from], Upsample(how))
    }

    /// A vector of all numbers of a sample, in PyTorch's order: channels, rows, columns.
    ///
    /// ```
    /// use rebit::prelude::*;
    /// let mut b = NetBuilder::new(3, 4, 4, rng(0));
    /// let x = b.flatten(b.input())?;
    /// let x = b.linear_with("fc", x, 10, false)?;
    /// assert_eq!(b.build(x)?.parameter_count(), 480);
    /// # Ok::<(), rebit::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn flatten(&mut self, from: NodeId) -> Result<NodeId> {
        let name = self.free_name("flatten");
        self.layer(&name, &[from], Flatten)
    }

    /// A vector of all numbers of a sample, pixel by pixel: the channels of one pixel are neighbours, and can be a group of
    /// a convolution.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn stack(&mut self, from: NodeId) -> Result<NodeId> {
        let name = self.free_name("stack");
        self.layer(&name, &[from], Stack)
    }

    /// The same numbers, in PyTorch's order, as a map of another extent: what a generator makes of its noise.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of numbers.
    pub fn reshape(&mut self, from: NodeId, to: Extent) -> Result<NodeId> {
        let name = self.free_name("reshape");
        self.layer(&name, &[from], Reshape { to })
    }

    /// Some neighbouring channels.
    ///
    /// # Errors
    /// [`Error::Shape`] for a range that is empty or reaches beyond the channels.
    pub fn slice(&mut self, name: &str, from: NodeId, range: Range<usize>) -> Result<NodeId> {
        self.layer(name, &[from], Slice { range })
    }
}
