// What the kernels share. No CUDA header is included: these sources are compiled by NVRTC, and as C++ by the tests'
// emulator (tests/cuda-emulator), which defines the language itself.
#pragma once

/// A kernel for blocks of at most `threads`; the emulator finds kernels by this word at the start of a line.
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)

/// Threads of a block of an elementwise kernel; as in cuda.rs.
#define BLOCK 256

/// The elements of this thread, of `n`: neighbouring threads take neighbouring elements.
#define EACH(i, n)                                                                                                     \
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (size_t)blockDim.x * gridDim.x)

#define NEGATIVE_INFINITY __uint_as_float(0xff800000u)

__device__ __forceinline__ bool is_nan(float x) { return x != x; }

/// `x` clamped to `low..high`; NaN stays NaN.
__device__ __forceinline__ float clamp(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

/// `gradient` where the output `y` of a clamp lies strictly between its corners (or is NaN), else 0.
__device__ __forceinline__ float pass(float y, float gradient, float low, float high) {
    return y <= low || y >= high ? 0.0f : gradient;
}

/// The sum over a block of whole warps, valid in thread 0; the order of the additions is fixed.
template <class T> __device__ __forceinline__ T block_sum(T value, T *warps) {
    for (int by = 16; by > 0; by /= 2) value += __shfl_down_sync(0xffffffffu, value, by);
    unsigned thread = threadIdx.x + blockDim.x * threadIdx.y;
    // The sum before may still be being read.
    __syncthreads();
    if (thread % 32 == 0) warps[thread / 32] = value;
    __syncthreads();
    T sum = 0;
    if (thread == 0)
        for (unsigned w = 0; w < blockDim.x * blockDim.y / 32; w++) sum += warps[w];
    return sum;
}

/// The sum of a column of `rows` numbers that lie `stride` apart, over the 8 rows of a block of 32 columns x 8; valid in row
/// 0. The order of the additions is fixed.
template <class T>
__device__ __forceinline__ T column_sum(const T *column, size_t stride, unsigned rows, bool exists, T (&shared)[8][32]) {
    T sum = 0;
    if (exists)
        for (unsigned k = threadIdx.y; k < rows; k += 8) sum += column[k * stride];
    // The sums before may still be being read.
    __syncthreads();
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0)
        for (int k = 1; k < 8; k++) sum += shared[k][threadIdx.x];
    return sum;
}
