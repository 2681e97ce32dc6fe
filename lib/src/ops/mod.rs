//! Differentiable operations, one folder each.
//!
//! An op has two faces over one set of kernels. The *tape* face (`conv2d`, `fake_quant`, ...) takes and
//! returns dfdx tensors in `(N, C, H, W)` order and records its gradient on dfdx's tape; cells and losses
//! use it. The *kernel* face is a small trait on the device that works on the device's own buffers in
//! `(N, H, W, C)` order, where a pixel's channels are neighbours and fill a SIMD register; the network
//! executor in [`crate::nn`] uses it and reuses its buffers from step to step.

pub mod batch_norm2d;
pub mod conv2d;
pub mod cross_entropy;
pub mod fake_quant;
pub mod layout;
pub mod linear;
pub mod lts_weight;
pub mod pool;
pub mod relu;

mod columns;
mod parallel;
