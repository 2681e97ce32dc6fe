//! Walking a channels-last buffer by blocks of channels, whose per-channel values then stay in registers.
//!
//! Every channel is summed on its own, so results do not depend on how wide the registers are. Products
//! and sums are rounded one by one (no fused multiply-add) for the same reason.

use pulp::Simd;

/// One register's width of channels, of all rows.
#[derive(Clone, Copy)]
pub(crate) struct Block<S: Simd> {
    pub(crate) simd: S,
    first: usize,
    width: usize,
}

/// The blocks that cover all channels; the last one may be narrower.
#[inline(always)]
pub(crate) fn blocks<S: Simd>(simd: S, channels: usize) -> impl Iterator<Item = Block<S>> {
    (0..channels).step_by(S::F32_LANES).map(move |first| Block {
        simd,
        first,
        width: S::F32_LANES.min(channels - first),
    })
}

impl<S: Simd> Block<S> {
    #[inline(always)]
    pub(crate) fn splat(self, value: f32) -> S::f32s {
        self.simd.splat_f32s(value)
    }

    /// This block of a row.
    #[inline(always)]
    pub(crate) fn load(self, row: &[f32]) -> S::f32s {
        let values = &row[self.first..self.first + self.width];
        match S::as_simd_f32s(values).0 {
            [full] => *full,
            _ => self.simd.partial_load_f32s(values),
        }
    }

    /// Writes this block of a row.
    #[inline(always)]
    pub(crate) fn store(self, row: &mut [f32], values: S::f32s) {
        let to = &mut row[self.first..self.first + self.width];
        if to.len() == S::F32_LANES {
            S::as_mut_simd_f32s(to).0[0] = values;
        } else {
            self.simd.partial_store_f32s(to, values);
        }
    }

    #[inline(always)]
    pub(crate) fn add(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.simd.add_f32s(a, b)
    }

    #[inline(always)]
    pub(crate) fn sub(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.simd.sub_f32s(a, b)
    }

    #[inline(always)]
    pub(crate) fn mul(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.simd.mul_f32s(a, b)
    }

    /// `value` clamped to `lowest..=highest`; NaN stays NaN.
    #[inline(always)]
    pub(crate) fn clamp(self, value: S::f32s, lowest: S::f32s, highest: S::f32s) -> S::f32s {
        let simd = self.simd;
        let raised = simd.select_f32s(simd.less_than_f32s(value, lowest), lowest, value);
        simd.select_f32s(simd.greater_than_f32s(raised, highest), highest, raised)
    }

    /// `gradient` where `y` lies strictly between the corners of the activation (or is NaN), else 0; a corner that is
    /// NaN is none.
    #[inline(always)]
    pub(crate) fn pass(
        self,
        y: S::f32s,
        gradient: S::f32s,
        lowest: S::f32s,
        highest: S::f32s,
    ) -> S::f32s {
        let (simd, zero) = (self.simd, self.splat(0.0));
        let above = simd.select_f32s(simd.less_than_or_equal_f32s(y, lowest), zero, gradient);
        simd.select_f32s(simd.greater_than_or_equal_f32s(y, highest), zero, above)
    }

    /// Sums over rows of the values and of their squares, taken from `middle`; four interleaved
    /// accumulators hide the latency of an addition.
    #[inline(always)]
    pub(crate) fn sums(self, rows: &[f32], channels: usize, middle: S::f32s) -> [S::f32s; 2] {
        let mut sum = [self.splat(0.0); 4];
        let mut square = [self.splat(0.0); 4];
        let mut quads = rows.chunks_exact(4 * channels);
        for quad in &mut quads {
            for k in 0..4 {
                let d = self.sub(self.load(&quad[k * channels..]), middle);
                sum[k] = self.add(sum[k], d);
                square[k] = self.add(square[k], self.mul(d, d));
            }
        }
        for row in quads.remainder().chunks_exact(channels) {
            let d = self.sub(self.load(row), middle);
            sum[0] = self.add(sum[0], d);
            square[0] = self.add(square[0], self.mul(d, d));
        }
        [sum, square].map(|[a, b, c, d]| self.add(self.add(a, b), self.add(c, d)))
    }
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::ops::wave;

    /// Every operation of a block, over 21 channels: no register's width divides that.
    struct Everything<'a> {
        rows: &'a [f32],
        out: &'a mut [f32],
    }

    impl WithSimd for Everything<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for block in blocks(simd, 21) {
                let middle = block.splat(0.1);
                let [sum, square] = block.sums(self.rows, 21, middle);
                let (low, high) = (block.splat(-0.5), block.splat(0.5));
                let row = block.load(&self.rows[21..]);
                block.store(self.out, sum);
                block.store(&mut self.out[21..], square);
                block.store(&mut self.out[42..], block.clamp(row, low, high));
                block.store(&mut self.out[63..], block.pass(row, square, low, high));
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_the_width_of_the_registers() {
        let mut rows = wave(21 * 37);
        rows[21 + 4] = f32::NAN;
        let run = |narrow: bool| {
            let mut out = vec![9.0; 84];
            let work = Everything {
                rows: &rows,
                out: &mut out,
            };
            if narrow {
                work.with_simd(pulp::Scalar);
            } else {
                pulp::Arch::new().dispatch(work);
            }
            out
        };
        let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let (narrow, wide) = (run(true), run(false));
        assert!(wide[42 + 4].is_nan(), "a clamp lets NaN through");
        assert_eq!(wide[42], rows[21].clamp(-0.5, 0.5));
        assert_eq!(bits(narrow), bits(wide));
    }
}
