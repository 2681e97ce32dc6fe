//! What a layer sees of the network in a backward pass.

use std::any::Any;

use super::forward::same_length;
use super::{LayerInputs, Memo};
use crate::nn::graph::NodeId;
use crate::nn::param::ParamId;
use crate::nn::params::Params;
use crate::nn::pool::BufferPool;
use crate::nn::slots::WeightSlot;
use crate::ops::conv2d::ActQuantGrad;
use crate::ops::masked_grad::FreezeMask;
use crate::ops::relu::ActivationKernel;
use crate::ops::tape::zeros;
use crate::{Buffer, Error, Grads, HostAccess, Result, dev};

/// The backward pass of one layer: what the forward pass saw, the output's gradient, and where gradients go.
pub struct BackwardPass<'a> {
    pub(crate) at: LayerInputs<'a>,
    pub(crate) output: &'a Buffer,
    pub(crate) dy: Option<Buffer>,
    pub(crate) weight_slot: Option<WeightSlot<'a>>,
    pub(crate) fused_grad: Option<ActQuantGrad>,
    /// Where the gradient of each input goes; `None` for one that nobody wants.
    pub(crate) targets: Vec<Option<NodeId>>,
    pub(crate) dx: &'a mut [Option<Buffer>],
    pub(crate) wants_params: bool,
    pub(crate) params: &'a Params,
    pub(crate) grads: &'a mut Grads,
    pub(crate) pool: &'a mut BufferPool,
    pub(crate) kept: &'a [Buffer],
    pub(crate) memo: Option<&'a Memo>,
    pub(crate) weight_time: std::time::Duration,
}

impl<'a> std::ops::Deref for BackwardPass<'a> {
    type Target = LayerInputs<'a>;

    fn deref(&self) -> &LayerInputs<'a> {
        &self.at
    }
}

