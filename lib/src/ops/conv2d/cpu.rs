//! Convolution on the CPU: direct, register-tiled, over cache-sized copies of the image.
//!
//! One image (or a band of its rows) at a time is copied into a thread's scratch memory in an order the
//! micro-kernels like ([`source`]): zero padding made explicit, channels in blocks of 16, columns sorted by their
//! remainder modulo the stride, and the quantiser applied on the way. The stored activation is read once and its
//! quantised form never leaves the cache. Forward pass and input gradient are then the same correlation with two
//! lists of taps ([`correlate`]); the weight gradient runs over the same copy ([`grad_weight`]).

use dfdx::tensor::Cpu;

use super::{ActQuant, ActQuantGrad, Conv2dKernel, ConvShape};
use crate::error::{Error, Result};

mod correlate;
mod depthwise;
pub(crate) mod grad_weight;
mod mask;
pub(crate) mod outer;
mod packed;
pub(crate) mod plan;
pub(crate) mod scratch;
pub(crate) mod source;
mod tile;

/// Which instructions to use: the best the machine has, or none beyond the baseline (to test the other path).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The best set found at run time.
    Native,
    /// One number at a time.
    #[cfg_attr(not(test), allow(dead_code))]
    Scalar,
}

impl Level {
    /// Runs `op` with this level's instructions.
    pub(crate) fn run<Op: pulp::WithSimd>(self, op: Op) -> Op::Output {
        match self {
            Level::Native => pulp::Arch::new().dispatch(op),
            Level::Scalar => op.with_simd(pulp::Scalar),
        }
    }
}

/// `y = conv(q(x), w) + bias` on slices.
pub(crate) fn forward(
    level: Level,
    s: &ConvShape,
    x: &[f32],
    quant: Option<ActQuant>,
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) -> Result<()> {
    s.check()?;
    check_len("conv2d input", s.input_len(), x.len())?;
    check_len("conv2d weight", s.weight_len(), w.len())?;
    check_len("conv2d output", s.output_len(), y.len())?;
    if let Some(b) = bias {
        check_len("conv2d bias", s.out_channels, b.len())?;
    }
    let plan = plan::Plan::forward(s);
    correlate::run(level, &plan, x, quant, w, bias, y, false, None);
    Ok(())
}

/// `dx (+)= dL/dx` on slices, and the gradients of the quantiser's bounds.
#[allow(clippy::too_many_arguments)]
pub(crate) fn grad_input(
    level: Level,
    s: &ConvShape,
    dy: &[f32],
    w: &[f32],
    x: &[f32],
    quant: Option<ActQuant>,
    dx: &mut [f32],
    accumulate: bool,
) -> Result<Option<ActQuantGrad>> {
    s.check()?;
    check_len("conv2d output gradient", s.output_len(), dy.len())?;
    check_len("conv2d weight", s.weight_len(), w.len())?;
    check_len("conv2d input gradient", s.input_len(), dx.len())?;
    if quant.is_some() {
        check_len("conv2d input", s.input_len(), x.len())?;
    }
    let plan = plan::Plan::grad_input(s);
    let mask = quant.map(|q| (x, q));
    Ok(correlate::run(
        level, &plan, dy, None, w, None, dx, accumulate, mask,
    ))
}

/// `dw = dL/dw` and `dbias = dL/dbias` on slices.
pub(crate) fn grad_weight(
    level: Level,
    s: &ConvShape,
    x: &[f32],
    quant: Option<ActQuant>,
    dy: &[f32],
    dw: &mut [f32],
    dbias: Option<&mut [f32]>,
) -> Result<()> {
    s.check()?;
    check_len("conv2d input", s.input_len(), x.len())?;
    check_len("conv2d output gradient", s.output_len(), dy.len())?;
    check_len("conv2d weight gradient", s.weight_len(), dw.len())?;
    if let Some(b) = &dbias {
        check_len("conv2d bias gradient", s.out_channels, b.len())?;
    }
    grad_weight::run(level, s, x, quant, dy, dw, dbias);
    Ok(())
}

pub(crate) fn check_len(op: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::shape(
        op,
        format!("{expected} elements"),
        format!("{found} elements"),
    ))
}

impl Conv2dKernel for Cpu {
    fn conv2d_forward(
        &self,
        s: &ConvShape,
        x: &Self::Vec,
        quant: Option<ActQuant>,
        w: &Self::Vec,
        bias: Option<&Self::Vec>,
        y: &mut Self::Vec,
    ) -> Result<()> {
        let bias = bias.map(|b| b.as_slice());
        forward(Level::Native, s, x, quant, w, bias, y)
    }

    fn conv2d_grad_input(
        &self,
        s: &ConvShape,
        dy: &Self::Vec,
        w: &Self::Vec,
        x: &Self::Vec,
        quant: Option<ActQuant>,
        dx: &mut Self::Vec,
        accumulate: bool,
    ) -> Result<Option<ActQuantGrad>> {
        grad_input(Level::Native, s, dy, w, x, quant, dx, accumulate)
    }

    fn conv2d_grad_bounds(
        &self,
        s: &ConvShape,
        dy: &Self::Vec,
        w: &Self::Vec,
        x: &Self::Vec,
        quant: ActQuant,
    ) -> Result<ActQuantGrad> {
        s.check()?;
        // The first layer's input is small, so the gradient that nobody keeps costs little.
        scratch::with_scratch(s.input_len(), |dx| {
            let grad = grad_input(Level::Native, s, dy, w, x, Some(quant), dx, false)?;
            Ok(grad.unwrap_or_default())
        })
    }

    fn conv2d_grad_weight(
        &self,
        s: &ConvShape,
        x: &Self::Vec,
        quant: Option<ActQuant>,
        dy: &Self::Vec,
        dw: &mut Self::Vec,
        dbias: Option<&mut Self::Vec>,
    ) -> Result<()> {
        let dbias = dbias.map(|b| b.as_mut_slice());
        grad_weight(Level::Native, s, x, quant, dy, dw, dbias)
    }
}
