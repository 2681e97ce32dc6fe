// Scaled sums.
#include "common.cuh"

/// A pixel's channels are neighbours.
KERNEL(BLOCK) rebit_affine(size_t n, unsigned channels, float scale, const float *offset, const float *x, float *y) {
    EACH(i, n) y[i] = scale * x[i] + offset[i % channels];
}

/// With `a = 0` nothing of `into` is read.
KERNEL(BLOCK) rebit_mix(size_t n, float a, float *into, float b, const float *from) {
    EACH(i, n) into[i] = a == 0.0f ? b * from[i] : a * into[i] + b * from[i];
}
