// The geometry of a convolution, the activation quantiser and the product of two tiles: what the kernels of
// `ops/conv2d` and `ops/masked_grad` share.
#pragma once
#include "common.cuh"

struct Conv {
    unsigned batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel_h, kernel_w, stride, padding, dilation, groups;

    __device__ unsigned taps() const { return kernel_h * kernel_w; }
    /// Channels of a group.
    __device__ unsigned in_group() const { return in_c / groups; }
    __device__ unsigned out_group() const { return out_c / groups; }
    __device__ size_t in_pixels() const { return (size_t)batch * in_h * in_w; }
    __device__ size_t out_pixels() const { return (size_t)batch * out_h * out_w; }
};

/// As `Quantiser` in `conv2d/cpu/source.rs`, bit for bit.
struct ActQuant {
    float lower, scale, levels, step;
    /// 0: values are read as they are.
    unsigned on;

    __device__ float place(float x) const { return (x - lower) * scale; }
    __device__ float read(float x) const {
        if (!on) return x;
        float n = clamp(place(x), 0.0f, 1.0f);
        // Adding and subtracting 1.5 * 2^23 rounds half to even.
        float k = fmaf(n, levels, 12582912.0f) - 12582912.0f;
        return k * step;
    }
    /// Gradient of `x` from that of `read(x)`; adds to the gradients of the bounds.
    __device__ float grad(float x, float g, double &lower_sum, double &upper_sum) const {
        float n = place(x);
        if (!(n >= 0.0f && n <= 1.0f)) return 0.0f;
        g *= scale;
        lower_sum += g * (n - 1.0f);
        upper_sum -= g * n;
        return g;
    }
};

/// Where output pixel `m` begins to read its sample.
struct Window {
    int y, x;
    size_t sample;
    bool exists;

    __device__ Window() {}
    __device__ Window(const Conv &s, size_t m) {
        exists = m < s.out_pixels();
        x = (int)(m % s.out_w * s.stride) - (int)s.padding;
        m /= s.out_w;
        y = (int)(m % s.out_h * s.stride) - (int)s.padding;
        sample = m / s.out_h * s.in_h * s.in_w;
    }
    /// The input under tap `(u, v)` in channel `c`; zero outside the image.
    __device__ float read(const Conv &s, const ActQuant &q, const float *input, unsigned u, unsigned v,
                          unsigned c) const {
        int iy = y + (int)(u * s.dilation), ix = x + (int)(v * s.dilation);
        if (!exists || iy < 0 || ix < 0 || iy >= (int)s.in_h || ix >= (int)s.in_w) return 0.0f;
        return q.read(input[(sample + (size_t)iy * s.in_w + ix) * s.in_c + c]);
    }
};

/// Columns of the left and rows of the right factor that are in shared memory at a time.
#define DEPTH 16
/// Threads of a block that computes a tile.
#define TILE_THREADS 256

/// A block's tile of a matrix product: M x N results, TM x TN of them in the registers of each thread.
template <int M, int N, int TM, int TN> struct Tile {
    static_assert((M / TM) * (N / TN) == TILE_THREADS, "every thread has one piece of the tile");
    /// One column more than needed spreads the writes over the banks.
    float left[DEPTH][M + 1];
    float right[DEPTH][N + 1];

    static __device__ unsigned row() { return threadIdx.x / (N / TN) * TM; }
    static __device__ unsigned column() { return threadIdx.x % (N / TN) * TN; }

    __device__ void multiply(float (&sum)[TM][TN]) const {
        unsigned m = row(), n = column();
        for (int k = 0; k < DEPTH; k++) {
            float a[TM], b[TN];
#pragma unroll
            for (int i = 0; i < TM; i++) a[i] = left[k][m + i];
#pragma unroll
            for (int j = 0; j < TN; j++) b[j] = right[k][n + j];
#pragma unroll
            for (int i = 0; i < TM; i++)
#pragma unroll
                for (int j = 0; j < TN; j++) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
        }
    }
};
typedef Tile<64, 64, 4, 4> Wide;
/// For few output channels.
typedef Tile<128, 16, 4, 2> Narrow;
/// The same for the gradient of a weight, whose rows are output channels.
typedef Tile<16, 64, 1, 4> Flat;
