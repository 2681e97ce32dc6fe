// The gradient of the moments; the moments themselves are those of batch_norm2d.cu.
#include "common.cuh"

KERNEL(BLOCK)
rebit_channel_moments_grad(size_t n, unsigned channels, float share, const float *x, const float *mean,
                           const float *dmean, const float *dvar, float *dx, bool accumulate) {
    EACH(i, n) {
        unsigned c = i % channels;
        float g = share * (dmean[c] + 2.0f * (x[i] - mean[c]) * dvar[c]);
        dx[i] = accumulate ? dx[i] + g : g;
    }
}
