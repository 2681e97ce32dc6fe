//! The built-in layers: configuration, geometry, parameters, forward and backward pass of each in one file.

mod activation;
mod add;
mod affine;
mod avg_pool;
mod concat;
mod conv;
mod embedding;
mod function;
mod global_avg_pool;
mod identity;
mod max_pool;
mod modulate;
mod norm;
mod pad_channels;
mod pixel_shuffle;
mod prelu;
mod product;
mod reshape;
mod slice;
mod stack;
#[cfg(test)]
pub(crate) mod testing;
mod upsample;

pub use activation::Act;
pub use add::Add;
pub use affine::Affine;
pub use avg_pool::AvgPool;
pub use concat::Concat;
pub use conv::{Conv, Convolution, Init, Linear};
pub use embedding::{Embedding, Table};
pub use function::Elementwise;
pub use global_avg_pool::GlobalAvgPool;
pub use identity::Identity;
pub use max_pool::MaxPool;
pub use modulate::Modulate;
pub use norm::{BatchNorm, Norm};
pub use pad_channels::PadChannels;
pub use pixel_shuffle::PixelShuffle;
pub use prelu::Prelu;
pub use product::Product;
pub use reshape::{Flatten, Reshape};
pub use slice::Slice;
pub use stack::Stack;
pub use upsample::Upsample;

use super::extent::Extent;
use crate::{Error, Result};

/// The inputs, if there are as many as the layer reads.
pub(crate) fn arity<'a, const N: usize>(
    op: &'static str,
    inputs: &'a [Extent],
) -> Result<&'a [Extent; N]> {
    let found = inputs.len();
    let right = inputs.try_into();
    right.map_err(|_| Error::shape(op, format!("{N} inputs"), found))
}

/// The extent of all inputs, if they are of one.
pub(crate) fn alike(op: &'static str, inputs: &[Extent]) -> Result<Extent> {
    let Some(&first) = inputs.first() else {
        return Err(Error::shape(op, "at least one input", "none"));
    };
    match inputs.iter().find(|e| **e != first) {
        Some(other) => {
            let expected = format!("inputs of one extent, {first}");
            Err(Error::shape(op, expected, other))
        }
        None => Ok(first),
    }
}
