//! Layers without weights, as data that a file keeps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::nn::layers::{
    Act, Add, Affine, AvgPool, Concat, Elementwise, Flatten, GlobalAvgPool, Identity, MaxPool,
    PadChannels, PixelShuffle, Product, Reshape, Slice, Upsample,
};
use crate::nn::{Extent, Layer, NodeInfo};
use crate::ops::elementwise::Function;
use crate::ops::relu::Activation;
use crate::ops::upsample;

/// A layer that computes with numbers, by the network's own kernels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Plain {
    Act(Activation),
    Add(Activation),
    Affine(f32, Vec<f32>),
    AvgPool((usize, usize), (usize, usize)),
    Concat,
    Elementwise(Function),
    Flatten,
    GlobalAvgPool,
    Identity,
    /// Window, stride, padding.
    MaxPool(usize, usize, usize),
    PadChannels(usize, usize),
    PixelShuffle(usize),
    Product,
    Reshape(usize, usize, usize),
    Slice(usize, usize),
    Upsample(upsample::Upsample),
}

impl Plain {
    /// What a node is; none for a layer that is none of these.
    pub fn of(node: &NodeInfo) -> Option<Plain> {
        Some(if let Some(l) = node.layer_as::<Act>() {
            Plain::Act(l.0)
        } else if let Some(l) = node.layer_as::<Add>() {
            Plain::Add(l.0)
        } else if let Some(l) = node.layer_as::<Affine>() {
            Plain::Affine(l.scale, l.offset.to_vec())
        } else if let Some(l) = node.layer_as::<AvgPool>() {
            Plain::AvgPool(l.kernel, l.stride)
        } else if node.layer_as::<Concat>().is_some() {
            Plain::Concat
        } else if let Some(l) = node.layer_as::<Elementwise>() {
            Plain::Elementwise(l.0)
        } else if node.layer_as::<Flatten>().is_some() {
            Plain::Flatten
        } else if node.layer_as::<GlobalAvgPool>().is_some() {
            Plain::GlobalAvgPool
        } else if node.layer_as::<Identity>().is_some() {
            Plain::Identity
        } else if let Some(l) = node.layer_as::<MaxPool>() {
            Plain::MaxPool(l.kernel, l.stride, l.padding)
        } else if let Some(l) = node.layer_as::<PadChannels>() {
            Plain::PadChannels(l.before, l.after)
        } else if let Some(l) = node.layer_as::<PixelShuffle>() {
            Plain::PixelShuffle(l.factor)
        } else if node.layer_as::<Product>().is_some() {
            Plain::Product
        } else if let Some(l) = node.layer_as::<Reshape>() {
            Plain::Reshape(l.to.channels, l.to.height, l.to.width)
        } else if let Some(l) = node.layer_as::<Slice>() {
            Plain::Slice(l.range.start, l.range.end)
        } else {
            Plain::Upsample(node.layer_as::<Upsample>()?.0)
        })
    }

    /// The layer itself.
    pub fn layer(&self) -> Arc<dyn Layer> {
        match self {
            Plain::Act(act) => Arc::new(Act(*act)),
            Plain::Add(act) => Arc::new(Add(*act)),
            Plain::Affine(scale, offset) => Arc::new(Affine {
                scale: *scale,
                offset: offset.clone().into(),
            }),
            Plain::AvgPool(kernel, stride) => Arc::new(AvgPool {
                kernel: *kernel,
                stride: *stride,
            }),
            Plain::Concat => Arc::new(Concat),
            Plain::Elementwise(f) => Arc::new(Elementwise(*f)),
            Plain::Flatten => Arc::new(Flatten),
            Plain::GlobalAvgPool => Arc::new(GlobalAvgPool),
            Plain::Identity => Arc::new(Identity),
            Plain::MaxPool(kernel, stride, padding) => Arc::new(MaxPool {
                kernel: *kernel,
                stride: *stride,
                padding: *padding,
            }),
            Plain::PadChannels(before, after) => Arc::new(PadChannels {
                before: *before,
                after: *after,
            }),
            Plain::PixelShuffle(factor) => Arc::new(PixelShuffle { factor: *factor }),
            Plain::Product => Arc::new(Product),
            Plain::Reshape(channels, height, width) => Arc::new(Reshape {
                to: Extent::new(*channels, *height, *width),
            }),
            Plain::Slice(start, end) => Arc::new(Slice {
                range: *start..*end,
            }),
            Plain::Upsample(how) => Arc::new(Upsample(*how)),
        }
    }
}
