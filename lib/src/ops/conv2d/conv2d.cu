// Convolution as a matrix product whose left factor is never stored (implicit GEMM): rows are pixels, columns output
// channels, and the sum runs over taps and input channels, channels last and therefore side by side in memory.
#include "conv.cuh"

/// `y = conv(q(x), w) + bias`; the grid is (tiles of pixels, tiles of channels, groups).
template <class T, int M, int N, int TM, int TN>
__device__ __forceinline__ void forward(const Conv &s, const ActQuant &q, const float *x, const float *w,
                                        const float *bias, float *y, T &tile) {
    unsigned per_group = s.in_group(), outs = s.out_group(), taps = s.taps();
    unsigned depth = taps * per_group;
    size_t m0 = (size_t)blockIdx.x * M;
    unsigned n0 = blockIdx.y * N, group = blockIdx.z;
    // Thread t loads column t % DEPTH of the left factor, rows t / DEPTH + 16 i, of which it knows the window.
    unsigned k_own = threadIdx.x % DEPTH, first = threadIdx.x / DEPTH;
    Window windows[M / 16];
#pragma unroll
    for (int i = 0; i < M / 16; i++) windows[i] = Window(s, m0 + first + 16 * i);
    float sum[TM][TN] = {};
    for (unsigned k0 = 0; k0 < depth; k0 += DEPTH) {
        unsigned k = k0 + k_own, tap = k / per_group, c = k % per_group;
        unsigned u = tap / s.kernel_w, v = tap % s.kernel_w;
#pragma unroll
        for (int i = 0; i < M / 16; i++)
            tile.left[k_own][first + 16 * i] =
                k < depth ? windows[i].read(s, q, x, u, v, group * per_group + c) : 0.0f;
#pragma unroll
        for (int i = 0; i < N / 16; i++) {
            unsigned n = n0 + first + 16 * i;
            tile.right[k_own][first + 16 * i] =
                k < depth && n < outs ? w[(size_t)(group * outs + n) * depth + c * taps + tap] : 0.0f;
        }
        __syncthreads();
        tile.multiply(sum);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) {
            size_t m = m0 + T::row() + i;
            unsigned n = n0 + T::column() + j;
            if (m < s.out_pixels() && n < outs) {
                unsigned o = group * outs + n;
                y[m * s.out_c + o] = bias ? sum[i][j] + bias[o] : sum[i][j];
            }
        }
}

KERNEL(TILE_THREADS)
rebit_conv_wide(Conv s, ActQuant q, const float *x, const float *w, const float *bias, float *y) {
    __shared__ Wide tile;
    forward<Wide, 64, 64, 4, 4>(s, q, x, w, bias, y, tile);
}
KERNEL(TILE_THREADS)
rebit_conv_narrow(Conv s, ActQuant q, const float *x, const float *w, const float *bias, float *y) {
    __shared__ Narrow tile;
    forward<Narrow, 128, 16, 4, 2>(s, q, x, w, bias, y, tile);
}

/// An input pixel that looks for the outputs that read it.
struct Reader {
    int y, x;
    size_t sample;
    bool exists;

    __device__ Reader() {}
    __device__ Reader(const Conv &s, size_t m) {
        exists = m < s.in_pixels();
        x = (int)(m % s.in_w + s.padding);
        m /= s.in_w;
        y = (int)(m % s.in_h + s.padding);
        sample = m / s.in_h * s.out_h * s.out_w;
    }
    /// `dy` in channel `o` of the output that read this pixel through tap `(u, v)`; zero where there is none.
    __device__ float read(const Conv &s, const float *dy, unsigned u, unsigned v, unsigned o) const {
        int oy = y - (int)(u * s.dilation), ox = x - (int)(v * s.dilation);
        if (!exists || oy < 0 || ox < 0) return 0.0f;
        if (s.stride > 1) {
            if (oy % s.stride || ox % s.stride) return 0.0f;
            oy /= s.stride;
            ox /= s.stride;
        }
        if (oy >= (int)s.out_h || ox >= (int)s.out_w) return 0.0f;
        return dy[(sample + (size_t)oy * s.out_w + ox) * s.out_c + o];
    }
};

/// The end of an input gradient: through the quantiser, and added or stored.
struct Into {
    const float *x;
    ActQuant q;
    float *dx;
    bool accumulate;

    __device__ void put(size_t at, float g, double &lower, double &upper) const {
        if (q.on) g = q.grad(x[at], g, lower, upper);
        dx[at] = accumulate ? dx[at] + g : g;
    }
};

/// `partial[block] = (dlower, dupper)`.
__device__ __forceinline__ void store_bounds(double lower, double upper, double *warps, double *partial) {
    lower = block_sum(lower, warps);
    upper = block_sum(upper, warps);
    if (threadIdx.x == 0) {
        size_t block = blockIdx.x + (size_t)gridDim.x * (blockIdx.y + (size_t)gridDim.y * blockIdx.z);
        partial[2 * block] = lower;
        partial[2 * block + 1] = upper;
    }
}

