//! The backward pass: from the gradients of some nodes to those that are wanted.

use std::time::Instant;

use super::{Exec, Inner};
use crate::nn::extent::Extent;
use crate::nn::graph::{Graph, NodeId};
use crate::nn::layer::{BackwardPass, LayerInputs};
use crate::nn::params::Params;
use crate::nn::pass::Pass;
use crate::nn::quantiser::Operand;
use crate::nn::slots::{NodeSlots, Operands, Placed, WeightSlot};
use crate::nn::wants::{Top, Wants, wanted_nodes};
use crate::ops::relu::ActivationKernel;
use crate::{Buffer, Grads, HostAccess, Result, dev};

impl Exec {
    /// Backward pass from the gradients of some nodes; those of parameters are added to `grads`. Returns the gradients
    /// of the inputs that `wants` asks for.
    pub fn backward(
        &mut self,
        mut pass: Pass,
        tops: Vec<Top>,
        wants: Wants,
        (params, grads): (&Params, &mut Grads),
    ) -> Result<Vec<Option<Buffer>>> {
        let start = Instant::now();
        let graph = self.graph.clone();
        let wanted = wanted_nodes(&graph, &self.slots, params, wants);
        let count = graph.nodes.len();
        // One more than there are nodes: the gradient of an input on its levels, before its quantiser.
        let mut dx: Vec<Option<Buffer>> = (0..=count).map(|_| None).collect();
        let mut tops = tops;
        for node in (0..count).rev() {
            // A top is joined when the pass reaches its node, so that no gradient waits in memory for its turn.
            for top in tops.extract_if(.., |t| t.node == node) {
                if wanted[node] {
                    self.join_top(top, &pass, &mut dx)?;
                }
            }
            if graph.layer(node).is_some() {
                if let Some(dy) = dx[node].take() {
                    let at = (node, dy);
                    let to = (params, &mut *grads);
                    let done =
                        self.backward_node(&graph, at, &mut pass, &wanted, wants, &mut dx, to);
                    done.map_err(|e| e.in_layer(&graph.nodes[node].name))?;
                }
                pass.nodes[node].release(&mut self.pool);
            }
        }
        pass.release(&mut self.pool);
        self.times.backward += start.elapsed();
        Ok(graph.inputs.iter().map(|&i| dx[i].take()).collect())
    }

