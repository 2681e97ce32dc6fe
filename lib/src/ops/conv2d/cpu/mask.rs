//! The gradient of the fused quantiser: the mask on the way to the input, and the sums for its bounds.

use pulp::Simd;

use super::source::Quantiser;

/// `dx = m g / (u - l)` in place, or `dx += ...` with a separate `g`; returns the sums for the lower and upper bound.
pub(crate) struct Mask<'a> {
    pub x: &'a [f32],
    pub g: Option<&'a [f32]>,
    pub dx: &'a mut [f32],
    pub quant: Quantiser,
}

impl pulp::WithSimd for Mask<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let mut step = MaskStep {
            simd,
            quant: self.quant,
            lower: simd.splat_f32s(0.0),
            upper: simd.splat_f32s(0.0),
        };
        let (xs, x_rest) = S::as_simd_f32s(self.x);
        let (ds, d_rest) = S::as_mut_simd_f32s(self.dx);
        match self.g {
            None => {
                for (&x, d) in xs.iter().zip(ds) {
                    *d = step.next(x, *d);
                }
                let g = step.next(
                    simd.partial_load_f32s(x_rest),
                    simd.partial_load_f32s(d_rest),
                );
                simd.partial_store_f32s(d_rest, g);
            }
            Some(g) => {
                let (gs, g_rest) = S::as_simd_f32s(g);
                for ((&x, &g), d) in xs.iter().zip(gs).zip(ds) {
                    *d = simd.add_f32s(*d, step.next(x, g));
                }
                let g = step.next(
                    simd.partial_load_f32s(x_rest),
                    simd.partial_load_f32s(g_rest),
                );
                let sum = simd.add_f32s(g, simd.partial_load_f32s(d_rest));
                simd.partial_store_f32s(d_rest, sum);
            }
        }
        (
            simd.reduce_sum_f32s(step.lower),
            simd.reduce_sum_f32s(step.upper),
        )
    }
}

/// The quantiser's gradient for one vector, and the sums of its bounds' gradients so far.
struct MaskStep<S: Simd> {
    simd: S,
    quant: Quantiser,
    lower: S::f32s,
    upper: S::f32s,
}

impl<S: Simd> MaskStep<S> {
    #[inline(always)]
    fn next(&mut self, x: S::f32s, g: S::f32s) -> S::f32s {
        let (simd, q) = (self.simd, self.quant);
        let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        let scale = simd.splat_f32s(q.scale);
        let n = simd.mul_f32s(simd.sub_f32s(x, simd.splat_f32s(q.lower)), scale);
        let inside = simd.and_m32s(
            simd.less_than_or_equal_f32s(zero, n),
            simd.less_than_or_equal_f32s(n, one),
        );
        let g = simd.select_f32s(inside, simd.mul_f32s(g, scale), zero);
        // Outside the range g is 0; a clamped n keeps 0 * n at 0 even for an infinite x.
        let n = simd.min_f32s(simd.max_f32s(n, zero), one);
        self.lower = simd.mul_add_f32s(g, simd.sub_f32s(n, one), self.lower);
        self.upper = simd.negate_mul_add_f32s(g, n, self.upper);
        g
    }
}