/// The same product with the outputs' gradient on the left: rows are input pixels, columns input channels.
template <class T, int M, int N, int TM, int TN>
__device__ __forceinline__ void grad_input(const Conv &s, const float *dy, const float *w, const Into &into,
                                           double *partial, T &tile, double *warps) {
    unsigned per_group = s.in_group(), outs = s.out_group(), taps = s.taps();
    unsigned depth = taps * outs, filter = taps * per_group;
    size_t m0 = (size_t)blockIdx.x * M;
    unsigned n0 = blockIdx.y * N, group = blockIdx.z;
    unsigned k_own = threadIdx.x % DEPTH, first = threadIdx.x / DEPTH;
    Reader readers[M / 16];
#pragma unroll
    for (int i = 0; i < M / 16; i++) readers[i] = Reader(s, m0 + first + 16 * i);
    float sum[TM][TN] = {};
    for (unsigned k0 = 0; k0 < depth; k0 += DEPTH) {
        unsigned k = k0 + k_own, tap = k / outs, o = group * outs + k % outs;
        unsigned u = tap / s.kernel_w, v = tap % s.kernel_w;
#pragma unroll
        for (int i = 0; i < M / 16; i++)
            tile.left[k_own][first + 16 * i] = k < depth ? readers[i].read(s, dy, u, v, o) : 0.0f;
#pragma unroll
        for (int i = 0; i < N / 16; i++) {
            unsigned n = n0 + first + 16 * i;
            tile.right[k_own][first + 16 * i] =
                k < depth && n < per_group ? w[(size_t)o * filter + n * taps + tap] : 0.0f;
        }
        __syncthreads();
        tile.multiply(sum);
        __syncthreads();
    }
    double lower = 0, upper = 0;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) {
            size_t m = m0 + T::row() + i;
            unsigned n = n0 + T::column() + j;
            if (m < s.in_pixels() && n < per_group)
                into.put(m * s.in_c + group * per_group + n, sum[i][j], lower, upper);
        }
    if (into.q.on) store_bounds(lower, upper, warps, partial);
}

KERNEL(TILE_THREADS)
rebit_conv_grad_input_wide(Conv s, const float *dy, const float *w, Into into, double *partial) {
    __shared__ Wide tile;
    __shared__ double warps[TILE_THREADS / 32];
    grad_input<Wide, 64, 64, 4, 4>(s, dy, w, into, partial, tile, warps);
}
KERNEL(TILE_THREADS)
rebit_conv_grad_input_narrow(Conv s, const float *dy, const float *w, Into into, double *partial) {
    __shared__ Narrow tile;
    __shared__ double warps[TILE_THREADS / 32];
    grad_input<Narrow, 128, 16, 4, 2>(s, dy, w, into, partial, tile, warps);
}

/// Gradient of the weight over one chunk of output pixels: rows are output channels, columns taps and input channels.
/// `tiles` names the tiles to compute, block (t, chunk) takes tile `tiles[t]`; `partial[chunk]` has the weight's order.
template <class T, int M, int N, int TM, int TN>
__device__ __forceinline__ void grad_weight(const Conv &s, const ActQuant &q, const float *x, const float *dy,
                                            const unsigned *tiles, size_t chunk, float *partial, T &tile) {
    unsigned per_group = s.in_group(), outs = s.out_group(), taps = s.taps(), filter = taps * per_group;
    unsigned columns = (filter + N - 1) / N, rows = (outs + M - 1) / M;
    unsigned id = tiles[blockIdx.x];
    unsigned n0 = id % columns * N, m0 = id / columns % rows * M, group = id / columns / rows;
    size_t from = blockIdx.y * chunk, end = min(from + chunk, s.out_pixels());
    // Thread t loads column t % N of the right factor, which is one tap and channel.
    unsigned n_own = n0 + threadIdx.x % N, tap = n_own / per_group, c = group * per_group + n_own % per_group;
    unsigned u = tap / s.kernel_w, v = tap % s.kernel_w;
    float sum[TM][TN] = {};
    for (size_t p0 = from; p0 < end; p0 += DEPTH) {
#pragma unroll
        for (int i = 0; i < M * DEPTH / TILE_THREADS; i++) {
            unsigned at = threadIdx.x + TILE_THREADS * i, m = at % M, k = at / M;
            bool exists = p0 + k < end && m0 + m < outs;
            tile.left[k][m] = exists ? dy[(p0 + k) * s.out_c + group * outs + m0 + m] : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < N * DEPTH / TILE_THREADS; i++) {
            unsigned k = threadIdx.x / N + TILE_THREADS / N * i;
            bool exists = p0 + k < end && n_own < filter;
            tile.right[k][threadIdx.x % N] = exists ? Window(s, p0 + k).read(s, q, x, u, v, c) : 0.0f;
        }
        __syncthreads();
        tile.multiply(sum);
        __syncthreads();
    }
    float *out = partial + (size_t)blockIdx.y * s.out_c * filter;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) {
            unsigned m = m0 + T::row() + i, n = n0 + T::column() + j;
            if (m < outs && n < filter)
                out[(size_t)(group * outs + m) * filter + n % per_group * taps + n / per_group] = sum[i][j];
        }
}

