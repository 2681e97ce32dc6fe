//! Networks: a graph of layers whose activations and gradients live in reused buffers.
//!
//! A [`Net`] is built at run time from named layers ([`NetBuilder`]), so a cell that defines a network
//! instantiates no generic code. Its forward pass is one operation on dfdx's tape ([`Net::forward`]); inside,
//! layers run the kernel faces of [`crate::ops`] on `(N, H, W, C)` buffers: a convolution quantises its input
//! while it reads it, a batch norm adds the residual and applies the ReLU in the same pass, and every
//! buffer returns to a pool when its last reader is done.

mod activation_loss;
mod activations;
mod builder;
mod check;
mod checkpoint;
mod cosine;
pub mod detector;
mod display;
mod edsr;
mod exec;
mod extent;
mod fold;
mod graph;
mod imagenet;
mod info;
mod layer;
pub mod layers;
mod look;
mod mobilenet;
mod net;
mod packed;
mod param;
mod params;
mod pass;
mod pool;
mod pretrained;
mod quantise;
mod quantiser;
mod ranges;
mod rdn;
pub mod reid;
mod resnet;
mod run;
mod slots;
mod srresnet;
mod subnet;
#[cfg(test)]
mod tests;
mod unet;
mod wants;

pub use builder::NetBuilder;
pub use check::{Worst, check_gradients, check_gradients_many};
pub use checkpoint::StateTensor;
pub use cosine::CosineDistance;
pub use extent::Extent;
pub use graph::{LayerInfo, NodeId, NodeInfo, Place};
pub use info::{NormInfo, SiteInfo};
pub(crate) use layer::forward_alone;
pub use layer::{BackwardPass, ForwardPass, Layer, LayerInputs, Memo, Statistics};
pub use layers::{Conv, Init, Norm};
pub use look::Seen;

pub use crate::ops::batch_norm2d::Mode;
pub use activation_loss::{
    ActivationLoss, BatchExtent, CrossEntropy, MeanAbsoluteError, try_loss_of,
};
pub use activations::{Activations, Moments};
pub use detector::{DetectorConfig, detector};
pub use edsr::{EdsrConfig, FEATURES, edsr};
pub use imagenet::{ImagenetResnetConfig, imagenet_resnet, imagenet_resnet_with};
pub use mobilenet::{
    MobilenetConfig, mobilenet_v1, mobilenet_v1_with, mobilenet_v2, mobilenet_v2_with,
};
pub use net::Net;
pub(crate) use packed::grids_of;
pub use param::{Param, ParamId, Role};
pub use params::Params;
pub use pass::StepTimes;
pub use pretrained::{
    pretrained_detector, pretrained_edsr, pretrained_edsr_deep, pretrained_mobilenet_v2,
    pretrained_reid_a, pretrained_reid_b, pretrained_resnet8, pretrained_resnet20,
};
pub use quantiser::{
    Affine, BoundGrid, FixedGrid, Fused, Operand, Quantise, QuantiseGrad, Quantiser, RangeKind,
    Rounded, Scaled, Slot, Slots, Uniform,
};
pub use ranges::QuantiserInfo;
pub use rdn::{RdnConfig, rdn};
pub use reid::{ReidNetConfig, reid};
pub use resnet::{
    CifarResnetConfig, Shortcut, cifar_resnet, cifar_resnet_with, resnet8, resnet20, resnet32,
    resnet56,
};
pub use srresnet::{SrresnetConfig, srresnet};
pub use subnet::{SubNet, SubPass};
pub use unet::{UNetConfig, unet};
pub use wants::Wants;
