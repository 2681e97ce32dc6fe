//! The network as data: nodes in the order they run.

use std::sync::Arc;

use super::param::ParamId;
use crate::ops::conv2d::ConvShape;
use crate::ops::relu::Activation;

/// Index of a node; a node only reads nodes before it.
pub type NodeId = usize;

/// Height, width, channels of one sample's activation.
pub(crate) type Extent = [usize; 3];

/// What a node computes from its input (and, for some, from a second node).
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// The batch itself.
    Input,
    /// Convolution or, on 1x1 extents, linear layer.
    Conv {
        weight: ParamId,
        bias: Option<ParamId>,
        window: Window,
    },
    /// Batch norm, then an optional addition, then the activation.
    Norm {
        gamma: ParamId,
        beta: ParamId,
        mean: ParamId,
        var: ParamId,
        add: Option<NodeId>,
        act: Activation,
    },
    /// Activation alone.
    Act(Activation),
    /// Sum of two nodes, then the activation.
    Add { other: NodeId, act: Activation },
    /// Maximum over windows.
    MaxPool {
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    /// Mean over height and width.
    GlobalAvgPool,
    /// `scale * x + offset[channel]`, both constant.
    Affine { scale: f32, offset: Arc<[f32]> },
    /// The input's channels, then those of the other nodes.
    Concat { others: Arc<[NodeId]> },
    /// Rectifier with a trained slope below zero.
    Prelu { slope: ParamId },
    /// Channels become pixels.
    PixelShuffle { factor: usize },
    /// A place where a paper may put an activation quantiser; the identity without one.
    Site,
}

/// The sliding window of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub kernel: (usize, usize),
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
    pub groups: usize,
}

/// One step of the network.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub name: String,
    pub op: Op,
    pub input: NodeId,
    pub extent: Extent,
}

impl Node {
    /// The weight parameter of a convolution.
    pub fn weight(&self) -> Option<ParamId> {
        match self.op {
            Op::Conv { weight, .. } => Some(weight),
            _ => None,
        }
    }

    /// Nodes this one reads.
    pub fn reads(&self) -> impl Iterator<Item = NodeId> {
        let second = match self.op {
            Op::Norm { add, .. } => add,
            Op::Add { other, .. } => Some(other),
            _ => None,
        };
        let more: &[NodeId] = match &self.op {
            Op::Concat { others } => others,
            _ => &[],
        };
        let first = (!matches!(self.op, Op::Input)).then_some(self.input);
        first.into_iter().chain(second).chain(more.iter().copied())
    }
}

/// The convolution of `batch` samples of extent `from` into extent `to`; a linear layer is one of 1x1 extents.
pub(crate) fn conv_shape(batch: usize, from: Extent, to: Extent, window: &Window) -> ConvShape {
    ConvShape {
        batch,
        in_h: from[0],
        in_w: from[1],
        in_channels: from[2],
        out_channels: to[2],
        kernel: window.kernel,
        stride: window.stride,
        padding: window.padding,
        dilation: window.dilation,
        groups: window.groups,
    }
}

/// A convolution or linear layer, for tables and accounting.
#[derive(Clone, Debug)]
pub struct LayerInfo {
    /// Name of the layer (its weight is `name.weight`).
    pub name: String,
    /// Index of its weight among the network's parameters.
    pub weight: ParamId,
    /// Number of weights.
    pub weights: usize,
    /// Multiply-accumulates of one sample's forward pass.
    pub macs: usize,
    /// Bits of its weights, when they are quantised.
    pub bits: Option<u32>,
}
