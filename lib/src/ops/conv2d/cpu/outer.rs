//! The micro-kernels of the weight gradient: sums over pixels of small outer products, held in registers.

use pulp::Simd;

use super::source::BLOCK;

/// The pixels that one walk covers, and how to step through them.
#[derive(Clone, Copy)]
pub(crate) struct Area {
    pub rows: usize,
    pub cols: usize,
    pub x_line: usize,
    pub dy_line: usize,
    pub dy_step: usize,
}

impl Area {
    /// Floats from the first to past the last element of each operand.
    pub(crate) fn check(&self, x: &[f32], dy: &[f32], used: usize, count: usize) {
        let (r, c) = (self.rows - 1, self.cols - 1);
        assert!(x.len() >= r * self.x_line + c * BLOCK + used);
        assert!(dy.len() >= r * self.dy_line + c * self.dy_step + count);
    }
}

/// `sum[c][o] += sum over pixels of x[pixel][c] * dy[pixel][o]` for one tap.
pub(crate) struct Outer<'a> {
    pub area: Area,
    pub x: &'a [f32],
    pub dy: &'a [f32],
    /// Output channels, at most `V * LANES`.
    pub count: usize,
    /// `[BLOCK][V * LANES]`.
    pub sum: &'a mut [f32],
}

/// [`Outer`] for source channels `C * k .. C * (k + 1)`.
struct OuterKernel<'a, 'b, const V: usize, const C: usize> {
    outer: &'a mut Outer<'b>,
    channel: usize,
}

impl<const V: usize, const C: usize> pulp::WithSimd for OuterKernel<'_, '_, V, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Outer {
            area,
            x,
            dy,
            count,
            sum,
        } = self.outer;
        area.check(x, dy, self.channel + C, *count);
        let width = V * S::F32_LANES;
        let sum = &mut sum[self.channel * width..(self.channel + C) * width];
        let full = *count == width;
        let last = *count - (V - 1) * S::F32_LANES;
        // SAFETY: `check` holds for the last pixel, so all loads of `x` and of the first `count` floats of `dy` are
        // inside; `sum` has C * V vectors.
        unsafe {
            let mut acc = [[simd.splat_f32s(0.0); V]; C];
            for (c, acc) in acc.iter_mut().enumerate() {
                for (v, a) in acc.iter_mut().enumerate() {
                    let p = sum.as_ptr().add(c * width + v * S::F32_LANES);
                    *a = p.cast::<S::f32s>().read_unaligned();
                }
            }
            for row in 0..area.rows {
                let mut px = x.as_ptr().add(row * area.x_line + self.channel);
                let mut pd = dy.as_ptr().add(row * area.dy_line);
                for _ in 0..area.cols {
                    let mut g = [simd.splat_f32s(0.0); V];
                    for (v, g) in g.iter_mut().enumerate() {
                        let p = pd.add(v * S::F32_LANES);
                        *g = if full || v + 1 < V {
                            p.cast::<S::f32s>().read_unaligned()
                        } else {
                            simd.partial_load_f32s(std::slice::from_raw_parts(p, last))
                        };
                    }
                    for (c, acc) in acc.iter_mut().enumerate() {
                        let xc = simd.splat_f32s(*px.add(c));
                        for (a, &g) in acc.iter_mut().zip(&g) {
                            *a = simd.mul_add_e_f32s(xc, g, *a);
                        }
                    }
                    px = px.wrapping_add(BLOCK);
                    pd = pd.wrapping_add(area.dy_step);
                }
            }
            for (c, acc) in acc.iter().enumerate() {
                for (v, &a) in acc.iter().enumerate() {
                    let p = sum.as_mut_ptr().add(c * width + v * S::F32_LANES);
                    p.cast::<S::f32s>().write_unaligned(a);
                }
            }
        }
    }
}

