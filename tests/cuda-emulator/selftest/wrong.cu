// Kernels with one mistake each, and right ones beside them: the emulator must tell them apart.
#include "cuda_emulator.h"

// As libraries write it.
__attribute__((__noinline__)) static int one() { return 1; }

extern "C" __global__ void divergent_barrier(int *out) {
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = one();
}

/// Each thread reads its neighbour's number.
template <bool SYNC> __device__ void neighbour(int *out, int *shared) {
    shared[threadIdx.x] = 7 * threadIdx.x + 1;
    if (SYNC) __syncthreads();
    out[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}
extern "C" __global__ void missing_barrier(int *out) {
    __shared__ int shared[256];
    neighbour<false>(out, shared);
}
extern "C" __global__ void with_barrier(int *out) {
    __shared__ int shared[256];
    neighbour<true>(out, shared);
}

extern "C" __global__ void absent_lane(int *out) {
    if (threadIdx.x % 2) return;
    out[threadIdx.x] = __shfl_down_sync(0xffffffffu, (int)threadIdx.x, 2);
}
extern "C" __global__ void lane_outside_mask(int *out) {
    if (threadIdx.x % 2) return;
    out[threadIdx.x] = __shfl_sync(0x55555555u, (int)threadIdx.x, 3);
}
extern "C" __global__ void even_lanes(int *out) {
    if (threadIdx.x % 2) return;
    out[threadIdx.x] = __shfl_xor_sync(0x55555555u, (int)threadIdx.x, 2);
}
extern "C" __global__ void different_operations(int *out) {
    if (threadIdx.x % 32 < 16)
        out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1);
    else
        out[threadIdx.x] = __ballot_sync(0xffffffffu, 1);
}

extern "C" __global__ void dead_lock(int *out) {
    if (threadIdx.x == 0)
        __syncthreads();
    else
        out[threadIdx.x] = __ballot_sync(0xffffffffu, 1);
}

extern "C" __global__ void one_too_far(int *out, int n) { out[min((int)threadIdx.x, n)] = 5; }
extern "C" __global__ void reads_before(int *out, int by) { out[threadIdx.x] = out[(int)threadIdx.x - by]; }

extern "C" __global__ void votes(int *out) {
    int even = threadIdx.x % 2 == 0;
    out[threadIdx.x] = __syncthreads_count(even) + 1000 * __syncthreads_or(even) + 10000 * __syncthreads_and(even);
}
extern "C" __global__ void unwritten_shared(float *out) {
    __shared__ float shared[32];
    out[threadIdx.x] = shared[threadIdx.x];
}

EMULATOR_KERNEL(divergent_barrier, 0)
EMULATOR_KERNEL(missing_barrier, 0)
EMULATOR_KERNEL(with_barrier, 256)
EMULATOR_KERNEL(absent_lane, 0)
EMULATOR_KERNEL(lane_outside_mask, 0)
EMULATOR_KERNEL(even_lanes, 0)
EMULATOR_KERNEL(different_operations, 0)
EMULATOR_KERNEL(dead_lock, 0)
EMULATOR_KERNEL(one_too_far, 0)
EMULATOR_KERNEL(reads_before, 0)
EMULATOR_KERNEL(votes, 0)
EMULATOR_KERNEL(unwritten_shared, 0)
