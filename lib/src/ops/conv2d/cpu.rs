//! Convolution on the CPU: direct, register-tiled, over cache-sized copies of the image.
//!
//! One image (or a band of its rows) at a time is copied into a thread's scratch memory in an order the
//! micro-kernels like ([`source`]): zero padding made explicit, channels in blocks of 16, columns sorted by their
//! remainder modulo the stride, and the quantiser applied on the way. The stored activation is read once and its
//! quantised form never leaves the cache. Forward pass and input gradient are then the same correlation with two
//! lists of taps ([`correlate`]); the weight gradient runs over the same copy ([`grad_weight`]).

use std::sync::OnceLock;

use dfdx::tensor::Cpu;

use super::{ActQuantGrad, Conv2dKernel, ConvInput, ConvShape, GradTo};
use crate::error::{Error, Result};
use crate::tensors::CpuBuffer;

pub(crate) mod chunks;
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
    /// AVX2 where the machine has more, else as [`Self::Native`].
    Avx2,
    /// One number at a time.
    #[cfg_attr(not(test), allow(dead_code))]
    Scalar,
}

impl Level {
    #[cfg(test)]
    pub(crate) const ALL: [Level; 3] = [Level::Native, Level::Avx2, Level::Scalar];

    /// The level of the ops: the best one, or AVX2 where `REBIT_SIMD=avx2` asks for it, to measure that.
    pub(crate) fn of_process() -> Self {
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| match std::env::var("REBIT_SIMD") {
            Ok(name) if name == "avx2" => Level::Avx2,
            _ => Level::Native,
        })
    }

    /// Runs `op` with this level's instructions.
    pub(crate) fn run<Op: pulp::WithSimd>(self, op: Op) -> Op::Output {
        #[cfg(target_arch = "x86_64")]
        if let (Level::Avx2, Some(simd)) = (self, pulp::x86::V3::try_new()) {
            return pulp::Simd::vectorize(simd, op);
        }
        match self {
            Level::Native | Level::Avx2 => pulp::Arch::new().dispatch(op),
            Level::Scalar => op.with_simd(pulp::Scalar),
        }
    }

    /// Floats of a register.
    pub(crate) fn lanes(self) -> usize {
        struct Lanes;
        impl pulp::WithSimd for Lanes {
            type Output = usize;

            #[inline(always)]
            fn with_simd<S: pulp::Simd>(self, _: S) -> usize {
                S::F32_LANES
            }
        }
        self.run(Lanes)
    }
}

/// [`ConvInput`] of slices.
pub(crate) type Input<'a> = ConvInput<'a, [f32]>;

/// The gradients of a weight and of the bias that goes with it.
pub(crate) struct WeightGrads<'a> {
    pub dw: &'a mut [f32],
    pub dbias: Option<&'a mut [f32]>,
}

/// `y = conv(q(x), w) + bias` on slices.
pub(crate) fn forward(
    level: Level,
    s: &ConvShape,
    input: Input,
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) -> Result<()> {
    s.check()?;
    check_len("conv2d input", s.input_len(), input.x.len())?;
    check_len("conv2d weight", s.weight_len(), w.len())?;
    check_len("conv2d output", s.output_len(), y.len())?;
    if let Some(b) = bias {
        check_len("conv2d bias", s.out_channels, b.len())?;
    }
    let plan = plan::Plan::forward(s);
    let (to, factors) = (GradTo::Overwrite(y), correlate::Factors { w, bias });
    correlate::run(level, &plan, input, factors, to, None);
    Ok(())
}

/// `dL/dx` on slices, and the gradients of the quantiser's bounds.
pub(crate) fn grad_input(
    level: Level,
    s: &ConvShape,
    dy: &[f32],
    w: &[f32],
    input: Input,
    dx: GradTo<[f32]>,
) -> Result<Option<ActQuantGrad>> {
    s.check()?;
    check_len("conv2d output gradient", s.output_len(), dy.len())?;
    check_len("conv2d weight", s.weight_len(), w.len())?;
    if let GradTo::Overwrite(dx) | GradTo::Add(dx) = &dx {
        check_len("conv2d input gradient", s.input_len(), dx.len())?;
    }
    if input.quant.is_some() {
        check_len("conv2d input", s.input_len(), input.x.len())?;
    }
    let plan = plan::Plan::grad_input(s);
    let mask = input.quant.map(|q| (input.x, q));
    let (source, factors) = (Input::new(dy, None), correlate::Factors { w, bias: None });
    Ok(correlate::run(level, &plan, source, factors, dx, mask))
}

/// `dw = dL/dw` and `dbias = dL/dbias` on slices.
pub(crate) fn grad_weight(
    level: Level,
    s: &ConvShape,
    input: Input,
    dy: &[f32],
    grads: WeightGrads,
) -> Result<()> {
    s.check()?;
    check_len("conv2d input", s.input_len(), input.x.len())?;
    check_len("conv2d output gradient", s.output_len(), dy.len())?;
    check_len("conv2d weight gradient", s.weight_len(), grads.dw.len())?;
    if let Some(b) = &grads.dbias {
        check_len("conv2d bias gradient", s.out_channels, b.len())?;
    }
    grad_weight::run(level, s, input, dy, grads);
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

/// A buffer's numbers, for the functions on slices.
pub(crate) fn slices<'a>(input: ConvInput<'a, CpuBuffer>) -> Input<'a> {
    Input::new(input.x, input.quant)
}

impl Conv2dKernel for Cpu {
    fn conv2d_forward(
        &self,
        s: &ConvShape,
        x: ConvInput<CpuBuffer>,
        w: &CpuBuffer,
        bias: Option<&CpuBuffer>,
        y: &mut CpuBuffer,
    ) -> Result<()> {
        let bias = bias.map(|b| b.as_slice());
        forward(Level::of_process(), s, slices(x), w, bias, y)
    }

    fn conv2d_grad_input(
        &self,
        s: &ConvShape,
        dy: &CpuBuffer,
        w: &CpuBuffer,
        x: ConvInput<CpuBuffer>,
        dx: GradTo<CpuBuffer>,
    ) -> Result<Option<ActQuantGrad>> {
        let dx = match dx {
            GradTo::Overwrite(dx) => GradTo::Overwrite(&mut dx[..]),
            GradTo::Add(dx) => GradTo::Add(&mut dx[..]),
            GradTo::Nowhere => GradTo::Nowhere,
        };
        grad_input(Level::of_process(), s, dy, w, slices(x), dx)
    }

    fn conv2d_grad_weight(
        &self,
        s: &ConvShape,
        x: ConvInput<CpuBuffer>,
        dy: &CpuBuffer,
        dw: &mut CpuBuffer,
        dbias: Option<&mut CpuBuffer>,
    ) -> Result<()> {
        let dbias = dbias.map(|b| b.as_mut_slice());
        grad_weight(
            Level::of_process(),
            s,
            slices(x),
            dy,
            WeightGrads { dw, dbias },
        )
    }
}