/// Runs [`Outer`] for the first `used` source channels, in register-sized steps.
pub(crate) fn outer_product<S: Simd>(simd: S, vectors: usize, used: usize, mut outer: Outer) {
    let outer = &mut outer;
    let wide = S::REGISTER_COUNT > 16;
    let mut channel = 0;
    while channel < used {
        let left = used - channel;
        channel += match (vectors, left) {
            (1, 9..) if wide => {
                simd.vectorize(OuterKernel::<1, 16> { outer, channel });
                16
            }
            (1, 5..) => {
                simd.vectorize(OuterKernel::<1, 8> { outer, channel });
                8
            }
            (1, _) => {
                simd.vectorize(OuterKernel::<1, 4> { outer, channel });
                4
            }
            (_, 5..) if wide => {
                simd.vectorize(OuterKernel::<2, 8> { outer, channel });
                8
            }
            _ => {
                simd.vectorize(OuterKernel::<2, 4> { outer, channel });
                4
            }
        };
    }
}

/// Adds the products of one block of channels for all taps, several taps to a walk.
pub(crate) fn depthwise<S: Simd>(
    simd: S,
    area: Area,
    x: &[f32],
    dy: &[f32],
    lanes: usize,
    taps: &[usize],
    sum: &mut [f32],
) {
    let mut done = 0;
    while done < taps.len() {
        macro_rules! walk {
            ($t:literal) => {{
                let taps = std::array::from_fn(|k| taps[done + k]);
                let sum = &mut sum[done * BLOCK..];
                simd.vectorize(Depthwise::<$t> {
                    area,
                    x,
                    dy,
                    lanes,
                    taps,
                    sum,
                });
                $t
            }};
        }
        done += match taps.len() - done {
            9.. => walk!(9),
            5.. => walk!(5),
            3.. => walk!(3),
            _ => walk!(1),
        };
    }
}

/// `sum[t][c] += sum over pixels of x[pixel + taps[t]][c] * dy[pixel][c]` for one block.
struct Depthwise<'a, const T: usize> {
    area: Area,
    x: &'a [f32],
    dy: &'a [f32],
    /// Channels that exist.
    lanes: usize,
    taps: [usize; T],
    sum: &'a mut [f32],
}

impl<const T: usize> pulp::WithSimd for Depthwise<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (area, x, dy) = (self.area, self.x, self.dy);
        let sum = &mut self.sum[..T * BLOCK];
        for &tap in &self.taps {
            area.check(&x[tap..], dy, BLOCK, self.lanes);
        }
        for from in (0..self.lanes).step_by(S::F32_LANES) {
            let count = (self.lanes - from).min(S::F32_LANES);
            let mut acc = [simd.splat_f32s(0.0); T];
            // SAFETY: `check` holds for the last pixel of each tap; only the lanes that exist are read of `dy`.
            unsafe {
                for row in 0..area.rows {
                    let mut px = x.as_ptr().add(row * area.x_line + from);
                    let mut pd = dy.as_ptr().add(row * area.dy_line + from);
                    for _ in 0..area.cols {
                        let g = if count == S::F32_LANES {
                            pd.cast::<S::f32s>().read_unaligned()
                        } else {
                            simd.partial_load_f32s(std::slice::from_raw_parts(pd, count))
                        };
                        for (a, &tap) in acc.iter_mut().zip(&self.taps) {
                            let x = px.add(tap).cast::<S::f32s>().read_unaligned();
                            *a = simd.mul_add_e_f32s(x, g, *a);
                        }
                        px = px.wrapping_add(BLOCK);
                        pd = pd.wrapping_add(area.dy_step);
                    }
                }
            }
            for (t, &a) in acc.iter().enumerate() {
                let sum = &mut sum[t * BLOCK + from..][..S::F32_LANES];
                let before = simd.partial_load_f32s(sum);
                simd.partial_store_f32s(sum, simd.add_f32s(before, a));
            }
        }
    }
}
