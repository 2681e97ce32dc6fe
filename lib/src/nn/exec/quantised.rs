//! Tensors put on their levels before a layer reads them.

use super::{Exec, kept};
use crate::nn::Mode;
use crate::nn::graph::{Graph, NodeId};
use crate::nn::params::Params;
use crate::nn::pass::Pass;
use crate::nn::quantiser::{Lent, Operand};
use crate::nn::slots::{Operands, Quantised, not_ready, weight_operands};
use crate::{HostAccess, Result};

impl Exec {
    /// Reads the range of the first input's quantiser and puts the input on its levels, unless the layer does it.
    pub(super) fn quantise_input(
        &mut self,
        graph: &Graph,
        params: &mut Params,
        node: NodeId,
        pass: &mut Pass,
    ) -> Result<()> {
        let Some(slot) = &mut self.slots[node].input else {
            return Ok(());
        };
        let read = graph.nodes[node].reads[0];
        let x = kept(&pass.nodes[read])?;
        let o = Operands {
            operand: Operand::Input,
            mode: pass.mode,
            observed: self.observing || pass.mode == Mode::Train,
            batch: pass.batch,
            extent: pass.extents[read],
            x,
        };
        let found = slot.read_range(&o)?;
        let range = slot.settle_range(found, params)?;
        if !slot.ready {
            return Err(not_ready(&graph.nodes[node].name));
        }
        let fuses = graph.layer(node).is_some_and(|l| l.fuses());
        let mut q = Quantised {
            fused: if fuses {
                slot.quantiser.fused(&range)?
            } else {
                None
            },
            range,
            factor: 1.0,
            ..Quantised::default()
        };
        if q.fused.is_none() {
            let y = self.pool.take(x.elements())?;
            slot.quantise(&o, &mut q, Lent::Mutable(params), y)?;
        }
        pass.nodes[node].input = Some(q);
        Ok(())
    }

    /// Reads the range of the weight's quantiser and puts the weight on its levels.
    pub(super) fn quantise_weight(
        &mut self,
        graph: &Graph,
        params: &mut Params,
        node: NodeId,
        pass: &mut Pass,
    ) -> Result<()> {
        let Some(slot) = &mut self.slots[node].weight else {
            return Ok(());
        };
        let Some(weight) = graph.layer(node).and_then(|l| l.weight()) else {
            return Ok(());
        };
        let mut o = weight_operands(params, weight, pass.mode);
        o.observed |= self.observing;
        let found = slot.read_range(&o)?;
        let range = slot.settle_range(found, params)?;
        if !slot.ready {
            return Err(not_ready(&graph.nodes[node].name));
        }
        let fused = pass.nodes[node].input.as_ref().and_then(|q| q.fused);
        let mut q = Quantised {
            range,
            factor: fused.map_or(1.0, |f| f.factor),
            ..Quantised::default()
        };
        let o = weight_operands(params, weight, pass.mode);
        let y = self.pool.take(o.x.elements())?;
        slot.quantise(&o, &mut q, Lent::Shared(params), y)?;
        pass.nodes[node].weight = Some(q);
        Ok(())
    }
}
