//! The quantiser slots of a running network: ranges from data, tensors on their levels, gradients through both.

use super::Mode;
use super::extent::Extent;
use super::layer::Memo;
use super::param::{Param, ParamId, Role};
use super::params::Params;
use super::quantiser::{Fused, Lent, Operand, Quantise, QuantiseGrad, Quantiser, RangeKind, Slot};
use crate::ops::fake_quant::levels;
use crate::ops::masked_grad::FreezeMask;
use crate::ops::tape::zeros;
use crate::quant::{RangeFrom, RangeUpdate};
use crate::{Buffer, Error, Grads, HostAccess, Result};

/// A quantiser in its place.
pub(crate) struct Placed {
    pub quantiser: Box<dyn Quantiser>,
    pub from: RangeFrom,
    /// Parameter of the range; none for one that is read anew in every pass or that the quantiser keeps itself.
    pub range: Option<ParamId>,
    /// Whether the range has been read.
    pub ready: bool,
    /// Parameter that counts the batches of a moving average that depends on their number.
    pub steps: Option<ParamId>,
    /// Whether a moving average stands still.
    pub frozen: bool,
}

/// The quantisers of one node.
#[derive(Default)]
pub(crate) struct NodeSlots {
    pub weight: Option<Placed>,
    pub input: Option<Placed>,
}

/// What a quantiser leaves for its backward pass.
#[derive(Default)]
pub(crate) struct Quantised {
    pub range: Vec<f32>,
    pub factor: f32,
    pub memo: Option<Memo>,
    /// The tensor on its levels; none where the layer applies the quantiser itself.
    pub value: Option<Buffer>,
    pub fused: Option<Fused>,
}

/// A tensor to be quantised.
pub(crate) struct Operands<'a> {
    pub operand: Operand,
    pub mode: Mode,
    /// Whether ranges follow this pass.
    pub observed: bool,
    pub batch: usize,
    pub extent: Extent,
    pub x: &'a Buffer,
}

impl Placed {
    /// A quantiser for `layer`, whose range becomes a parameter of the network; a weight has `rows` output channels.
    pub fn new(
        slot: Slot,
        layer: &str,
        (operand, rows): (Operand, usize),
        params: &mut Params,
    ) -> Result<Placed> {
        let Slot { quantiser, from } = slot;
        levels(quantiser.bits()).map_err(|e| e.in_layer(layer))?;
        from.check().map_err(|e| e.in_layer(layer))?;
        let kind = quantiser.range();
        if from.update == RangeUpdate::Trained && !quantiser.trains_range() {
            return Err(Error::invalid(
                format!("layer {layer}: the range of its quantiser"),
                "is a constant taken from the data, not trained: take the Range alone, each_pass or ema",
            ));
        }
        if kind == RangeKind::ChannelBounds && operand == Operand::Input {
            return Err(Error::invalid(
                format!("layer {layer}: a range for each output channel"),
                "is for weights alone",
            ));
        }
        let role = match from.update {
            RangeUpdate::Once | RangeUpdate::Ema { .. } => Role::Scale,
            RangeUpdate::Trained => Role::Bound,
            RangeUpdate::EachPass => Role::Statistic,
        };
        let prefix = match operand {
            Operand::Weight => "weight",
            Operand::Input => "act",
        };
        let range = match kind.parameter(rows) {
            Some((suffix, dims, start)) if from.update != RangeUpdate::EachPass => {
                let name = format!("{layer}.{prefix}_{suffix}");
                Some(params.add(Param::new(name, dims, role, start)?)?)
            }
            _ => None,
        };
        let steps = match (from.update, range) {
            (RangeUpdate::Ema { rule, .. }, Some(_)) if rule.counts() => {
                let name = format!("{layer}.{prefix}_steps");
                Some(params.add(Param::new(name, vec![1], Role::Scale, vec![0.0])?)?)
            }
            _ => None,
        };
        Ok(Placed {
            ready: range.is_none(),
            quantiser,
            from,
            range,
            steps,
            frozen: false,
        })
    }

    /// The parameters that are read off data: absent from a state that was saved before.
    pub fn read_off(&self) -> impl Iterator<Item = ParamId> {
        self.range.into_iter().chain(self.steps)
    }

    /// Parameters that this quantiser trains.
    pub fn trains(&self, params: &Params) -> bool {
        let own = self.quantiser.parameters();
        let mut ids = self.range.iter().chain(&own);
        ids.any(|&id| params.describe(id).is_trainable())
    }

    /// The range as read off the tensor, where that is due.
    pub fn read_range(&self, o: &Operands) -> Result<Option<Vec<f32>>> {
        let kind = self.quantiser.range();
        let moves = matches!(self.from.update, RangeUpdate::Ema { .. }) && !self.frozen;
        let due = self.range.is_none() || ((moves || !self.ready) && o.observed);
        if kind == RangeKind::None || !due {
            return Ok(None);
        }
        let (range, bits) = (self.from.range, self.quantiser.bits());
        kind.read(range, bits, &o.x.view()?, o.batch).map(Some)
    }

