//! What a quantiser sees of its tensor.

use std::any::Any;

use super::Operand;
use crate::nn::Mode;
use crate::nn::extent::Extent;
use crate::nn::layer::Memo;
use crate::nn::param::ParamId;
use crate::nn::params::Params;
use crate::ops::relu::ActivationKernel;
use crate::{Buffer, Error, Grads, HostAccess, Result, dev};

/// A tensor on its way into its levels.
pub struct Quantise<'a> {
    pub(crate) operand: Operand,
    pub(crate) mode: Mode,
    pub(crate) batch: usize,
    pub(crate) extent: Extent,
    pub(crate) x: &'a Buffer,
    pub(crate) y: &'a mut Buffer,
    pub(crate) range: &'a [f32],
    pub(crate) factor: f32,
    pub(crate) params: Lent<'a>,
    pub(crate) memo: Option<Memo>,
}

/// The network's parameters: to be read only while one of them is being quantised.
pub(crate) enum Lent<'a> {
    Shared(&'a Params),
    Mutable(&'a mut Params),
}

/// The gradient of a quantised tensor on its way back.
pub struct QuantiseGrad<'a> {
    pub(crate) operand: Operand,
    pub(crate) batch: usize,
    pub(crate) extent: Extent,
    pub(crate) x: &'a Buffer,
    pub(crate) dy: &'a Buffer,
    pub(crate) dx: &'a mut Buffer,
    pub(crate) accumulate: bool,
    pub(crate) range: &'a [f32],
    pub(crate) factor: f32,
    pub(crate) params: &'a Params,
    pub(crate) grads: &'a mut Grads,
    pub(crate) memo: Option<&'a Memo>,
    pub(crate) range_grad: Option<Vec<f32>>,
}

macro_rules! common {
    ($context:ident) => {
        impl<'a> $context<'a> {
            /// Whether the tensor is a weight or an input.
            pub fn operand(&self) -> Operand {
                self.operand
            }

            /// Samples of an input; output channels of a weight.
            pub fn rows(&self) -> usize {
                self.batch
            }

            /// One sample of an input; one output channel's `(input channels, height, width)` of a weight.
            pub fn extent(&self) -> Extent {
                self.extent
            }

            /// The tensor before its quantiser: an input as `(samples, height, width, channels)`, a weight as
            /// `(output channels, input channels, height, width)`.
            pub fn input(&self) -> &'a Buffer {
                self.x
            }

            /// The numbers of the range, as [`super::Quantiser::range`] says.
            pub fn range(&self) -> &'a [f32] {
                self.range
            }

            /// The lower bound; 0 for a range that has none.
            pub fn lower(&self) -> f32 {
                match self.range {
                    [lower, _] => *lower,
                    _ => 0.0,
                }
            }

            /// The upper bound or the scale.
            pub fn upper(&self) -> f32 {
                self.range.last().copied().unwrap_or(f32::NAN)
            }

            /// What the levels of a weight are to be multiplied by, for an input that is on `[0, 1]`; 1 otherwise.
            pub fn factor(&self) -> f32 {
                self.factor
            }
        }
    };
}
common!(Quantise);
common!(QuantiseGrad);

#[cfg(test)]
impl<'a> Quantise<'a> {
    /// An input that a test quantises, by a quantiser with a range of its own.
    pub(crate) fn of_input(
        x: &'a Buffer,
        y: &'a mut Buffer,
        (batch, extent): (usize, Extent),
        mode: Mode,
        params: &'a mut Params,
    ) -> Self {
        Quantise {
            operand: Operand::Input,
            mode,
            batch,
            extent,
            x,
            y,
            range: &[],
            factor: 1.0,
            params: Lent::Mutable(params),
            memo: None,
        }
    }
}

