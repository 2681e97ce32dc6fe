// The quantiser of `ops/fake_quant`, in the order of operations of its CPU side: equal bits.
#pragma once
#include "common.cuh"

struct FakeQuant {
    float lower, upper, levels, scale, offset;

    __device__ float normalise(float x) const { return (x - lower) / (upper - lower); }
    __device__ float round(float n) const { return rintf(levels * clamp(n, 0.0f, 1.0f)) / levels; }
    __device__ float place(float q) const { return scale * q + offset; }
    __device__ float slope() const { return scale / (upper - lower); }
};

/// `dy` where `n` lies between the bounds, else 0; adds to the sums that the bounds' gradient is made of.
__device__ __forceinline__ float inside(float n, float dy, double &sum, double &sum_n) {
    if (!(n >= 0.0f && n <= 1.0f)) return 0.0f;
    sum += dy;
    sum_n += dy * n;
    return dy;
}
