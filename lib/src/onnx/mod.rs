//! Networks as ONNX files: for other programs, and from them.
//!
//! [`Net::export_onnx`](crate::nn::Net::export_onnx) writes opset 13, which has quantisers by channel. A quantised activation
//! is `Clip`, `QuantizeLinear`, `DequantizeLinear`: the clip, because ONNX saturates at the eight bits of the container and
//! not at the `k` of the grid. A layer that reads levels and whose weight is on levels too is written in one of two forms:
//!
//! | | 7 or 8 bits, in bytes with one zero point for all rows | all others |
//! |---|---|---|
//! | `DequantizeLinear` gives | numbers, `(q + z) / s` | whole numbers, `q + z` |
//! | bias | in 32 bits, in units of the sums | a number |
//! | behind the sum | nothing | `Mul` and `Add` by channel: `sum * scale + bias` |
//! | programs run it | in integers | in floating point |
//! | the same as in [`IntegerNet`](crate::integer::IntegerNet) | but for rounded scales and biases | to the bit while sums stay below 2^24 |
//!
//! The second form is for few bits, where a number on the wrong side of an edge moves by a visible step and a bias rounded to
//! the unit of the sums is visible too, and for eight bits with ranges by channel: onnxruntime takes the first form for
//! integers whatever the container, and then refuses rows that no byte holds and rows with zero points of their own. A weight
//! is stored as signed bytes with zero point 0, else as bytes with zero points, else in 32 bits.
//!
//! [`import_onnx`] reads such files back, and those of plain convolutional networks of other programs.
//!
//! Scales of ONNX are the reciprocals of those here, each rounded: in the first form a value on the edge between two levels
//! may fall on the other side.

mod export;
mod import;
mod proto;
mod read;
#[cfg(test)]
mod tests;

pub use import::{import_onnx, import_onnx_bytes};
