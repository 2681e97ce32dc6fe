//! Two devices, one test.

use cudarc::driver::DeviceSlice;
use dfdx::prelude::{Cpu, Cuda, Storage};
use rand::Rng as _;

/// Buffers from numbers and back.
pub trait Host: Storage<f32> {
    fn put(&self, values: &[f32]) -> Self::Vec;
    fn get(&self, buffer: &Self::Vec) -> Vec<f32>;
    /// A buffer whose contents nobody may read.
    fn blank(&self, len: usize) -> Self::Vec {
        self.put(&vec![f32::NAN; len])
    }
}

impl Host for Cpu {
    fn put(&self, values: &[f32]) -> Self::Vec {
        let mut buffer: Self::Vec = self.try_alloc_len(values.len()).unwrap();
        buffer.copy_from_slice(values);
        buffer
    }

    fn get(&self, buffer: &Self::Vec) -> Vec<f32> {
        buffer.to_vec()
    }
}

impl Host for Cuda {
    fn put(&self, values: &[f32]) -> Self::Vec {
        let mut buffer: Self::Vec = self.try_alloc_len(values.len()).unwrap();
        if !values.is_empty() {
            let device = buffer.device();
            device.htod_sync_copy_into(values, &mut buffer).unwrap();
        }
        buffer
    }

    fn get(&self, buffer: &Self::Vec) -> Vec<f32> {
        if DeviceSlice::len(buffer) == 0 {
            return Vec::new();
        }
        buffer.device().dtoh_sync_copy(&**buffer).unwrap()
    }
}

/// The GPU of this thread.
pub fn gpu() -> Cuda {
    thread_local!(static GPU: Cuda = Cuda::default());
    GPU.with(Clone::clone)
}

/// Runs `f` for every order of threads: several under emulation, the GPU's own otherwise.
pub fn in_every_order(mut f: impl FnMut(&str)) {
    #[cfg(feature = "_emu")]
    {
        use rebit_cuda_emulator::{Order, set_order, take_mistake};
        for order in [Order::Ascending, Order::Reversed, Order::Shuffled(7)] {
            set_order(order);
            f(&format!("{order:?}"));
            assert_eq!(take_mistake(), None);
        }
    }
    #[cfg(not(feature = "_emu"))]
    f("on the GPU");
}

/// How closely two results must agree.
#[derive(Clone, Copy)]
pub enum Agree {
    /// Bit for bit; any NaN is as good as any other.
    Bits,
    /// Differences up to this, relative to the larger number where that is above 1.
    Within(f32),
}

#[track_caller]
pub fn check(agree: Agree, case: &str, found: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "result {k} of {case}");
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            let right = match agree {
                _ if a.is_nan() || b.is_nan() => a.is_nan() && b.is_nan(),
                Agree::Bits => a.to_bits() == b.to_bits(),
                Agree::Within(_) if a == b => true,
                Agree::Within(tolerance) => {
                    (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0)
                }
            };
            let len = found.len();
            assert!(
                right,
                "result {k}, element {i} of {len}: {a:?} on the GPU, {b:?} on the CPU; {case}"
            );
        }
    }
}

/// Computes a list of results on the CPU and, in every order, on the GPU, and compares them.
#[macro_export]
macro_rules! compare {
    ($agree:expr, $case:expr, |$device:ident| $body:expr) => {{
        let case = $case.to_string();
        let expected: Vec<Vec<f32>> = {
            let $device = &dfdx::prelude::Cpu::default();
            $body
        };
        $crate::support::in_every_order(|order| {
            let found: Vec<Vec<f32>> = {
                let $device = &$crate::support::gpu();
                $body
            };
            $crate::support::check($agree, &format!("{case}, {order}"), &found, &expected);
        });
    }};
}

/// Uniform numbers in `-1..1`.
pub fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = rebit::rng(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Numbers of every kind: mostly in `-3..3`, with halves, zeros of both signs, infinities and NaN among them.
pub fn awkward(len: usize, seed: u64) -> Vec<f32> {
    const ODD: [f32; 12] = [
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.5,
        1.0,
        -1.0,
        2.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e-40,
    ];
    let mut rng = rebit::rng(seed);
    (0..len)
        .map(|_| match rng.random_range(0..40) {
            k if k < 12 => ODD[k],
            k if k < 20 => (rng.random_range(-6..6) as f32) / 2.0,
            _ => rng.random_range(-3.0..3.0),
        })
        .collect()
}

/// Lengths around blocks of 256 threads and grids of several elements a thread.
pub const LENGTHS: [usize; 7] = [0, 1, 31, 256, 257, 1024, 5003];
