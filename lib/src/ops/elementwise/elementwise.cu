// Functions of each element: one element a thread and step.
#include "common.cuh"

/// `code`: 0 leaky rectifier, 1 tanh, 2 sigmoid.
__device__ __forceinline__ float value(unsigned code, float slope, float x) {
    if (code == 0) return x > 0.0f ? x : slope * x;
    if (code == 1) return tanhf(x);
    return 1.0f / (1.0f + expf(-x));
}

__device__ __forceinline__ float derivative(unsigned code, float slope, float y) {
    if (code == 0) return y > 0.0f ? 1.0f : slope;
    if (code == 1) return 1.0f - y * y;
    return y * (1.0f - y);
}

KERNEL(BLOCK) rebit_function(size_t n, unsigned code, float slope, const float *x, float *y) {
    EACH(i, n) y[i] = value(code, slope, x[i]);
}

KERNEL(BLOCK)
rebit_function_grad(size_t n, unsigned code, float slope, const float *y, const float *dy, float *dx, bool accumulate) {
    EACH(i, n) {
        float g = dy[i] * derivative(code, slope, y[i]);
        dx[i] = accumulate ? dx[i] + g : g;
    }
}

KERNEL(BLOCK) rebit_product(size_t n, const float *a, const float *b, float *y, bool accumulate) {
    EACH(i, n) {
        float p = a[i] * b[i];
        y[i] = accumulate ? y[i] + p : p;
    }
}
