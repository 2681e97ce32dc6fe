// The parametric rectifier.
#include "common.cuh"

KERNEL(BLOCK) rebit_prelu(size_t n, float slope, const float *x, float *y) {
    EACH(i, n) y[i] = x[i] > 0.0f ? x[i] : slope * x[i];
}

/// `partial[block]` is the block's share of the slope's gradient.
KERNEL(BLOCK)
rebit_prelu_grad(size_t n, float slope, const float *x, const float *dy, float *dx, bool accumulate, double *partial) {
    __shared__ double warps[BLOCK / 32];
    double sum = 0;
    EACH(i, n) {
        float g = x[i] > 0.0f ? dy[i] : slope * dy[i];
        // Not `fminf`: NaN stays NaN.
        sum += (x[i] > 0.0f ? 0.0f : x[i]) * dy[i];
        dx[i] = accumulate ? dx[i] + g : g;
    }
    sum = block_sum(sum, warps);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}
