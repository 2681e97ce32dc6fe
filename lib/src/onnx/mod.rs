//! Networks as ONNX files: for other programs, and from them.
//!
//! [`Net::export_onnx`](crate::nn::Net::export_onnx) writes opset 13, which has quantisers by channel. A quantised activation
//! is `Clip`, `QuantizeLinear`, `DequantizeLinear`: the clip, because ONNX saturates at the eight bits of the container and
//! not at the `k` of the grid. A quantised weight is stored as whole numbers `q + z` of 8 bits, with zero point 0 and a scale
//! for each row, `w = (q + z) / s`; programs that run levels as integers take that form. A weight whose whole numbers go
//! beyond -128 to 127 (eight bits, more on one side of 0 than on the other) is stored in 32 bits. So is the bias of a layer
//! with weights of seven bits or more, in units of its sums, as programs want it that run such a layer in integers; with fewer
//! bits those units are coarse, and the bias stays a number.
//!
//! [`import_onnx`] reads such files back, and those of plain convolutional networks of other programs.
//!
//! Scales of ONNX are the reciprocals of those here, each rounded: a value on the edge between two levels may fall on the
//! other side. Otherwise the two sides compute the same.

mod export;
mod import;
mod proto;
mod read;
#[cfg(test)]
mod tests;

pub use import::{import_onnx, import_onnx_bytes};
