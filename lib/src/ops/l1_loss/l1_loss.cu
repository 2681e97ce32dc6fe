// Mean absolute error and its gradient in one pass.
#include "common.cuh"

KERNEL(BLOCK)
rebit_l1_loss(size_t n, const float *x, const float *target, float share, float *dx, double *partial) {
    __shared__ double warps[BLOCK / 32];
    double sum = 0;
    EACH(i, n) {
        float d = x[i] - target[i];
        // NaN stays NaN, as the sign of a NaN is one.
        dx[i] = d == 0.0f ? 0.0f : d > 0.0f ? share : d < 0.0f ? -share : d;
        sum += fabsf(d);
    }
    sum = block_sum(sum, warps);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}
