//! What a forward pass leaves for its backward pass.

use std::sync::Arc;
use std::time::Duration;

use super::Mode;
use super::extent::Extent;
use super::graph::NodeId;
use super::layer::Memo;
use super::pool::BufferPool;
use super::slots::Quantised;
use crate::{Buffer, Error, Result};

/// The buffers of one forward pass, at the sizes of its batch.
pub(crate) struct Pass {
    pub batch: usize,
    pub mode: Mode,
    pub extents: Arc<[Extent]>,
    pub nodes: Vec<NodePass>,
}

/// The part of one node.
#[derive(Default)]
pub(crate) struct NodePass {
    pub activation: Option<Buffer>,
    pub input: Option<Quantised>,
    pub weight: Option<Quantised>,
    pub kept: Vec<Buffer>,
    pub memo: Option<Memo>,
}

impl NodePass {
    /// Gives every buffer back.
    pub fn release(&mut self, pool: &mut BufferPool) {
        let quantised = [self.input.take(), self.weight.take()];
        let values = quantised.into_iter().flatten().filter_map(|q| q.value);
        let buffers = self.activation.take().into_iter().chain(values);
        buffers
            .chain(self.kept.drain(..))
            .for_each(|b| pool.give(b));
        self.memo = None;
    }
}

impl Pass {
    /// A node's activation.
    pub fn activation(&self, node: NodeId) -> Result<&Buffer> {
        let found = self.nodes[node].activation.as_ref();
        found.ok_or_else(|| {
            Error::invalid(
                format!("activation of node {node}"),
                "was not kept: ask for it when the network runs",
            )
        })
    }

    /// Gives every buffer back.
    pub fn release(&mut self, pool: &mut BufferPool) {
        self.nodes.iter_mut().for_each(|n| n.release(pool));
    }
}

/// Wall-clock of the parts of training steps, summed since the last reset.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTimes {
    /// Forward passes.
    pub forward: Duration,
    /// Backward passes as a whole.
    pub backward: Duration,
    /// The weight gradients among them.
    pub weight_grad: Duration,
}
