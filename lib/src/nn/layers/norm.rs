//! Batch norm, then an optional sum, then an activation.

use std::sync::Arc;

use super::alike;
use crate::nn::Mode;
use crate::nn::builder::NetBuilder;
use crate::nn::extent::Extent;
use crate::nn::layer::{BackwardPass, ForwardPass, Layer, Statistics};
use crate::nn::param::{ParamId, Role};
use crate::nn::params::Params;
use crate::ops::affine::AffineKernel;
use crate::ops::batch_norm2d::{BatchNormKernel, NormGrads, NormInput, NormSaved, NormShape};
use crate::ops::relu::Activation;
use crate::tensors::room;
use crate::{Buffer, Error, HostAccess, Result, dev};

/// Settings of a batch norm: eps 1e-5, a tenth of each batch in the running statistics, trained scale and shift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// What is added to the variance before its root is taken.
    pub eps: f32,
    /// Share of a new batch in the running statistics.
    pub momentum: f32,
    /// Whether there is a trained scale and shift.
    pub affine: bool,
    /// What follows.
    pub act: Activation,
}

impl Norm {
    /// PyTorch's defaults, and `act` behind them.
    pub fn new(act: Activation) -> Self {
        Norm {
            eps: 1e-5,
            momentum: 0.1,
            affine: true,
            act,
        }
    }

    /// Another eps.
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Another share of a new batch.
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.momentum = momentum;
        self
    }

    /// Without scale and shift.
    pub fn without_affine(mut self) -> Self {
        self.affine = false;
        self
    }

    /// The layer, with parameters `NAME.weight`, `NAME.bias`, `NAME.running_mean` and `NAME.running_var`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an eps or a momentum that is not a share.
    pub fn layer(self, b: &mut NetBuilder, name: &str, channels: usize) -> Result<BatchNorm> {
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            return Err(Error::invalid(
                format!("layer {name}: eps {}", self.eps),
                "must be finite and not below 0",
            ));
        }
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::invalid(
                format!("layer {name}: momentum {}", self.momentum),
                "is the share of a new batch, from 0 to 1",
            ));
        }
        let mut one = |suffix: &str, role, value: f32| {
            let mut values = room("a norm", &[channels]).map_err(|e| e.in_layer(name))?;
            values.resize(channels, value);
            b.param(&format!("{name}.{suffix}"), &[channels], role, values)
        };
        let affine = match self.affine {
            true => Some((
                one("weight", Role::Norm, 1.0)?,
                one("bias", Role::Norm, 0.0)?,
            )),
            false => None,
        };
        Ok(BatchNorm {
            norm: self,
            affine,
            mean: one("running_mean", Role::Statistic, 0.0)?,
            var: one("running_var", Role::Statistic, 1.0)?,
        })
    }
}

/// A batch norm with its parameters, see [`crate::ops::batch_norm2d`]; a second input is added before the activation.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    norm: Norm,
    /// Scale and shift.
    affine: Option<(ParamId, ParamId)>,
    mean: ParamId,
    var: ParamId,
}

impl BatchNorm {
    /// Its eps, momentum and what follows.
    pub fn settings(&self) -> Norm {
        self.norm
    }

    /// Trained scale and shift, where there are any.
    pub fn scale_shift(&self) -> Option<(ParamId, ParamId)> {
        self.affine
    }
}

fn shape(batch: usize, x: Extent) -> NormShape {
    NormShape {
        pixels: batch * x.pixels(),
        channels: x.channels,
    }
}

/// Scale and shift in a pass: the parameters, or 1 and 0 for a norm that has none.
enum ScaleShift {
    Trained(ParamId, ParamId),
    Unit(Buffer, Buffer),
}

impl ScaleShift {
    fn unit(mut one: Buffer, mut zero: Buffer) -> Result<Self> {
        one.write(&vec![1.0; one.elements()])?;
        zero.write(&vec![0.0; zero.elements()])?;
        Ok(ScaleShift::Unit(one, zero))
    }

    fn of<'a>(&'a self, params: &'a Params) -> (&'a Buffer, &'a Buffer) {
        match self {
            ScaleShift::Trained(gamma, beta) => (params.value(*gamma), params.value(*beta)),
            ScaleShift::Unit(one, zero) => (one, zero),
        }
    }
}

impl Layer for BatchNorm {
    fn extent(&self, inputs: &[Extent]) -> Result<Extent> {
        if inputs.len() > 2 {
            return Err(Error::shape("norm", "1 or 2 inputs", inputs.len()));
        }
        alike("norm", inputs)
    }

