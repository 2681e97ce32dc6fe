//! What a backward pass starts from and what is wanted of it.

use super::extent::Extent;
use super::graph::{Graph, NodeId};
use super::params::Params;
use super::pool::BufferPool;
use super::slots::NodeSlots;
use crate::ops::batch_norm2d::NormShape;
use crate::ops::moments::{MomentGrads, MomentsKernel};
use crate::{Buffer, HostAccess, Result, dev};

/// Which gradients a backward pass computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Those of the inputs.
    pub input: bool,
    /// Those of parameters, bounds of quantisers included.
    pub parameters: bool,
}

impl Wants {
    /// Those of the parameters: training.
    pub const PARAMETERS: Wants = Wants {
        input: false,
        parameters: true,
    };
    /// Those of the inputs: a frozen network.
    pub const INPUT: Wants = Wants {
        input: true,
        parameters: false,
    };
    /// Both.
    pub const ALL: Wants = Wants {
        input: true,
        parameters: true,
    };
}

/// A gradient that comes into a backward pass at a node.
pub(crate) struct Top {
    pub node: NodeId,
    pub kind: TopKind,
}

pub(crate) enum TopKind {
    /// Of the whole activation, in `(N, H, W, C)` order.
    Whole(Buffer),
    /// Of its mean and biased variance by channel.
    Moments {
        mean: Buffer,
        dmean: Buffer,
        dvar: Buffer,
    },
}

impl Top {
    /// The gradient of the activation `x`.
    pub fn gradient(self, x: &Buffer, extent: Extent, pool: &mut BufferPool) -> Result<Buffer> {
        match self.kind {
            TopKind::Whole(gradient) => Ok(gradient),
            TopKind::Moments { mean, dmean, dvar } => {
                let mut dx = pool.take(x.elements())?;
                let shape = NormShape {
                    pixels: x.elements() / extent.channels,
                    channels: extent.channels,
                };
                let gradient = MomentGrads {
                    mean: &dmean,
                    var: &dvar,
                };
                dev().moments_grad(shape, x, &mean, gradient, &mut dx, false)?;
                Ok(dx)
            }
        }
    }
}

/// Nodes through which a gradient has to pass to reach what is wanted.
pub(crate) fn wanted_nodes(
    graph: &Graph,
    slots: &[NodeSlots],
    params: &Params,
    wants: Wants,
) -> Vec<bool> {
    let mut wanted = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.nodes.iter().enumerate() {
        let here = match &node.layer {
            None => wants.input,
            Some(layer) => {
                let trained = |id: &usize| params.describe(*id).is_trainable();
                let slots = [&slots[id].weight, &slots[id].input];
                let own = layer.parameters().iter().any(trained)
                    || slots.into_iter().flatten().any(|s| s.trains(params));
                // An input that does not hand its gradient on wants none for what lies before it.
                let cut = slots[1]
                    .as_ref()
                    .is_some_and(|s| !s.quantiser.passes_gradient());
                let mut reads = node.reads.iter().skip(usize::from(cut));
                (wants.parameters && own) || reads.any(|&r| wanted[r])
            }
        };
        wanted.push(here);
    }
    wanted
}
