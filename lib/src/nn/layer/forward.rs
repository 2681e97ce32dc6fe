//! What a layer sees of the network in a forward pass.

use super::{Layer, LayerInputs, Memo};
use crate::nn::Mode;
use crate::nn::extent::Extent;
use crate::nn::params::Params;
use crate::nn::pool::BufferPool;
use crate::{Buffer, Error, HostAccess, Result};

/// The forward pass of one layer: inputs, output, parameters, scratch memory.
pub struct ForwardPass<'a> {
    pub(crate) at: LayerInputs<'a>,
    pub(crate) output: Buffer,
    pub(crate) params: &'a mut Params,
    pub(crate) pool: &'a mut BufferPool,
    pub(crate) kept: Vec<Buffer>,
    pub(crate) memo: Option<Memo>,
}

impl<'a> std::ops::Deref for ForwardPass<'a> {
    type Target = LayerInputs<'a>;

    fn deref(&self) -> &LayerInputs<'a> {
        &self.at
    }
}

impl<'a> ForwardPass<'a> {
    /// The output, to be overwritten: it holds what its buffer held before.
    pub fn output(&mut self) -> &mut Buffer {
        &mut self.output
    }

    /// The network's parameters.
    pub fn params(&self) -> &Params {
        self.params
    }

    /// The network's parameters, to be changed: running statistics.
    pub fn params_mut(&mut self) -> &mut Params {
        self.params
    }

    /// Parameters, the weight on its levels where a quantiser stands before it, and the output, for kernels that need
    /// all at once.
    pub fn parts(&mut self) -> (&Params, Option<&'a Buffer>, &mut Buffer) {
        (self.params, self.at.weight, &mut self.output)
    }

    /// A buffer with arbitrary contents; [`give`](Self::give) it back.
    ///
    /// # Errors
    /// [`Error::Device`] when memory cannot be had.
    pub fn take(&mut self, len: usize) -> Result<Buffer> {
        self.pool.take(len)
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Buffer) {
        self.pool.give(buffer);
    }

    /// Keeps a buffer for the backward pass ([`super::BackwardPass::kept`]), in the order of the calls.
    pub fn keep(&mut self, buffer: Buffer) {
        self.kept.push(buffer);
    }

    /// Keeps any value for the backward pass ([`super::BackwardPass::memo`]).
    pub fn remember<V: std::any::Any + Send>(&mut self, value: V) {
        self.memo = Some(Box::new(value));
    }

    /// `output = f(input 0)`, element by element on the host.
    ///
    /// # Errors
    /// [`Error::Shape`] when the output has another size than the input.
    pub fn map(&mut self, f: impl Fn(f32) -> f32) -> Result<()> {
        same_length(self.input(0), &self.output)?;
        let x = self.input(0).view()?;
        self.output
            .edit(|y| y.iter_mut().zip(x.iter()).for_each(|(y, x)| *y = f(*x)))
    }
}

/// The output of one sample of a layer without parameters, outside any network.
pub(crate) fn forward_alone(
    layer: &dyn Layer,
    inputs: Vec<&Buffer>,
    extents: &[Extent],
    extent: Extent,
) -> Result<Buffer> {
    let (mut params, mut pool) = (Params::default(), BufferPool::default());
    let mut cx = ForwardPass {
        at: LayerInputs {
            name: "",
            batch: 1,
            mode: Mode::Eval,
            inputs,
            extents,
            extent,
            weight: None,
            fused: None,
        },
        output: pool.take(extent.len())?,
        params: &mut params,
        pool: &mut pool,
        kept: Vec::new(),
        memo: None,
    };
    layer.forward(&mut cx)?;
    Ok(cx.output)
}

pub(super) fn same_length(x: &Buffer, y: &Buffer) -> Result<()> {
    if x.elements() == y.elements() {
        return Ok(());
    }
    let expected = format!("an output of the input's {} numbers", x.elements());
    Err(Error::shape("map", expected, y.elements()))
}
