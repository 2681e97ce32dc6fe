// A person before a background, channels last; in the CPU's order of operations.
#include "common.cuh"

KERNEL(BLOCK)
rebit_composite(size_t n, unsigned channels, const float *mask, const float *x, const float *background, float *y) {
    EACH(i, n) {
        float m = mask[i / channels];
        // What is not shown may be NaN.
        y[i] = m == 1.0f ? x[i] : m == 0.0f ? background[i] : m * x[i] + (1.0f - m) * background[i];
    }
}

KERNEL(BLOCK) rebit_composite_grad(size_t n, unsigned channels, const float *mask, const float *dy, float *dx) {
    EACH(i, n) {
        float m = mask[i / channels];
        dx[i] = m == 0.0f ? 0.0f : m * dy[i];
    }
}