impl<'a> BackwardPass<'a> {
    /// The output of the forward pass.
    pub fn output(&self) -> &'a Buffer {
        self.output
    }

    /// The network's parameters.
    pub fn params(&self) -> &'a Params {
        self.params
    }

    /// The gradients that the backward pass has collected so far, to be added to:
    /// [`SubPass::backward`](crate::nn::SubPass::backward).
    pub fn grads(&mut self) -> &mut Grads {
        self.grads
    }

    /// Buffers that the forward pass kept.
    pub fn kept(&self) -> &'a [Buffer] {
        self.kept
    }

    /// The value that the forward pass remembered.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none of this type.
    pub fn memo<V: Any>(&self) -> Result<&'a V> {
        let found = self.memo.and_then(|m| m.downcast_ref());
        found.ok_or_else(|| Error::invalid(self.name, "remembered nothing of this type"))
    }

    /// Whether anybody wants the gradient of the `i`-th input.
    pub fn wants(&self, i: usize) -> bool {
        self.targets.get(i).is_some_and(Option::is_some)
    }

    /// Whether anybody wants the gradients of the parameters.
    pub fn wants_params(&self) -> bool {
        self.wants_params
    }

    /// The gradient of the output.
    ///
    /// # Errors
    /// [`Error::Invalid`] after [`take_dy`](Self::take_dy).
    pub fn dy(&self) -> Result<&Buffer> {
        self.dy.as_ref().ok_or_else(|| taken(self.name))
    }

    /// The gradient of the output, to be changed and handed on.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it was taken already.
    pub fn take_dy(&mut self) -> Result<Buffer> {
        self.dy.take().ok_or_else(|| taken(self.name))
    }

    /// Puts back what [`take_dy`](Self::take_dy) took.
    pub fn put_dy(&mut self, dy: Buffer) {
        self.dy = Some(dy);
    }

    /// The gradient of the `i`-th input so far, and whether it holds anything yet: if not, overwrite it. `None` when
    /// nobody wants it. Hand it back with [`put_dx`](Self::put_dx).
    ///
    /// # Errors
    /// [`Error::Device`] when memory cannot be had.
    pub fn take_dx(&mut self, i: usize) -> Result<Option<(Buffer, bool)>> {
        let Some(node) = self.targets[i] else {
            return Ok(None);
        };
        if let Some(sum) = self.dx[node].take() {
            return Ok(Some((sum, true)));
        }
        let len = self.inputs[i].elements();
        Ok(Some((self.pool.take(len)?, false)))
    }

    /// Lets `f` write the gradient of the `i`-th input, or add to it where the last argument says that it holds something
    /// already; not called where nobody wants it.
    ///
    /// # Errors
    /// Those of `f`; [`Error::Device`] when memory cannot be had.
    pub fn with_dx(
        &mut self,
        i: usize,
        f: impl FnOnce(&Self, &mut Buffer, bool) -> Result<()>,
    ) -> Result<()> {
        if let Some((mut dx, accumulate)) = self.take_dx(i)? {
            f(self, &mut dx, accumulate)?;
            self.put_dx(i, dx);
        }
        Ok(())
    }

    /// Hands back what [`take_dx`](Self::take_dx) gave.
    pub fn put_dx(&mut self, i: usize, dx: Buffer) {
        match self.targets[i] {
            Some(node) => self.dx[node] = Some(dx),
            None => self.pool.give(dx),
        }
    }

    /// Adds a gradient of the `i`-th input that stands in a buffer of its own.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn give_dx(&mut self, i: usize, dx: Buffer) -> Result<()> {
        let Some(node) = self.targets[i] else {
            self.pool.give(dx);
            return Ok(());
        };
        match &mut self.dx[node] {
            Some(sum) => {
                dev().accumulate(&dx, sum)?;
                self.pool.give(dx);
            }
            empty => *empty = Some(dx),
        }
        Ok(())
    }

    /// Adds to the gradient of the `i`-th input from numbers of the host, `(samples, height, width, channels)`; nothing
    /// happens where nobody wants it.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of elements.
    pub fn add_input_grad(&mut self, i: usize, gradient: &[f32]) -> Result<()> {
        let expected = self.inputs[i].elements();
        if gradient.len() != expected {
            let expected = format!("{expected} numbers for input {i} of {}", self.name);
            return Err(Error::shape("gradient", expected, gradient.len()));
        }
        if !self.wants(i) {
            return Ok(());
        }
        let mut dx = self.pool.take(expected)?;
        dx.write(gradient)?;
        self.give_dx(i, dx)
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

    /// Adds to a parameter's gradient, and takes the buffer back; nothing happens where it is not wanted.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of elements.
    pub fn give_param_grad(&mut self, id: ParamId, gradient: Buffer) -> Result<()> {
        if self.wants_params && self.params.describe(id).is_trainable() {
            self.params.add_gradient(self.grads, id, &gradient)?;
        }
        self.pool.give(gradient);
        Ok(())
    }

    /// Adds to a parameter's gradient from numbers of the host.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of elements.
    pub fn add_param_grad(&mut self, id: ParamId, gradient: &[f32]) -> Result<()> {
        let mut buffer = zeros(gradient.len())?;
        buffer.write(gradient)?;
        if self.wants_params && self.params.describe(id).is_trainable() {
            self.params.add_gradient(self.grads, id, &buffer)?;
        }
        Ok(())
    }

    /// Entries of the weight whose gradient nobody needs, because its quantiser has frozen them.
    pub fn frozen(&mut self) -> Option<&FreezeMask> {
        self.weight_slot.as_mut()?.frozen()
    }

    /// The weight's gradient: through its quantiser, where there is one, to the parameter.
    ///
    /// # Errors
    /// As [`give_param_grad`](Self::give_param_grad), and the quantiser's.
    pub fn give_weight_grad(&mut self, id: ParamId, gradient: Buffer) -> Result<()> {
        let Some(slot) = &mut self.weight_slot else {
            return self.give_param_grad(id, gradient);
        };
        let mut dw = self.pool.take(gradient.elements())?;
        slot.gradient(id, &gradient, &mut dw, self.params, self.grads)?;
        self.pool.give(gradient);
        self.give_param_grad(id, dw)
    }

    /// The gradients of the bounds of [`fused`](LayerInputs::fused).
    pub fn give_fused_grad(&mut self, gradient: ActQuantGrad) {
        self.fused_grad = Some(gradient);
    }

    /// Counts time towards that of weight gradients.
    pub(crate) fn count_weight_time(&mut self, since: std::time::Instant) {
        self.weight_time += since.elapsed();
    }

    /// `dx += f(x, dy)`, element by element on the host; nothing happens where nobody wants it.
    ///
    /// # Errors
    /// [`Error::Shape`] when output and input differ in size.
    pub fn map_grad(&mut self, f: impl Fn(f32, f32) -> f32) -> Result<()> {
        same_length(self.input(0), self.dy()?)?;
        let Some((mut dx, accumulate)) = self.take_dx(0)? else {
            return Ok(());
        };
        let (x, dy) = (self.input(0).view()?, self.dy()?.view()?);
        dx.edit(|dx| {
            for ((dx, x), dy) in dx.iter_mut().zip(x.iter()).zip(dy.iter()) {
                let d = f(*x, *dy);
                *dx = if accumulate { *dx + d } else { d };
            }
        })?;
        self.put_dx(0, dx);
        Ok(())
    }

    /// The sum of `f(x, dy)` over all elements, in double precision: the gradient of a parameter that all share.
    ///
    /// # Errors
    /// [`Error::Shape`] when output and input differ in size.
    pub fn sum(&self, f: impl Fn(f32, f32) -> f32) -> Result<f32> {
        same_length(self.input(0), self.dy()?)?;
        let (x, dy) = (self.input(0).view()?, self.dy()?.view()?);
        let terms = x.iter().zip(dy.iter()).map(|(x, dy)| f64::from(f(*x, *dy)));
        Ok(terms.sum::<f64>() as f32)
    }
}

fn taken(name: &str) -> Error {
    Error::invalid(name, "has handed its output's gradient on already")
}