    fn parameters(&self) -> Vec<ParamId> {
        let affine = self.affine.into_iter().flat_map(|(g, b)| [g, b]);
        affine.chain([self.mean, self.var]).collect()
    }

    fn with_parameters(&self, ids: &[ParamId]) -> Option<Arc<dyn Layer>> {
        let (affine, mean, var) = match *ids {
            [gamma, beta, mean, var] if self.affine.is_some() => (Some((gamma, beta)), mean, var),
            [mean, var] if self.affine.is_none() => (None, mean, var),
            _ => return None,
        };
        Some(Arc::new(BatchNorm {
            norm: self.norm,
            affine,
            mean,
            var,
        }))
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(Statistics {
            mean: self.mean,
            var: self.var,
            eps: self.norm.eps,
        })
    }

    fn forward(&self, cx: &mut ForwardPass) -> Result<()> {
        let Norm {
            eps, momentum, act, ..
        } = self.norm;
        let s = shape(cx.batch(), cx.extent());
        let z = cx.input(0);
        let residual = (cx.extents().len() > 1).then(|| cx.input(1));
        let scale_shift = match self.affine {
            Some((gamma, beta)) => ScaleShift::Trained(gamma, beta),
            None => ScaleShift::unit(cx.take(s.channels)?, cx.take(s.channels)?)?,
        };
        let train = cx.mode() == Mode::Train;
        let (mut m, mut v) = match train {
            true => (Some(cx.take(s.channels)?), Some(cx.take(s.channels)?)),
            false => (None, None),
        };
        let (params, _, y) = cx.parts();
        let (gamma, beta) = scale_shift.of(params);
        let input = NormInput {
            z,
            gamma,
            beta,
            eps,
            residual,
            act,
        };
        match (&mut m, &mut v) {
            (Some(m), Some(v)) => dev().batch_norm_train(s, input, y, m, v)?,
            _ => {
                let (m, v) = (params.value(self.mean), params.value(self.var));
                dev().batch_norm_infer(s, input, m, v, y)?;
            }
        }
        if let (Some(m), Some(v)) = (m, v) {
            // The running variance is the unbiased one, as in PyTorch.
            let unbias = s.pixels as f32 / (s.pixels as f32 - 1.0).max(1.0);
            for (at, new, scale) in [(self.mean, &m, 1.0), (self.var, &v, unbias)] {
                let running = cx.params_mut().change(at);
                dev().mix(1.0 - momentum, running, momentum * scale, new)?;
            }
            cx.keep(m);
            cx.keep(v);
        }
        if let ScaleShift::Unit(one, zero) = scale_shift {
            cx.give(one);
            cx.give(zero);
        }
        Ok(())
    }

    fn backward(&self, cx: &mut BackwardPass) -> Result<()> {
        let Norm { eps, act, .. } = self.norm;
        let s = shape(cx.batch(), cx.extent());
        let (z, y) = (cx.input(0), cx.output());
        let mut dy = cx.take_dy()?;
        let mut dz = cx.take(z.elements())?;
        let (mut dg, mut db) = (cx.take(s.channels)?, cx.take(s.channels)?);
        let scale_shift = match self.affine {
            Some((gamma, beta)) => ScaleShift::Trained(gamma, beta),
            None => ScaleShift::unit(cx.take(s.channels)?, cx.take(s.channels)?)?,
        };
        let params = cx.params();
        let (gamma, _) = scale_shift.of(params);
        let (batch, mean, var) = match cx.kept() {
            [mean, var] => (true, mean, var),
            _ => (false, params.value(self.mean), params.value(self.var)),
        };
        let saved = NormSaved {
            z,
            y,
            gamma,
            mean,
            var,
            eps,
            act,
        };
        let into = NormGrads {
            dy: &mut dy,
            dz: &mut dz,
            dgamma: &mut dg,
            dbeta: &mut db,
        };
        match batch {
            true => dev().batch_norm_grad(s, saved, into)?,
            false => dev().batch_norm_infer_grad(s, saved, into)?,
        }
        match scale_shift {
            ScaleShift::Trained(gamma, beta) => {
                cx.give_param_grad(gamma, dg)?;
                cx.give_param_grad(beta, db)?;
            }
            ScaleShift::Unit(one, zero) => {
                for buffer in [dg, db, one, zero] {
                    cx.give(buffer);
                }
            }
        }
        cx.give_dx(0, dz)?;
        match cx.extents().len() {
            2 => cx.give_dx(1, dy),
            _ => {
                cx.give(dy);
                Ok(())
            }
        }
    }

    fn describe(&self) -> String {
        match self.norm.act {
            Activation::None => "batch norm".into(),
            act => format!("batch norm, {act:?}"),
        }
    }
}
