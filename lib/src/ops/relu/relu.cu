// Rectifiers and the sums around them: one element a thread and step.
#include "common.cuh"

KERNEL(BLOCK) rebit_activate(size_t n, const float *x, float low, float high, float *y) {
    EACH(i, n) y[i] = clamp(x[i], low, high);
}

KERNEL(BLOCK)
rebit_activate_grad(size_t n, const float *y, const float *dy, float low, float high, float *dx, bool accumulate) {
    EACH(i, n) {
        float g = pass(y[i], dy[i], low, high);
        dx[i] = accumulate ? dx[i] + g : g;
    }
}

KERNEL(BLOCK) rebit_add(size_t n, const float *a, const float *b, float *y) { EACH(i, n) y[i] = a[i] + b[i]; }
