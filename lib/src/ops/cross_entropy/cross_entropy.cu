// Softmax cross entropy: one warp a sample.
#include "common.cuh"

__device__ __forceinline__ double warp_sum(double value) {
    for (int by = 16; by > 0; by /= 2) value += __shfl_xor_sync(0xffffffffu, value, by);
    return value;
}

/// `losses[sample]`; `dlogits` may be null. All lanes of a warp go the same way: they share their sample.
KERNEL(128)
rebit_cross_entropy(size_t samples, size_t classes, const float *logits, const unsigned *labels, float smoothing,
                    float weight, float *dlogits, double *losses) {
    unsigned lane = threadIdx.x % 32;
    size_t sample = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (sample >= samples) return;
    const float *z = logits + sample * classes;
    unsigned label = labels[sample];
    float largest = NEGATIVE_INFINITY;
    for (size_t j = lane; j < classes; j += 32) largest = fmaxf(largest, z[j]);
    for (int by = 16; by > 0; by /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, by));
    double sum = 0;
    for (size_t j = lane; j < classes; j += 32) sum += exp((double)(z[j] - largest));
    double log_sum = log(warp_sum(sum));
    float uniform = smoothing / (float)classes;
    double all = 0;
    for (size_t j = lane; j < classes; j += 32) {
        double log_p = (double)(z[j] - largest) - log_sum;
        all -= log_p;
        if (dlogits) {
            float hit = j == label ? 1.0f - smoothing : 0.0f;
            dlogits[sample * classes + j] = weight * ((float)exp(log_p) - hit - uniform);
        }
    }
    all = warp_sum(all);
    if (lane == 0) {
        double hit = (double)(1.0f - smoothing) * (log_sum - (double)(z[label] - largest));
        losses[sample] = smoothing == 0.0f ? hit : hit + (double)uniform * all;
    }
}
