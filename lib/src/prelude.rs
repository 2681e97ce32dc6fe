//! What a notebook sees.

pub use dfdx::prelude::*;

pub use crate::boxes::{self, BoxXyxy};
pub use crate::buffer::HostAccess;
pub use crate::data::{
    self, Augment, Batches, Dataset, FloatImages, ImageSource, Normalize, World, WorldConfig,
};
pub use crate::error::{Error, Result};
pub use crate::integer::{self, IntegerNet};
pub use crate::nn::{
    Activations, Affine, BackwardPass, Conv, Extent, ForwardPass, Layer, Mode, Net, NetBuilder,
    NodeId, Param, ParamId, Place, Quantise, QuantiseGrad, Quantiser, RangeKind, Role, Slots,
    StateTensor, Uniform, Wants, check_gradients, check_gradients_many, pretrained_resnet8,
    pretrained_resnet20, resnet8, resnet20,
};
pub use crate::onnx::{self, import_onnx};
pub use crate::ops::affine_quant::{affine_quant, try_affine_quant};
pub use crate::ops::avg_pool::{avg_pool2d, try_avg_pool2d};
pub use crate::ops::batch_norm2d::{BatchNormState, batch_norm2d, try_batch_norm2d};
pub use crate::ops::bound_quant::{
    BoundQuant, bound_quant, symmetric_quant, try_bound_quant, try_symmetric_quant,
};
pub use crate::ops::box_decode::{BoxBase, box_decode, try_box_decode};
pub use crate::ops::composite::{composite, try_composite};
pub use crate::ops::conv2d::{Conv2dOptions, conv2d, try_conv2d};
pub use crate::ops::cross_entropy::{cross_entropy, try_cross_entropy};
pub use crate::ops::elementwise::{
    leaky_relu, product, sigmoid, tanh, try_leaky_relu, try_product, try_sigmoid, try_tanh,
};
pub use crate::ops::embedding::{embedding, try_embedding};
pub use crate::ops::fake_quant::{
    Bounds, FakeQuant, fake_quant, quantise_weight, try_fake_quant, try_quantise_weight,
};
pub use crate::ops::focal::{Focal, focal, try_focal};
pub use crate::ops::giou_loss::{giou_loss, try_giou_loss};
pub use crate::ops::host::{host_op, try_host_op};
pub use crate::ops::l2_normalise::{l2_normalise, try_l2_normalise};
pub use crate::ops::linear::{linear, try_linear};
pub use crate::ops::lts_weight::{LtsState, LtsStep, lts_weight, try_lts_weight};
pub use crate::ops::matmul::{matmul, try_matmul};
pub use crate::ops::moments::{moments, try_moments};
pub use crate::ops::pixel_shuffle::{pixel_shuffle, try_pixel_shuffle};
pub use crate::ops::pool::{global_avg_pool, max_pool2d, try_global_avg_pool, try_max_pool2d};
pub use crate::ops::relu::{Activation, relu, relu6, try_relu, try_relu6};
pub use crate::ops::roi_align::{RoiAlign, roi_align, try_roi_align};
pub use crate::ops::roi_transform::{RoiTransform, roi_transform, try_roi_transform};
pub use crate::ops::sample::{Border, Sampling, sample, try_sample};
pub use crate::ops::texture_render::{TexelMap, texture_render, try_texture_render};
pub use crate::ops::triplet::{ProxyTable, proxy_triplet, triplet, try_proxy_triplet, try_triplet};
pub use crate::ops::upsample::{Upsample, try_upsample, upsample};
pub use crate::papers;
pub use crate::plot::{self, Figure, LiveFigure};
pub use crate::ptq::{
    self, BitBudget, DistilConfig, PtqConfig, PtqReport, allocate_bits, distil, post_training,
    sensitivity,
};
pub use crate::quant::{self, Quantised, Range};
pub use crate::show::{
    self, Budget, LiveDisplay, Progress, Show, Table, budget, check_interrupt, display, progress,
    spread,
};
pub use crate::tensors::*;
pub use crate::train::{
    Adam, Groups, History, Leaf, Loss, Observer, Optimiser, Schedule, Sgd, Step, Task, TrainConfig,
    Trainer, accuracy, distillation, moments_loss, read_state, squared_error, total, train,
    train_with, try_accuracy, try_distillation, try_moments_loss, try_squared_error, try_total,
    try_train, write_state,
};
pub use crate::{claim, finding};
