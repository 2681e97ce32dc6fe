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

/// Four neighbours in memory.
__device__ __forceinline__ float4 four_at(const float *from) { return *reinterpret_cast<const float4 *>(from); }

/// Where output pixel `m` begins to read its sample.
struct Window {
    int y, x;
    size_t sample;
    bool exists;

    __device__ Window() {}
    __device__ Window(const Conv &s, unsigned m) {
        exists = m < s.out_pixels();
        x = (int)(m % s.out_w * s.stride) - (int)s.padding;
        m /= s.out_w;
        y = (int)(m % s.out_h * s.stride) - (int)s.padding;
        sample = (size_t)(m / s.out_h) * s.in_h * s.in_w;
    }
    /// The pixel under tap `(u, v)`, or none outside the image.
    __device__ bool find(const Conv &s, unsigned u, unsigned v, size_t &pixel) const {
        int iy = y + (int)(u * s.dilation), ix = x + (int)(v * s.dilation);
        pixel = sample + (size_t)iy * s.in_w + ix;
        return exists && iy >= 0 && ix >= 0 && iy < (int)s.in_h && ix < (int)s.in_w;
    }
    /// The input under tap `(u, v)` in channel `c`; zero outside the image.
    __device__ float read(const Conv &s, const ActQuant &q, const float *input, unsigned u, unsigned v,
                          unsigned c) const {
        size_t pixel;
        return find(s, u, v, pixel) ? q.read(input[pixel * s.in_c + c]) : 0.0f;
    }
};

/// Columns of the left and rows of the right factor that are in shared memory at a time.
#define DEPTH 16

/// A block's tile of a matrix product: M x N results, TM x TN of them in the registers of each thread.
template <int M, int N, int TM, int TN> struct Tile {
    static constexpr int ROWS = M, COLUMNS = N, THREADS = (M / TM) * (N / TN);
    static_assert(TM % 4 == 0 && TN % 4 == 0, "factors are read by fours");
    /// Four columns more than needed spread the writes over the banks, and leave every fourth number at 16 bytes.
    alignas(16) float left[DEPTH][M + 4];
    alignas(16) float right[DEPTH][N + 4];

    static __device__ unsigned row() { return threadIdx.x / (N / TN) * TM; }
    static __device__ unsigned column() { return threadIdx.x % (N / TN) * TN; }

    template <int COUNT> static __device__ __forceinline__ void load(const float *from, float (&to)[COUNT]) {
#pragma unroll
        for (int i = 0; i < COUNT; i += 4) {
            float4 four = four_at(from + i);
            to[i] = four.x, to[i + 1] = four.y, to[i + 2] = four.z, to[i + 3] = four.w;
        }
    }
    /// `UNROLL` of the steps at a time: more save instructions, fewer save registers.
    template <int UNROLL> __device__ __forceinline__ void multiply(float (&sum)[TM][TN]) const {
        unsigned m = row(), n = column();
#pragma unroll UNROLL
        for (int k = 0; k < DEPTH; k++) {
            float a[TM], b[TN];
            load(&left[k][m], a);
            load(&right[k][n], b);
#pragma unroll
            for (int i = 0; i < TM; i++)
#pragma unroll
                for (int j = 0; j < TN; j++) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
        }
    }
};

/// `sum += left * right` over `depth`. While a block multiplies one pair of tiles, its threads fetch their pieces of the
/// next; with two pairs, one barrier a step is enough.
template <int UNROLL = DEPTH, class T, class Left, class Right, int TM, int TN>
__device__ __forceinline__ void product(Left &left, Right &right, size_t depth, T (&tiles)[2], float (&sum)[TM][TN]) {
    for (size_t k = 0, now = 0;; k += DEPTH, now ^= 1) {
        bool more = k < depth;
        if (more) {
            left.fetch(k);
            right.fetch(k);
        }
        if (k > 0) tiles[now ^ 1].template multiply<UNROLL>(sum);
        if (!more) return;
        left.store(tiles[now].left);
        right.store(tiles[now].right);
        __syncthreads();
    }
}
