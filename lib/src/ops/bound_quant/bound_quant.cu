// The quantiser with bounds for each sample: the blocks of column `blockIdx.y` of the grid work on one sample.
#include "common.cuh"

struct BoundQuant {
    float lower, upper, steps;

    __device__ float scale() const { return steps / (upper - lower); }
};

/// `max(min(x, upper), lower)`; NaN stays NaN.
__device__ __forceinline__ float between(float x, BoundQuant q) {
    x = x > q.upper ? q.upper : x;
    return x < q.lower ? q.lower : x;
}

KERNEL(BLOCK)
rebit_bound_quant(size_t samples, size_t length, const float *x, const BoundQuant *quantisers, float *y) {
    for (size_t sample = blockIdx.y; sample < samples; sample += gridDim.y) {
        BoundQuant q = quantisers[sample];
        float scale = q.scale();
        const float *from = x + sample * length;
        float *to = y + sample * length;
        EACH(i, length) to[i] = rintf(scale * between(from[i], q)) / scale;
    }
}

/// `partial[sample][block] = (sum dy 1{x > u}, sum dy 1{x < l}, sum dy R)`.
KERNEL(BLOCK)
rebit_bound_quant_grad(size_t samples, size_t length, const float *x, const BoundQuant *quantisers, const float *dy,
                       float *dx, bool accumulate, double *partial) {
    __shared__ double warps[BLOCK / 32];
    for (size_t sample = blockIdx.y; sample < samples; sample += gridDim.y) {
        BoundQuant q = quantisers[sample];
        float scale = q.scale();
        size_t first = sample * length;
        double sums[3] = {0, 0, 0};
        EACH(k, length) {
            size_t i = first + k;
            float v = x[i], g = is_nan(v) ? 0.0f : dy[i];
            float above = v > q.upper ? 1.0f : v == q.upper ? 0.5f : 0.0f;
            float below = v < q.lower ? 1.0f : v == q.lower ? 0.5f : 0.0f;
            float c = between(v, q);
            float r = is_nan(v) ? 0.0f : rintf(scale * c) / scale - c;
            sums[0] += g * above;
            sums[1] += g * below;
            sums[2] += g * r;
            float d = g * (1.0f - above - below);
            dx[i] = accumulate ? dx[i] + d : d;
        }
        for (int k = 0; k < 3; k++) {
            double sum = block_sum(sums[k], warps);
            if (threadIdx.x == 0) partial[(sample * gridDim.x + blockIdx.x) * 3 + k] = sum;
        }
    }
}