impl Quantise<'_> {
    /// Whether the network trains.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The output, to be overwritten.
    pub fn output(&mut self) -> &mut Buffer {
        self.y
    }

    /// The network's parameters.
    pub fn params(&self) -> &Params {
        match &self.params {
            Lent::Shared(params) => params,
            Lent::Mutable(params) => params,
        }
    }

    /// The network's parameters, to be changed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the quantiser of a weight, which is a parameter itself.
    pub fn params_mut(&mut self) -> Result<&mut Params> {
        match &mut self.params {
            Lent::Mutable(params) => Ok(params),
            Lent::Shared(_) => Err(Error::invalid(
                "parameters",
                "cannot be changed while one of them is being quantised",
            )),
        }
    }

    /// Keeps a value for the backward pass ([`QuantiseGrad::memo`]).
    pub fn remember<V: Any + Send>(&mut self, value: V) {
        self.memo = Some(Box::new(value));
    }

    /// `output = f(input)`, element by element on the host.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn map(&mut self, f: impl Fn(f32) -> f32) -> Result<()> {
        let x = self.x.view()?;
        self.y
            .edit(|y| y.iter_mut().zip(x.iter()).for_each(|(y, x)| *y = f(*x)))
    }
}

impl<'a> QuantiseGrad<'a> {
    /// The network's parameters.
    pub fn params(&self) -> &'a Params {
        self.params
    }

    /// The gradients that the backward pass has collected so far, to be added to:
    /// [`SubPass::backward`](crate::nn::SubPass::backward).
    pub fn grads(&mut self) -> &mut Grads {
        self.grads
    }

    /// The gradient of the quantised tensor.
    pub fn dy(&self) -> &Buffer {
        self.dy
    }

    /// The tensor, the gradient of its levels, where its own gradient goes, and whether it is to be added there: for
    /// kernels that need all at once.
    pub fn parts(&mut self) -> (&Buffer, &Buffer, &mut Buffer, bool) {
        (self.x, self.dy, self.dx, self.accumulate)
    }

    /// Straight-through estimator: the tensor's gradient is that of its levels.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn straight_through(&mut self) -> Result<()> {
        match self.accumulate {
            true => dev().accumulate(self.dy, self.dx),
            false => self.dx.copy_from(self.dy),
        }
    }

    /// The gradient of the tensor, and whether it is to be added to what is there instead of overwriting it.
    pub fn dx(&mut self) -> (&mut Buffer, bool) {
        (self.dx, self.accumulate)
    }

    /// The value that [`Quantise::remember`] kept.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none of this type.
    pub fn memo<V: Any>(&self) -> Result<&'a V> {
        let found = self.memo.and_then(|m| m.downcast_ref());
        found.ok_or_else(|| Error::invalid("quantiser", "remembered nothing of this type"))
    }

    /// The gradient of the range: as many numbers as it has. Nothing happens where the range is not trained.
    pub fn set_range_grad(&mut self, gradient: &[f32]) {
        self.range_grad = Some(gradient.to_vec());
    }

    /// Adds to the gradient of a parameter.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of elements.
    pub fn add_param_grad(&mut self, id: ParamId, gradient: &[f32]) -> Result<()> {
        let mut buffer = crate::ops::tape::zeros(gradient.len())?;
        buffer.write(gradient)?;
        self.params.add_gradient(self.grads, id, &buffer)
    }

    /// `dx = f(x, dy)` (or `dx += ...`), element by element on the host.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn map(&mut self, f: impl Fn(f32, f32) -> f32) -> Result<()> {
        let (x, dy) = (self.x.view()?, self.dy.view()?);
        let accumulate = self.accumulate;
        self.dx.edit(|dx| {
            for ((dx, x), dy) in dx.iter_mut().zip(x.iter()).zip(dy.iter()) {
                let d = f(*x, *dy);
                *dx = if accumulate { *dx + d } else { d };
            }
        })
    }

    /// The sum of `f(x, dy)` over all elements, in double precision.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn sum(&self, f: impl Fn(f32, f32) -> f32) -> Result<f32> {
        let (x, dy) = (self.x.view()?, self.dy.view()?);
        let terms = x.iter().zip(dy.iter()).map(|(x, dy)| f64::from(f(*x, *dy)));
        Ok(terms.sum::<f64>() as f32)
    }
}
