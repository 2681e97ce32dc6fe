//! How the CPU kernels use the machine: fixed chunks over threads, the widest registers inside a chunk.
//!
//! Chunks have a fixed size, whatever the number of threads, and their partial sums are added in order:
//! a result has the same bits on one core and on sixteen.

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Elements of a chunk: 64 KiB of `f32`, so that a second look at a chunk finds it in the cache.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Accumulators of a lane-wise sum: four AVX-512 registers hide the latency of an addition.
pub(crate) const LANES: usize = 64;

/// Starts the pool of threads that all kernels share, once: `REBIT_THREADS` of them, or one for each physical core.
///
/// A second thread on a core shares its arithmetic units, which the kernels keep busy. `RAYON_NUM_THREADS` and a pool
/// that the program built itself are left as they are. Making a tensor does this; what works in parallel without one calls
/// it first.
pub(crate) fn start_threads() {
    static START: std::sync::Once = std::sync::Once::new();
    START.call_once(|| {
        let asked = std::env::var("REBIT_THREADS").ok();
        if asked.is_none() && std::env::var_os("RAYON_NUM_THREADS").is_some() {
            return;
        }
        let threads = thread_count(asked.as_deref(), num_cpus::get_physical());
        // An error says that the pool is there already.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
    });
}

/// The number asked for, where it is one.
fn thread_count(asked: Option<&str>, cores: usize) -> usize {
    let number = asked.and_then(|a| a.trim().parse().ok());
    number.filter(|&n| n > 0).unwrap_or(cores.max(1))
}

/// Runs `f` compiled for the widest registers this machine has.
///
/// Loops in `f` are vectorised by the compiler; what `f` calls must be inlined into it.
#[inline(always)]
pub(crate) fn wide<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Shape error unless a buffer has the expected length.
pub(crate) fn expect_len(
    op: &'static str,
    buffer: &str,
    expected: usize,
    found: usize,
) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::shape(
        op,
        format!("{expected} elements in `{buffer}`"),
        format!("{found}"),
    ))
}

/// The number of elements of a shape, where a buffer may have as many.
pub(crate) fn checked_product(op: &'static str, sides: &[usize]) -> Result<usize> {
    const MOST: usize = isize::MAX as usize / size_of::<f32>();
    // A side of 0 makes the whole empty, however long the others are.
    if sides.contains(&0) {
        return Ok(0);
    }
    let product = sides.iter().try_fold(1, |a: usize, &b| a.checked_mul(b));
    product.filter(|&n| n <= MOST).ok_or_else(|| {
        Error::shape(
            op,
            format!("at most {MOST} elements"),
            format!("a shape of {sides:?}"),
        )
    })
}

/// `y = f(x)`, element by element.
pub(crate) fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32 + Copy + Send + Sync) {
    let chunk = move |x: &[f32], y: &mut [f32]| {
        wide(move || y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x)))
    };
    if y.len() <= CHUNK {
        return chunk(x, y);
    }
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| chunk(x, y));
}

/// `y = f(y, x)`, element by element.
pub(crate) fn update(x: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32 + Copy + Send + Sync) {
    let chunk = move |x: &[f32], y: &mut [f32]| {
        wide(move || y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(*y, x)))
    };
    if y.len() <= CHUNK {
        return chunk(x, y);
    }
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| chunk(x, y));
}

/// `ys = f(ys, x)`, element by element of several buffers.
pub(crate) fn update_all<const N: usize>(
    x: &[f32],
    ys: [&mut [f32]; N],
    f: impl Fn([f32; N], f32) -> [f32; N] + Copy + Send + Sync,
) {
    let chunk = move |x: &[f32], mut ys: [&mut [f32]; N]| {
        wide(move || {
            // As long as `x`, which the loop then need not look at.
            ys = ys.map(|y| &mut y[..x.len()]);
            for (k, &x) in x.iter().enumerate() {
                let new = f(std::array::from_fn(|n| ys[n][k]), x);
                (0..N).for_each(|n| ys[n][k] = new[n]);
            }
        })
    };
    if x.len() <= CHUNK {
        return chunk(x, ys);
    }
    let mut each = ys.map(|y| y.chunks_mut(CHUNK));
    let pieces: Vec<_> = x
        .chunks(CHUNK)
        .map(|x| (x, each.each_mut().map(|y| y.next().unwrap_or_default())))
        .collect();
    pieces.into_par_iter().for_each(|(x, ys)| chunk(x, ys));
}

/// `y = f(y, a, b)`, element by element.
pub(crate) fn update2(
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    f: impl Fn(f32, f32, f32) -> f32 + Copy + Send + Sync,
) {
    let chunk = move |a: &[f32], b: &[f32], y: &mut [f32]| {
        wide(move || {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = f(*y, a, b);
            }
        })
    };
    if y.len() <= CHUNK {
        return chunk(a, b, y);
    }
    y.par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK))
        .zip(b.par_chunks(CHUNK))
        .for_each(|((y, a), b)| chunk(a, b, y));
}

/// `y = f(a, b)`, element by element.
pub(crate) fn map2(
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    f: impl Fn(f32, f32) -> f32 + Copy + Send + Sync,
) {
    update2(a, b, y, move |_, a, b| f(a, b));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_buffers_are_updated_from_the_first_number_to_the_last() {
        for len in [0, 1, 5, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let x: Vec<f32> = (0..len).map(|k| k as f32).collect();
            let (mut a, mut b) = (vec![1.0; len], x.clone());
            update_all(&x, [&mut a, &mut b], |[a, b], x| [a + x, b - x]);
            assert!(a.iter().zip(&x).all(|(a, x)| *a == x + 1.0));
            assert!(b.iter().all(|b| *b == 0.0));
        }
    }

    #[test]
    fn threads_are_those_asked_for_or_the_cores() {
        assert_eq!(thread_count(Some("3"), 8), 3);
        assert_eq!(thread_count(Some(" 1 "), 8), 1);
        for nonsense in ["0", "many", ""] {
            assert_eq!(thread_count(Some(nonsense), 8), 8);
        }
        assert_eq!(thread_count(None, 0), 1);
    }
}
