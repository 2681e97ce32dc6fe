//! Networks: a graph of layers whose activations and gradients live in reused buffers.
//!
//! A [`Net`] is built at run time from named layers ([`NetBuilder`]), so a cell that defines a network
//! instantiates no generic code. Its forward pass is one operation on dfdx's tape ([`Net::forward`]); inside,
//! layers run the kernel faces of [`crate::ops`] on `(N, H, W, C)` buffers: a convolution quantises its input
//! while it reads it, a batch norm adds the residual and applies the ReLU in the same pass, and every
//! buffer returns to a pool when its last reader is done.

mod builder;
mod checkpoint;
mod display;
mod edsr;
mod exec;
mod graph;
mod imagenet;
mod net;
mod param;
mod pool;
mod pretrained;
mod quantise;
mod quantised;
mod rdn;
mod resnet;
mod site;
mod spatial;
mod srresnet;
#[cfg(test)]
mod tests;
mod weight_range;

pub use builder::{Conv, Init, NetBuilder};
pub(crate) use checkpoint::{read_tensors, write_tensors};
pub use graph::{LayerInfo, NodeId};
pub(crate) use net::buffer;

pub use crate::ops::batch_norm2d::Mode;
pub use edsr::{EdsrConfig, FEATURES, edsr};
pub use exec::StepTimes;
pub use imagenet::{imagenet_resnet, mobilenet_v1, mobilenet_v2};
pub use net::Net;
pub use param::{Param, ParamId, Role};
pub use pretrained::pretrained_resnet20;
pub use quantise::{Grid, LayerSpec, QuantSpec, TensorSpec, UniformWeight, WeightQuantiser};
pub use rdn::{RdnConfig, rdn};
pub use resnet::{cifar_resnet, resnet20, resnet32, resnet56};
pub(crate) use site::{Memo, SiteBatch, SiteInfo, SiteParams, SiteQuantiser};
pub use srresnet::{SrresnetConfig, srresnet};
pub use weight_range::{DataQuant, WeightRange};