    /// The range for this pass, from what [`read_range`](Self::read_range) found.
    pub fn settle_range(
        &mut self,
        found: Option<Vec<f32>>,
        params: &mut Params,
    ) -> Result<Vec<f32>> {
        let (id, mut found) = match (self.range, found) {
            (None, found) => return Ok(found.unwrap_or_default()),
            (Some(id), None) => return Ok(params.view(id)?.into_owned()),
            (Some(id), Some(found)) => (id, found),
        };
        if let RangeUpdate::Ema { momentum, rule } = self.from.update {
            let steps = match (self.ready, self.steps) {
                (false, _) => 0,
                (true, None) => 1,
                (true, Some(id)) => params.one(id)? as u32,
            };
            let old = params.view(id)?;
            for (new, old) in found.iter_mut().zip(old.iter()) {
                *new = rule.step(momentum, steps, *old, *new);
            }
            if let Some(id) = self.steps {
                params.set(id, &[(steps + 1) as f32])?;
            }
        }
        params.set(id, &found)?;
        self.ready = true;
        Ok(found)
    }

    /// Puts the tensor on its levels, in `y`.
    pub fn quantise(
        &mut self,
        o: &Operands,
        q: &mut Quantised,
        params: Lent,
        mut y: Buffer,
    ) -> Result<()> {
        let mut cx = Quantise {
            operand: o.operand,
            mode: o.mode,
            batch: o.batch,
            extent: o.extent,
            x: o.x,
            y: &mut y,
            range: &q.range,
            factor: q.factor,
            params,
            memo: None,
        };
        self.quantiser.quantise(&mut cx)?;
        q.memo = cx.memo;
        if q.factor != 1.0 && !self.quantiser.carries_factor() {
            y.edit(|y| y.iter_mut().for_each(|y| *y *= q.factor))?;
        }
        q.value = Some(y);
        Ok(())
    }

    /// The gradient of the tensor and of the range from that of its levels.
    pub fn gradient(
        &mut self,
        o: &Operands,
        q: &Quantised,
        dy: &Buffer,
        (dx, accumulate): (&mut Buffer, bool),
        params: &Params,
        grads: &mut Grads,
    ) -> Result<()> {
        let scaled = match q.factor != 1.0 && !self.quantiser.carries_factor() {
            true => {
                let mut scaled = zeros(dy.elements())?;
                scaled.copy_from(dy)?;
                scaled.edit(|d| d.iter_mut().for_each(|d| *d *= q.factor))?;
                Some(scaled)
            }
            false => None,
        };
        let mut cx = QuantiseGrad {
            operand: o.operand,
            batch: o.batch,
            extent: o.extent,
            x: o.x,
            dy: scaled.as_ref().unwrap_or(dy),
            dx,
            accumulate,
            range: &q.range,
            factor: q.factor,
            params,
            grads,
            memo: q.memo.as_ref(),
            range_grad: None,
        };
        self.quantiser.gradient(&mut cx)?;
        let found = cx.range_grad.take();
        self.give_range_grad(found, params, grads)
    }

    /// Adds to the gradient of a trained range.
    pub fn give_range_grad(
        &self,
        gradient: Option<Vec<f32>>,
        params: &Params,
        grads: &mut Grads,
    ) -> Result<()> {
        let (Some(id), Some(gradient)) = (self.range, gradient) else {
            return Ok(());
        };
        if params.describe(id).is_trainable() {
            params.add_gradient(grads, id, &crate::buffer(&gradient)?)?;
        }
        Ok(())
    }

    fn duplicate(&self) -> Result<Placed> {
        Ok(Placed {
            quantiser: self.quantiser.duplicate()?,
            from: self.from,
            range: self.range,
            ready: self.ready,
            steps: self.steps,
            frozen: self.frozen,
        })
    }
}

impl NodeSlots {
    pub fn duplicate(&self) -> Result<NodeSlots> {
        let copy = |slot: &Option<Placed>| slot.as_ref().map(Placed::duplicate).transpose();
        Ok(NodeSlots {
            weight: copy(&self.weight)?,
            input: copy(&self.input)?,
        })
    }

    /// Both, where they are.
    pub fn both(&self) -> impl Iterator<Item = &Placed> {
        self.weight.iter().chain(&self.input)
    }

    /// Both, where they are, to be changed.
    pub fn each(&mut self) -> impl Iterator<Item = &mut Placed> {
        self.weight.iter_mut().chain(&mut self.input)
    }
}

/// The quantiser of a layer's weight, lent to the layer's backward pass.
pub(crate) struct WeightSlot<'a> {
    pub slot: &'a mut Placed,
    pub quantised: &'a Quantised,
}

impl WeightSlot<'_> {
    pub fn frozen(&mut self) -> Option<&FreezeMask> {
        self.slot.quantiser.frozen()
    }

    pub fn gradient(
        &mut self,
        id: ParamId,
        dy: &Buffer,
        dw: &mut Buffer,
        params: &Params,
        grads: &mut Grads,
    ) -> Result<()> {
        let o = weight_operands(params, id, Mode::Train);
        self.slot
            .gradient(&o, self.quantised, dy, (dw, false), params, grads)
    }
}

/// A weight as something to be quantised: rows are output channels.
pub(crate) fn weight_operands(params: &Params, id: ParamId, mode: Mode) -> Operands<'_> {
    let dims = &params.describe(id).dims;
    let at = |i: usize| dims.get(i).copied().unwrap_or(1);
    Operands {
        operand: Operand::Weight,
        mode,
        observed: mode == Mode::Train,
        batch: at(0),
        extent: Extent::new(at(1), at(2), at(3)),
        x: params.value(id),
    }
}

/// The error of a quantiser that is asked before it has seen anything.
pub(crate) fn not_ready(layer: &str) -> Error {
    Error::invalid(
        format!("layer {layer}: its quantiser"),
        "has no range yet: it is read off the first training batch, or with Net::calibrate",
    )
}
