//! The quantised layers of a running network: bounds, weights on their levels, gradients through both.

use super::Mode;
use super::exec::{Pass, act};
use super::graph::NodeId;
use super::net::Inner;
use super::param::ParamId;
use super::quantise::{LayerQuant, TensorSpec};
use crate::ops::conv2d::{ActQuant, ActQuantGrad, Conv2dKernel, ConvInput, ConvShape};
use crate::ops::fake_quant::FakeQuant;
use crate::ops::masked_grad::MaskedGradKernel;
use crate::quant;
use crate::{Buffer, Error, HostAccess, Result, dev};

impl Inner {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn weight_grad(
        &mut self,
        node: NodeId,
        shape: &ConvShape,
        x: &Buffer,
        quant: Option<ActQuant>,
        dy: &Buffer,
        weight: ParamId,
        bias: Option<ParamId>,
    ) -> Result<()> {
        let mut db = match bias {
            Some(b) => Some(self.pool.take(self.param(b).len())?),
            None => None,
        };
        let Some(mut q) = self.quant[node].take() else {
            dev().conv2d_grad_weight(
                shape,
                ConvInput::new(x, quant),
                dy,
                &mut self.grads[weight],
                db.as_mut(),
            )?;
            if let Some(data) = self.data_quant[node] {
                let w = self.values[weight].view()?;
                self.grads[weight].edit(|dw| data.mask_gradient(&w, dw))??;
            }
            return self.keep_bias(bias, db);
        };
        let mut dq = self.pool.take(self.param(weight).len())?;
        let done = match q.quantiser.frozen() {
            Some(mask) => dev().conv2d_grad_weight_masked(
                shape,
                ConvInput::new(x, quant),
                dy,
                mask,
                &mut dq,
                db.as_mut(),
            ),
            None => {
                dev().conv2d_grad_weight(shape, ConvInput::new(x, quant), dy, &mut dq, db.as_mut())
            }
        };
        let f = self.weight_fake_quant(node, &q);
        let bounds = done.and_then(|()| {
            let f = f?;
            q.quantiser
                .backward(&self.values[weight], f, &dq, &mut self.grads[weight])
        });
        self.pool.give(dq);
        let (at, spec) = (q.weight, q.spec.weight);
        self.quant[node] = Some(q);
        let bounds = bounds?;
        self.grads[at].edit(|g| spec.weight_grad(bounds, g))?;
        self.keep_bias(bias, db)
    }

    /// Takes the gradients of an input quantiser's bounds.
    pub(super) fn keep_input_bounds(&mut self, node: NodeId, bounds: ActQuantGrad) -> Result<()> {
        if let Some(q) = &self.quant[node]
            && let (Some(at), Some(spec)) = (q.input, q.spec.input)
        {
            self.grads[at].edit(|g| spec.input_grad(bounds.lower, bounds.upper, g))?;
        }
        Ok(())
    }

    fn keep_bias(&mut self, bias: Option<ParamId>, db: Option<Buffer>) -> Result<()> {
        if let (Some(b), Some(db)) = (bias, db) {
            let old = std::mem::replace(&mut self.grads[b], db);
            self.pool.give(old);
        }
        Ok(())
    }

    /// Quantised weights of `node`; `None` for a full-precision layer. Sets the bounds from the first batch.
    pub(super) fn quantise_weight(
        &mut self,
        node: NodeId,
        weight: ParamId,
        pass: &Pass,
    ) -> Result<Option<Buffer>> {
        if let Some(data) = self.data_quant[node] {
            let mut y = self.pool.take(self.param(weight).len())?;
            data.quantise(&self.values[weight], &mut y)?;
            return Ok(Some(y));
        }
        let Some(mut q) = self.quant[node].take() else {
            return Ok(None);
        };
        let mut run = || {
            if !q.ready && pass.mode == Mode::Train {
                if let (Some(at), Some(spec)) = (q.input, q.spec.input) {
                    let x = act(pass, self.nodes[node].input);
                    let bounds = quant::activation_three_sigma(&x.view()?);
                    let bounds = bounds.map_err(|e| self.in_layer(node, e))?;
                    self.set_value(at, &spec.initial(bounds))?;
                }
                let bounds = quant::weight_three_sigma(&self.values[weight].view()?);
                let bounds = bounds.map_err(|e| self.in_layer(node, e))?;
                self.set_value(q.weight, &q.spec.weight.initial(bounds))?;
                q.ready = true;
            }
            let f = self.weight_fake_quant(node, &q)?;
            let mut y = self.pool.take(self.param(weight).len())?;
            q.quantiser
                .forward(&self.values[weight], f, pass.mode, &mut y)?;
            Ok(y)
        };
        let done = run();
        self.quant[node] = Some(q);
        done.map(Some)
    }

    fn weight_fake_quant(&self, node: NodeId, q: &LayerQuant) -> Result<FakeQuant> {
        let mut f = q
            .spec
            .weight
            .weight(&self.values[q.weight].view()?)
            .map_err(|e| self.in_layer(node, e))?;
        let factor = q.spec.input.map_or(1.0, TensorSpec::factor);
        f.scale *= factor;
        f.offset *= factor;
        Ok(f)
    }

    pub(super) fn act_quant(&self, node: NodeId) -> Result<Option<ActQuant>> {
        let Some(q) = &self.quant[node] else {
            return Ok(None);
        };
        let (Some(at), Some(spec)) = (q.input, q.spec.input) else {
            return Ok(None);
        };
        let quant = spec.input(&self.values[at].view()?);
        quant.map(Some).map_err(|e| self.in_layer(node, e))
    }

    /// Says of which layer an error speaks: trained bounds may cross in any of them.
    fn in_layer(&self, node: NodeId, error: Error) -> Error {
        match error {
            Error::Invalid { what, why } => {
                Error::invalid(format!("layer {}: {what}", self.nodes[node].name), why)
            }
            other => other,
        }
    }
}
