//! Quantised networks that run in integers: activations of one byte, weights of whole numbers, sums of 32 bits.
//!
//! A fake-quantised network computes with the numbers that levels stand for; here the levels themselves are multiplied. With
//! the level `q` and zero point `z` of an input and of a weight of output channel `o`, and their scales `s` (levels in one
//! unit, as in [`AffineGrid`](crate::ops::affine_quant::AffineGrid)):
//!
//! ```text
//! x = (q_x + z_x) / s_x      w = (q_w + z_w) / s_w
//! a = sum (q_x + z_x) (q_w + z_w)           exact, in 32 bits
//! y = a / (s_x s_w) + b                     then the rectifier, and what goes around a block added before it
//! q = clamp(round(s y - z), ...)            half to even: the level that the next layer reads
//! ```
//!
//! What no convolution reads stays a number: the sum around a block, a mean over pixels, the answer. So a network differs
//! from the fake-quantised one only where that one rounds the sum of its products, in the last bits; a value that lies on
//! the edge between two levels may then fall on the other side. [`Arithmetic::Reference`] sums as the fake-quantised network
//! does and gives its very bits.
//!
//! When a network is built, the largest sum that any input could give is computed for each output channel, and a layer where
//! 32 bits might not hold it is refused.
//!
//! ```
//! use rebit::prelude::*;
//! let net = resnet20(10, rng(0));
//! let x = images(16, 3, 32, 32, &mut rng(1));
//! let (q, _) = post_training(&net, &x, &PtqConfig::bits(8))?;
//! let int = q.integer()?;
//! let error = (int.predict(&x)? - q.predict(&x)?).abs().max::<(), _>();
//! assert!(error.array() < 0.05);
//! # Ok::<(), Error>(())
//! ```
//!
//! Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
//! arXiv:1712.05877, §2.2 (the product of levels); scales are applied in floating point here, not as fixed-point factors
//! [choice of this library: half to even as in training].

mod build;
mod file;
mod graph;
mod kernel;
mod net;
mod packed;
mod plain;
mod plan;
mod run;
mod store;
#[cfg(test)]
mod tests;
mod weights;

pub use build::{ImageEntry, IntegerConfig};
pub(crate) use build::{convolution, weights_of};
pub use kernel::Kernel;
pub use net::{Arithmetic, IntegerLayer, IntegerNet};
pub(crate) use weights::{Row, Weights};
