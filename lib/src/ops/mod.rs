//! Differentiable operations, one folder each.
//!
//! An op has two faces over one set of kernels. The *tape* face (`conv2d`, `fake_quant`, ...) takes and
//! returns dfdx tensors in `(N, C, H, W)` order and records its gradient on dfdx's tape; cells and losses
//! use it. The *kernel* face is a small trait on the device that works on the device's own buffers in
//! `(N, H, W, C)` order, where a pixel's channels are neighbours and fill a SIMD register; the network
//! executor in [`crate::nn`] uses it and reuses its buffers from step to step.

pub mod affine;
pub mod affine_quant;
pub mod avg_pool;
pub mod batch_norm2d;
pub mod bound_quant;
pub mod box_decode;
pub mod channels;
pub mod composite;
pub mod conv2d;
pub mod cross_entropy;
pub mod elementwise;
pub mod embedding;
pub mod fake_quant;
pub mod focal;
pub mod giou_loss;
pub mod host;
pub mod l1_loss;
pub mod l2_normalise;
pub mod layout;
pub mod linear;
pub mod lts_weight;
pub mod masked_grad;
pub mod matmul;
pub mod moments;
pub mod pixel_shuffle;
pub mod pool;
pub mod prelu;
pub mod relu;
pub mod resize;
pub mod roi_align;
pub mod roi_transform;
pub mod sample;
pub mod texture_render;
pub mod triplet;
pub mod update;
pub mod upsample;

mod columns;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
#[cfg(test)]
mod nan;
pub(crate) mod parallel;
pub(crate) mod tape;

pub use tape::{BackwardOp, Recorder};

/// The result of a `try_` twin, or a panic that says what the error says.
#[track_caller]
pub(crate) fn or_panic<V>(result: crate::Result<V>) -> V {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// `df/dx_i = (f(x + h e_i) - f(x - h e_i)) / 2h` of a scalar function, for gradient tests.
///
/// `f` is computed in `f32`: take a step around 1e-2 and losses around 1, and expect two to three digits.
#[cfg(test)]
pub(crate) fn numeric_gradient(x: &[f32], step: f32, mut f: impl FnMut(&[f32]) -> f32) -> Vec<f32> {
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let middle = x[i];
            let mut at = |value: f32| {
                x[i] = value;
                f(&x) as f64
            };
            let (high, low) = (middle + step, middle - step);
            let slope = (at(high) - at(low)) / (high as f64 - low as f64);
            x[i] = middle;
            slope as f32
        })
        .collect()
}

/// Fails unless every pair differs by at most `tolerance`, absolute or relative to the larger one.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let scale = a.abs().max(b.abs()).max(1.0);
        assert!(
            (a - b).abs() <= tolerance * scale,
            "element {i} of {}: found {a}, expected {b}",
            found.len()
        );
    }
}

/// Numbers for tests, spread over `-1..1` and never twice the same nearby.
#[cfg(test)]
pub(crate) fn wave(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 37 + 11) % 101) as f32 / 50.5 - 1.0 + i as f32 * 1e-4)
        .collect()
}

/// The CPU, for tests of its kernels, whatever [`crate::Dev`] is.
#[cfg(test)]
pub(crate) fn cpu() -> dfdx::prelude::Cpu {
    dfdx::prelude::Cpu::default()
}

/// A buffer of the CPU with these numbers.
#[cfg(test)]
pub(crate) fn buffer(values: &[f32]) -> crate::tensors::CpuBuffer {
    use dfdx::tensor::Storage;
    let mut buffer: crate::tensors::CpuBuffer = cpu().try_alloc_len(values.len()).unwrap();
    buffer.copy_from_slice(values);
    buffer
}
