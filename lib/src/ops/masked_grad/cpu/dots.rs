//! The dot products themselves.

use pulp::Simd;

use super::entries::Entries;
use super::planes::{SIDE, lane_sums};
use super::turn::Geometry;

/// `sum[entry] += x run * dy plane` over `pixels` pixels of each item.
pub(crate) struct Dots<'a> {
    pub g: &'a Geometry,
    pub entries: &'a Entries,
    pub xs: &'a [f32],
    pub dys: &'a [f32],
    pub items: usize,
    pub from: usize,
    pub pixels: usize,
    pub sum: &'a mut [f32],
}

impl pulp::WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (g, entries) = (self.g, self.entries);
        let end = self.from + self.pixels;
        assert!(end <= g.dy_plane && self.sum.len() == entries.out.len());
        assert!(self.xs.len() >= self.items * g.x_len && self.dys.len() >= self.items * g.dy_len);
        assert!(g.runs.iter().all(|run| run + end <= g.x_len));
        let run = Run {
            simd,
            items: self.items,
            x_item: g.x_len,
            dy_item: g.dy_len,
            dy_plane: g.dy_plane,
            pixels: self.pixels,
        };
        let (fours, twos) = (4 * entries.four_runs.len(), 2 * entries.two_runs.len());
        let (out4, out) = entries.out.split_at(fours);
        let (out2, out1) = out.split_at(twos);
        let (sum4, sum) = self.sum.split_at_mut(fours);
        let (sum2, sum1) = sum.split_at_mut(twos);
        // SAFETY: the assertions cover every run in the last item; the output channels are below the plane count.
        unsafe {
            let x = self.xs.as_ptr().add(self.from);
            let dy = self.dys.as_ptr().add(self.from);
            run.groups::<4, 4>(x, dy, &g.runs, &entries.four_runs, out4, sum4);
            run.groups::<2, 4>(x, dy, &g.runs, &entries.two_runs, out2, sum2);
            run.groups::<1, 4>(x, dy, &g.runs, &entries.one_runs, out1, sum1);
        }
    }
}

/// `sum[k] += ` the sum of the lanes of `vectors[k]`.
#[inline(always)]
fn add_sums<S: Simd>(simd: S, vectors: &[S::f32s; SIDE], sum: &mut [f32]) {
    for (sum, total) in sum.iter_mut().zip(lane_sums(simd, vectors)) {
        *sum += total;
    }
}

/// What the dot products of a walk share.
#[derive(Clone, Copy)]
struct Run<S> {
    simd: S,
    items: usize,
    x_item: usize,
    dy_item: usize,
    dy_plane: usize,
    pixels: usize,
}

impl<S: Simd> Run<S> {
    /// `sum[k] +=` the dot product of entry `k`, of entries that come in groups of `N` with the same run.
    ///
    /// # Safety
    /// As [`Self::dots`] for every run and output channel.
    #[inline(always)]
    unsafe fn groups<const N: usize, const U: usize>(
        self,
        x: *const f32,
        dy: *const f32,
        starts: &[usize],
        runs: &[u32],
        outs: &[u32],
        sum: &mut [f32],
    ) {
        let mut sums = [self.simd.splat_f32s(0.0); SIDE];
        let groups = runs.chunks(SIDE / N).zip(outs.chunks(SIDE));
        for ((runs, outs), sum) in groups.zip(sum.chunks_mut(SIDE)) {
            let parts = outs.chunks_exact(N).zip(sums.chunks_exact_mut(N));
            for (&run, (outs, sums)) in runs.iter().zip(parts) {
                let x = x.wrapping_add(starts[run as usize]);
                // SAFETY: the caller's promise.
                unsafe { self.dots::<N, U>(x, dy, outs, sums) };
            }
            add_sums(self.simd, &sums, sum);
        }
    }

    /// `N` dot products with the same `x` lane by lane, each in `U` sums that do not wait for each other.
    ///
    /// # Safety
    /// `x` and the planes of the first `N` channels of `out` must be readable for `pixels` floats in each item.
    #[inline(always)]
    unsafe fn dots<const N: usize, const U: usize>(
        self,
        x: *const f32,
        dy: *const f32,
        out: &[u32],
        sums: &mut [S::f32s],
    ) {
        let simd = self.simd;
        let mut acc = [[simd.splat_f32s(0.0); U]; N];
        let whole = self.pixels / S::F32_LANES * S::F32_LANES;
        let mut x = x;
        let mut planes = [dy; N];
        for (plane, &out) in planes.iter_mut().zip(out) {
            *plane = plane.wrapping_add(out as usize * self.dy_plane);
        }
        for _ in 0..self.items {
            // SAFETY: the caller's promise; loads are unaligned ones, the last one masked.
            unsafe {
                let mut p = 0;
                while p + U * S::F32_LANES <= whole {
                    for u in 0..U {
                        let at = p + u * S::F32_LANES;
                        let xv = load::<S>(x.add(at));
                        for (acc, &plane) in acc.iter_mut().zip(&planes) {
                            acc[u] = simd.mul_add_e_f32s(xv, load::<S>(plane.add(at)), acc[u]);
                        }
                    }
                    p += U * S::F32_LANES;
                }
                while p < whole {
                    let xv = load::<S>(x.add(p));
                    for (acc, &plane) in acc.iter_mut().zip(&planes) {
                        acc[0] = simd.mul_add_e_f32s(xv, load::<S>(plane.add(p)), acc[0]);
                    }
                    p += S::F32_LANES;
                }
                if whole < self.pixels {
                    let left = self.pixels - whole;
                    let xv = load_part(simd, x.add(whole), left);
                    for (acc, &plane) in acc.iter_mut().zip(&planes) {
                        let g = load_part(simd, plane.add(whole), left);
                        acc[0] = simd.mul_add_e_f32s(xv, g, acc[0]);
                    }
                }
            }
            x = x.wrapping_add(self.x_item);
            for plane in &mut planes {
                *plane = plane.wrapping_add(self.dy_item);
            }
        }
        for (sum, acc) in sums.iter_mut().zip(acc) {
            *sum = acc[0];
            for &a in &acc[1..] {
                *sum = simd.add_f32s(*sum, a);
            }
        }
    }
}

/// A vector from anywhere.
///
/// # Safety
/// `from` must be readable for a vector.
#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: the caller's promise.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}

/// The first `count` lanes of a vector, zero in the others.
///
/// # Safety
/// `from` must be readable for `count` floats.
#[inline(always)]
unsafe fn load_part<S: Simd>(simd: S, from: *const f32, count: usize) -> S::f32s {
    // SAFETY: the caller's promise.
    simd.partial_load_f32s(unsafe { std::slice::from_raw_parts(from, count) })
}