KERNEL(TILE_THREADS)
rebit_conv_grad_weight_wide(Conv s, ActQuant q, const float *x, const float *dy, const unsigned *tiles, size_t chunk,
                            float *partial) {
    __shared__ Wide tile;
    grad_weight<Wide, 64, 64, 4, 4>(s, q, x, dy, tiles, chunk, partial, tile);
}
KERNEL(TILE_THREADS)
rebit_conv_grad_weight_flat(Conv s, ActQuant q, const float *x, const float *dy, const unsigned *tiles, size_t chunk,
                            float *partial) {
    __shared__ Flat tile;
    grad_weight<Flat, 16, 64, 1, 4>(s, q, x, dy, tiles, chunk, partial, tile);
}

/// `dw = sum of the chunks`, in order; zero in frozen entries, which may not have been computed. `frozen` may be null.
KERNEL(BLOCK)
rebit_conv_add_chunks(size_t n, unsigned chunks, const float *partial, const unsigned char *frozen, float *dw) {
    EACH(i, n) {
        float sum = 0.0f;
        if (!frozen || !frozen[i])
            for (unsigned k = 0; k < chunks; k++) sum += partial[k * n + i];
        dw[i] = sum;
    }
}

/// Sums of `dy` over the pixels of a chunk: block (k, chunk) takes channels 32 k to 32 k + 31, 8 pixels at a time.
KERNEL(256) rebit_conv_bias(size_t pixels, unsigned channels, size_t rows, const float *dy, double *partial) {
    __shared__ double shared[8][32];
    unsigned c = blockIdx.x * 32 + threadIdx.x;
    double sum = 0;
    size_t end = min((blockIdx.y + 1) * rows, pixels);
    if (c < channels)
        for (size_t p = blockIdx.y * rows + threadIdx.y; p < end; p += 8) sum += dy[p * channels + c];
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < channels) {
        for (int k = 1; k < 8; k++) sum += shared[k][threadIdx.x];
        partial[(size_t)blockIdx.y * channels + c] = sum;
    }
}
KERNEL(BLOCK) rebit_conv_bias_end(unsigned channels, unsigned chunks, const double *partial, float *dbias) {
    EACH(c, channels) {
        double sum = 0;
        for (unsigned k = 0; k < chunks; k++) sum += partial[(size_t)k * channels + c];
        dbias[c] = (float)sum;
    }
}

// Depthwise: nothing is read twice but by neighbours, so a thread computes one number from memory.

KERNEL(BLOCK)
rebit_conv_depthwise(size_t n, Conv s, ActQuant q, const float *x, const float *w, const float *bias, float *y) {
    EACH(i, n) {
        unsigned c = i % s.out_c;
        Window window(s, i / s.out_c);
        float sum = bias ? bias[c] : 0.0f;
        for (unsigned u = 0; u < s.kernel_h; u++)
            for (unsigned v = 0; v < s.kernel_w; v++)
                sum = fmaf(window.read(s, q, x, u, v, c), w[(c * s.kernel_h + u) * s.kernel_w + v], sum);
        y[i] = sum;
    }
}

KERNEL(BLOCK)
rebit_conv_depthwise_grad_input(size_t n, Conv s, const float *dy, const float *w, Into into, double *partial) {
    __shared__ double warps[BLOCK / 32];
    double lower = 0, upper = 0;
    EACH(i, n) {
        unsigned c = i % s.in_c;
        Reader reader(s, i / s.in_c);
        float sum = 0.0f;
        for (unsigned u = 0; u < s.kernel_h; u++)
            for (unsigned v = 0; v < s.kernel_w; v++)
                sum = fmaf(reader.read(s, dy, u, v, c), w[(c * s.kernel_h + u) * s.kernel_w + v], sum);
        into.put(i, sum, lower, upper);
    }
    if (into.q.on) store_bounds(lower, upper, warps, partial);
}

/// Block (k, chunk, tap): 32 channels x 8 pixels at a time.
KERNEL(256)
rebit_conv_depthwise_grad_weight(Conv s, ActQuant q, const float *x, const float *dy, size_t rows, float *partial) {
    __shared__ float shared[8][32];
    unsigned c = blockIdx.x * 32 + threadIdx.x, tap = blockIdx.z;
    float sum = 0.0f;
    size_t end = min((blockIdx.y + 1) * rows, s.out_pixels());
    if (c < s.out_c)
        for (size_t p = blockIdx.y * rows + threadIdx.y; p < end; p += 8)
            sum = fmaf(Window(s, p).read(s, q, x, tap / s.kernel_w, tap % s.kernel_w, c), dy[p * s.out_c + c], sum);
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < s.out_c) {
        for (int k = 1; k < 8; k++) sum += shared[k][threadIdx.x];
        partial[((size_t)blockIdx.y * s.out_c + c) * s.taps() + tap] = sum;
    }
}
