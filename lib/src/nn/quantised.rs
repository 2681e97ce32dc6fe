//! The quantised layers of a running network: bounds, weights on their levels, gradients through both.

use super::Mode;
use super::exec::{Pass, act};
use super::graph::NodeId;
use super::net::Inner;
use super::param::ParamId;
use crate::ops::conv2d::{ActQuant, Conv2dKernel, ConvShape};
use crate::ops::fake_quant::{Bounds, FakeQuant, levels};
use crate::ops::masked_grad::MaskedGradKernel;
use crate::quant;
use crate::{Buffer, Result, dev};

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
            Some(b) => Some(self.pool.take(self.params[b].len())?),
            None => None,
        };
        let Some(mut q) = self.quant[node].take() else {
            dev().conv2d_grad_weight(shape, x, quant, dy, &mut self.grads[weight], db.as_mut())?;
            if let Some(data) = self.data_quant[node] {
                data.mask_gradient(&self.mirror[weight], &mut self.grads[weight])?;
            }
            return self.keep_bias(bias, db);
        };
        let mut dq = self.pool.take(self.params[weight].len())?;
        let done = match q.quantiser.frozen() {
            Some(mask) => {
                dev().conv2d_grad_weight_masked(shape, x, quant, dy, mask, &mut dq, db.as_mut())
            }
            None => dev().conv2d_grad_weight(shape, x, quant, dy, &mut dq, db.as_mut()),
        };
        let f = self.weight_fake_quant(q.weight, q.bits);
        let bounds = done.and_then(|()| {
            let f = f?;
            q.quantiser
                .backward(&self.mirror[weight], f, &dq, &mut self.grads[weight])
        });
        self.pool.give(dq);
        let at = q.weight;
        self.quant[node] = Some(q);
        let bounds = bounds?;
        self.grads[at].copy_from_slice(&[bounds.lower, bounds.upper]);
        self.keep_bias(bias, db)
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
            let mut y = self.pool.take(self.params[weight].len())?;
            data.quantise(&self.mirror[weight], &mut y)?;
            return Ok(Some(y));
        }
        let Some(mut q) = self.quant[node].take() else {
            return Ok(None);
        };
        let mut run = || {
            if !q.ready && pass.mode == Mode::Train {
                let x = act(pass, self.nodes[node].input);
                self.set_bounds(q.act, quant::activation_three_sigma(x)?)?;
                let w = quant::weight_three_sigma(&self.mirror[weight])?;
                self.set_bounds(q.weight, w)?;
                q.ready = true;
            }
            let f = self.weight_fake_quant(q.weight, q.bits)?;
            let mut y = self.pool.take(self.params[weight].len())?;
            q.quantiser
                .forward(&self.mirror[weight], f, pass.mode, &mut y)?;
            Ok(y)
        };
        let done = run();
        self.quant[node] = Some(q);
        done.map(Some)
    }

    fn set_bounds(&mut self, at: ParamId, b: Bounds) -> Result<()> {
        let pair = [b.lower, b.upper];
        self.mirror[at].copy_from_slice(&pair);
        self.params[at].value.copy_from(&pair);
        Ok(())
    }

    fn weight_fake_quant(&self, bounds: ParamId, bits: u32) -> Result<FakeQuant> {
        let b = &self.mirror[bounds];
        FakeQuant::weight(Bounds::new(b[0], b[1]), bits)
    }

    pub(super) fn act_quant(&self, node: NodeId) -> Result<Option<ActQuant>> {
        let Some(q) = &self.quant[node] else {
            return Ok(None);
        };
        let b = &self.mirror[q.act];
        let Bounds { lower, upper } = Bounds::new(b[0], b[1]).check()?;
        Ok(Some(ActQuant {
            lower,
            upper,
            levels: levels(q.bits)?,
        }))
    }
}