    fn join_top(&mut self, top: Top, pass: &Pass, dx: &mut [Option<Buffer>]) -> Result<()> {
        let node = top.node;
        let x = pass.activation(node)?;
        let gradient = top.gradient(x, pass.extents[node], &mut self.pool)?;
        match &mut dx[node] {
            Some(sum) => {
                dev().accumulate(&gradient, sum)?;
                self.pool.give(gradient);
            }
            empty => *empty = Some(gradient),
        }
        Ok(())
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the executor's own state, taken apart"
    )]
    fn backward_node(
        &mut self,
        graph: &Graph,
        (node, dy): (NodeId, Buffer),
        pass: &mut Pass,
        wanted: &[bool],
        wants: Wants,
        dx: &mut [Option<Buffer>],
        (params, grads): (&Params, &mut Grads),
    ) -> Result<()> {
        let here = &graph.nodes[node];
        let Some(layer) = &here.layer else {
            return Ok(());
        };
        let extents: Vec<Extent> = here.reads.iter().map(|&r| pass.extents[r]).collect();
        let local = graph.nodes.len();
        let NodeSlots { weight, input } = &mut self.slots[node];
        let mine = &pass.nodes[node];
        let trains = |slot: &Placed| wants.parameters && slot.trains(params);
        let unfused = mine.input.as_ref().filter(|q| q.fused.is_none());
        let goes_on = |slot: &Placed| slot.quantiser.passes_gradient() && wanted[here.reads[0]];
        let needed = |slot: &Placed| goes_on(slot) || trains(slot);
        let through = unfused.is_some() && input.as_ref().is_some_and(needed);
        if layer.is_identity() && unfused.is_some() {
            dx[local] = Some(dy);
        } else {
            let mut inputs = Vec::with_capacity(here.reads.len());
            let mut targets = Vec::with_capacity(here.reads.len());
            for (i, &read) in here.reads.iter().enumerate() {
                match unfused.and_then(|q| q.value.as_ref()) {
                    Some(value) if i == 0 => {
                        inputs.push(value);
                        targets.push(through.then_some(local));
                    }
                    _ => {
                        inputs.push(pass.activation(read)?);
                        targets.push(wanted[read].then_some(read));
                    }
                }
            }
            let weight_slot = match (weight, &mine.weight) {
                (Some(slot), Some(quantised)) => Some(WeightSlot { slot, quantised }),
                _ => None,
            };
            let mut cx = BackwardPass {
                at: LayerInputs {
                    name: &here.name,
                    batch: pass.batch,
                    mode: pass.mode,
                    inputs,
                    extents: &extents,
                    extent: pass.extents[node],
                    weight: mine.weight.as_ref().and_then(|q| q.value.as_ref()),
                    fused: mine.input.as_ref().and_then(|q| q.fused).map(|f| f.quant),
                },
                output: pass.activation(node)?,
                dy: Some(dy),
                weight_slot,
                fused_grad: None,
                targets,
                dx,
                wants_params: wants.parameters,
                params,
                grads,
                pool: &mut self.pool,
                kept: &mine.kept,
                memo: mine.memo.as_ref(),
                weight_time: std::time::Duration::ZERO,
            };
            layer.backward(&mut cx)?;
            let (dy, bounds, spent) = (cx.dy.take(), cx.fused_grad.take(), cx.weight_time);
            if let Some(dy) = dy {
                self.pool.give(dy);
            }
            self.times.weight_grad += spent;
            if let (Some(slot), Some(bounds)) = (&input, bounds)
                && wants.parameters
            {
                let gradient = slot.quantiser.fused_gradient(bounds);
                slot.give_range_grad(Some(gradient), params, grads)?;
            }
        }
        let (Some(slot), Some(q), Some(dy)) = (input, unfused, dx[local].take()) else {
            return Ok(());
        };
        let read = here.reads[0];
        let o = Operands {
            operand: Operand::Input,
            mode: pass.mode,
            observed: false,
            batch: pass.batch,
            extent: extents[0],
            x: pass.activation(read)?,
        };
        let (mut into, accumulate) = match dx[read].take() {
            Some(sum) if wanted[read] => (sum, true),
            _ => (self.pool.take(o.x.elements())?, false),
        };
        slot.gradient(&o, q, &dy, (&mut into, accumulate), params, grads)?;
        self.pool.give(dy);
        match wanted[read] {
            true => dx[read] = Some(into),
            false => self.pool.give(into),
        }
        Ok(())
    }
}

impl Inner {
    /// Nodes and weights whose quantisers act after an optimiser's step.
    pub fn acting_weights(&self) -> Vec<(NodeId, usize)> {
        let slots = self.slots.iter().enumerate();
        let acting = slots.filter(|(_, s)| {
            let weight = s.weight.as_ref();
            weight.is_some_and(|w| w.quantiser.acts_after_step())
        });
        let weight = |n: NodeId| Some((n, self.graph.layer(n)?.weight()?));
        acting.filter_map(|(n, _)| weight(n)).collect()
    }

    /// Lets a weight's quantiser act, with the moving averages of the weight's gradients.
    pub fn after_step(
        &mut self,
        (node, weight): (NodeId, usize),
        averages: &mut [&mut Buffer],
    ) -> Result<()> {
        let Some(slot) = &mut self.exec.slots[node].weight else {
            return Ok(());
        };
        let w = self.params.change(weight);
        slot.quantiser.after_step(w, averages)
    }
}
