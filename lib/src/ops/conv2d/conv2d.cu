// Convolution as a matrix product whose left factor is never stored (implicit GEMM): rows are pixels, columns output
// channels, and the sum runs over taps and input channels, channels last and therefore side by side in memory.
#include "conv.cuh"

typedef Tile<64, 64, 8, 4> Wide;
/// For few channels.
typedef Tile<128, 32, 8, 4> Medium;
typedef Tile<128, 16, 4, 4> Narrow;
/// The same for the gradient of a weight, whose rows are output channels.
typedef Tile<16, 64, 4, 4> Flat;

/// The left factor: row `m` is what pixel `m` of the tile sees through each tap, channel by channel. Every thread fetches
/// four neighbours of a row at a time, at once where they lie side by side.
template <class T, class View> struct Pixels {
    static constexpr int COUNT = T::ROWS * DEPTH / 4 / T::THREADS;
    const Conv &s;
    const ActQuant &q;
    const float *from;
    /// Channels of a pixel, those of a group, and the first of this group.
    unsigned stride, channels, first, depth;
    bool side_by_side;
    View views[COUNT];
    float values[COUNT][4];
    /// Bit `4 i + j`: `values[i][j]` is of a pixel inside the image.
    unsigned inside;

    __device__ Pixels(const Conv &s, const ActQuant &q, const float *from, unsigned stride, unsigned channels,
                      unsigned group)
        : s(s), q(q), from(from), stride(stride), channels(channels), first(group * channels),
          depth(s.taps() * channels), side_by_side(stride % 4 == 0 && channels % 4 == 0) {
#pragma unroll
        for (int i = 0; i < COUNT; i++) views[i] = View(s, blockIdx.x * T::ROWS + row(i));
    }
    static __device__ unsigned row(int i) { return threadIdx.x / 4 + T::THREADS / 4 * i; }

    __device__ __forceinline__ void fetch(unsigned k0) {
        unsigned k = k0 + threadIdx.x % 4 * 4;
        inside = 0;
        size_t pixel;
        if (side_by_side) {
            unsigned tap = k / channels, u = tap / s.kernel_w, v = tap % s.kernel_w, c = first + k % channels;
#pragma unroll
            for (int i = 0; i < COUNT; i++)
                if (k < depth && views[i].find(s, u, v, pixel)) {
                    float4 four = four_at(from + pixel * stride + c);
                    values[i][0] = four.x, values[i][1] = four.y, values[i][2] = four.z, values[i][3] = four.w;
                    inside |= 15u << 4 * i;
                }
            return;
        }
        unsigned c = k % channels, tap = k / channels, u = tap / s.kernel_w, v = tap % s.kernel_w;
#pragma unroll
        for (int j = 0; j < 4; j++) {
#pragma unroll
            for (int i = 0; i < COUNT; i++)
                if (k + j < depth && views[i].find(s, u, v, pixel)) {
                    values[i][j] = from[pixel * stride + first + c];
                    inside |= 1u << (4 * i + j);
                }
            if (++c == channels) {
                c = 0;
                if (++v == s.kernel_w) {
                    v = 0;
                    u++;
                }
            }
        }
    }
    template <int ROOM> __device__ __forceinline__ void store(float (&to)[DEPTH][ROOM]) const {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                to[threadIdx.x % 4 * 4 + j][row(i)] = inside >> (4 * i + j) & 1 ? q.read(values[i][j]) : 0.0f;
    }
};

/// The right factor of the forward product: column `n` is the filter of output channel `n`.
template <class T> struct Filters {
    static constexpr int COUNT = DEPTH * T::COLUMNS / T::THREADS;
    const float *w;
    unsigned taps, per_group, outs, group, n0, depth;
    float values[COUNT];

    __device__ Filters(const Conv &s, const float *w, unsigned group)
        : w(w), taps(s.taps()), per_group(s.in_group()), outs(s.out_group()), group(group),
          n0(blockIdx.y * T::COLUMNS), depth(taps * per_group) {}
    static __device__ unsigned column(int i) { return threadIdx.x / DEPTH + T::THREADS / DEPTH * i; }

    __device__ __forceinline__ void fetch(unsigned k0) {
        unsigned k = k0 + threadIdx.x % DEPTH, within = k % per_group * taps + k / per_group;
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            unsigned n = n0 + column(i);
            values[i] = k < depth && n < outs ? w[(size_t)(group * outs + n) * depth + within] : 0.0f;
        }
    }
    template <int ROOM> __device__ __forceinline__ void store(float (&to)[DEPTH][ROOM]) const {
#pragma unroll
        for (int i = 0; i < COUNT; i++) to[threadIdx.x % DEPTH][column(i)] = values[i];
    }
};

/// `y = conv(q(x), w) + bias`; the grid is (tiles of pixels, tiles of channels, groups).
template <int UNROLL, class T, int TM, int TN>
__device__ __forceinline__ void forward(const Conv &s, const ActQuant &q, const float *x, const float *w,
                                        const float *bias, float *y, T (&tiles)[2], float (&sum)[TM][TN]) {
    unsigned outs = s.out_group(), group = blockIdx.z;
    Pixels<T, Window> left(s, q, x, s.in_c, s.in_group(), group);
    Filters<T> right(s, w, group);
    product<UNROLL>(left, right, left.depth, tiles, sum);
    bool side_by_side = s.out_c % 4 == 0 && outs % 4 == 0;
    unsigned n = blockIdx.y * T::COLUMNS + T::column();
#pragma unroll
    for (int i = 0; i < TM; i++) {
        size_t m = (size_t)blockIdx.x * T::ROWS + T::row() + i;
        if (m >= s.out_pixels()) break;
#pragma unroll
        for (int j = 0; j < TN; j++)
            if (bias && n + j < outs) sum[i][j] += bias[group * outs + n + j];
        float *to = y + m * s.out_c + group * outs + n;
        if (side_by_side && n < outs) {
#pragma unroll
            for (int j = 0; j < TN; j += 4)
                *reinterpret_cast<float4 *>(to + j) = {sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]};
        } else {
#pragma unroll
            for (int j = 0; j < TN; j++)
                if (n + j < outs) to[j] = sum[i][j];
        }
    }
}

#define FORWARD(T, TM, TN, UNROLL)                                                                                     \
    __shared__ T tiles[2];                                                                                             \
    float sum[TM][TN] = {};                                                                                            \
    forward<UNROLL>(s, q, x, w, bias, y, tiles, sum);
/// With the registers that this saves a fifth block fits a multiprocessor of an H200, where a large map gains an eighth.
KERNEL(128) rebit_conv_wide(Conv s, ActQuant q, const float *x, const float *w, const float *bias, float *y) {
    FORWARD(Wide, 8, 4, 4)
}
KERNEL(128) rebit_conv_medium(Conv s, ActQuant q, const float *x, const float *w, const float *bias, float *y) {
    FORWARD(Medium, 8, 4, DEPTH)
}
KERNEL(128) rebit_conv_narrow(Conv s, ActQuant q, const float *x, const float *w, const float *bias, float *y) {
    FORWARD(Narrow, 4, 4, DEPTH)
}

/// An input pixel that looks for the outputs that read it.
struct Reader {
    int y, x;
    size_t sample;
    bool exists;

    __device__ Reader() {}
    __device__ Reader(const Conv &s, unsigned m) {
        exists = m < s.in_pixels();
        x = (int)(m % s.in_w + s.padding);
        m /= s.in_w;
        y = (int)(m % s.in_h + s.padding);
        sample = (size_t)(m / s.in_h) * s.out_h * s.out_w;
    }
    /// The output that read this pixel through tap `(u, v)`, or none.
    __device__ bool find(const Conv &s, unsigned u, unsigned v, size_t &pixel) const {
        int oy = y - (int)(u * s.dilation), ox = x - (int)(v * s.dilation);
        if (!exists || oy < 0 || ox < 0) return false;
        if (s.stride > 1) {
            if (oy % s.stride || ox % s.stride) return false;
            oy /= s.stride;
            ox /= s.stride;
        }
        pixel = sample + (size_t)oy * s.out_w + ox;
        return oy < (int)s.out_h && ox < (int)s.out_w;
    }
    /// `dy` in channel `o` of that output; zero where there is none.
    __device__ float read(const Conv &s, const float *dy, unsigned u, unsigned v, unsigned o) const {
        size_t pixel;
        return find(s, u, v, pixel) ? dy[pixel * s.out_c + o] : 0.0f;
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

/// The right factor of the input's gradient: column `n` is input channel `n`, row `k` a tap and an output channel.
template <class T> struct Turned {
    static constexpr int COUNT = DEPTH * T::COLUMNS / T::THREADS;
    const float *w;
    unsigned taps, filter, outs, group, depth, n;
    bool exists;
    float values[COUNT];

    __device__ Turned(const Conv &s, const float *w, unsigned group)
        : w(w), taps(s.taps()), filter(taps * s.in_group()), outs(s.out_group()), group(group), depth(taps * outs),
          n(blockIdx.y * T::COLUMNS + threadIdx.x % T::COLUMNS), exists(n < s.in_group()) {}
    /// The rows of a thread follow each other.
    static __device__ unsigned row() { return threadIdx.x / T::COLUMNS * COUNT; }

    __device__ __forceinline__ void fetch(unsigned k0) {
        unsigned k = k0 + row(), tap = k / outs, o = k % outs;
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            values[i] = exists && k + i < depth ? w[(size_t)(group * outs + o) * filter + n * taps + tap] : 0.0f;
            if (++o == outs) {
                o = 0;
                tap++;
            }
        }
    }
    template <int ROOM> __device__ __forceinline__ void store(float (&to)[DEPTH][ROOM]) const {
#pragma unroll
        for (int i = 0; i < COUNT; i++) to[row() + i][threadIdx.x % T::COLUMNS] = values[i];
    }
};

/// The same product with the outputs' gradient on the left: rows are input pixels, columns input channels.
template <class T, int TM, int TN>
__device__ __forceinline__ void grad_input(const Conv &s, const float *dy, const float *w, const Into &into,
                                           double *partial, T (&tiles)[2], float (&sum)[TM][TN], double *warps) {
    unsigned per_group = s.in_group(), group = blockIdx.z;
    ActQuant as_it_is = {};
    Pixels<T, Reader> left(s, as_it_is, dy, s.out_c, s.out_group(), group);
    Turned<T> right(s, w, group);
    product(left, right, left.depth, tiles, sum);
    double lower = 0, upper = 0;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) {
            size_t m = (size_t)blockIdx.x * T::ROWS + T::row() + i;
            unsigned n = blockIdx.y * T::COLUMNS + T::column() + j;
            if (m < s.in_pixels() && n < per_group)
                into.put(m * s.in_c + group * per_group + n, sum[i][j], lower, upper);
        }
    if (into.q.on) store_bounds(lower, upper, warps, partial);
}

#define GRAD_INPUT(T, TM, TN)                                                                                          \
    __shared__ T tiles[2];                                                                                             \
    __shared__ double warps[T::THREADS / 32];                                                                          \
    float sum[TM][TN] = {};                                                                                            \
    grad_input(s, dy, w, into, partial, tiles, sum, warps);
KERNEL(128) rebit_conv_grad_input_wide(Conv s, const float *dy, const float *w, Into into, double *partial) {
    GRAD_INPUT(Wide, 8, 4)
}
KERNEL(128) rebit_conv_grad_input_medium(Conv s, const float *dy, const float *w, Into into, double *partial) {
    GRAD_INPUT(Medium, 8, 4)
}
KERNEL(128) rebit_conv_grad_input_narrow(Conv s, const float *dy, const float *w, Into into, double *partial) {
    GRAD_INPUT(Narrow, 4, 4)
}

/// The left factor of a weight's gradient, turned: row `k` is the gradient of output pixel `from + k` by channels.
template <class T> struct Gradients {
    static constexpr int COUNT = T::ROWS * DEPTH / 4 / T::THREADS;
    const float *dy;
    size_t from, end;
    /// Channels of a pixel, those of a group, and this thread's first of them.
    unsigned stride, outs, first, m;
    bool side_by_side;
    float values[COUNT][4];

    __device__ Gradients(const Conv &s, const float *dy, size_t from, size_t end, unsigned group, unsigned m0)
        : dy(dy), from(from), end(end), stride(s.out_c), outs(s.out_group()), first(group * outs),
          m(m0 + threadIdx.x % (T::ROWS / 4) * 4), side_by_side(stride % 4 == 0 && outs % 4 == 0) {}
    static __device__ unsigned row(int i) { return threadIdx.x / (T::ROWS / 4) + T::THREADS / (T::ROWS / 4) * i; }

    __device__ __forceinline__ void fetch(size_t k0) {
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            size_t p = from + k0 + row(i);
            const float *at = dy + p * stride + first + m;
            if (side_by_side) {
                float4 four = p < end && m < outs ? four_at(at) : float4{0.0f, 0.0f, 0.0f, 0.0f};
                values[i][0] = four.x, values[i][1] = four.y, values[i][2] = four.z, values[i][3] = four.w;
            } else {
#pragma unroll
                for (int j = 0; j < 4; j++) values[i][j] = p < end && m + j < outs ? at[j] : 0.0f;
            }
        }
    }
    template <int ROOM> __device__ __forceinline__ void store(float (&to)[DEPTH][ROOM]) const {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            *reinterpret_cast<float4 *>(&to[row(i)][threadIdx.x % (T::ROWS / 4) * 4]) = {values[i][0], values[i][1],
                                                                                         values[i][2], values[i][3]};
    }
};

/// An output pixel that goes on along its row, to the next row and the next image.
struct Walk {
    unsigned x, y, image;

    __device__ Walk() {}
    __device__ Walk(const Conv &s, unsigned p) : x(p % s.out_w), y(p / s.out_w % s.out_h), image(p / s.out_w / s.out_h) {}
    __device__ __forceinline__ void advance(const Conv &s, unsigned by) {
        for (x += by; x >= s.out_w;) {
            x -= s.out_w;
            if (++y == s.out_h) {
                y = 0;
                image++;
            }
        }
    }
};

/// The right factor of a weight's gradient: row `k` is what output pixel `from + k` saw, column `n` a tap and a channel.
template <class T> struct Seen {
    static constexpr int COUNT = T::COLUMNS * DEPTH / 4 / T::THREADS;
    const Conv &s;
    const ActQuant &q;
    const float *x;
    size_t from, end;
    unsigned n, filter, per_group, first;
    bool side_by_side;
    Walk walks[COUNT];
    float values[COUNT][4];
    unsigned inside;

    __device__ Seen(const Conv &s, const ActQuant &q, const float *x, size_t from, size_t end, unsigned group,
                    unsigned n0)
        : s(s), q(q), x(x), from(from), end(end), n(n0 + threadIdx.x % (T::COLUMNS / 4) * 4),
          filter(s.taps() * s.in_group()), per_group(s.in_group()), first(group * per_group),
          side_by_side(s.in_c % 4 == 0 && per_group % 4 == 0) {
#pragma unroll
        for (int i = 0; i < COUNT; i++) walks[i] = Walk(s, (unsigned)from + row(i));
    }
    static __device__ unsigned row(int i) {
        return threadIdx.x / (T::COLUMNS / 4) + T::THREADS / (T::COLUMNS / 4) * i;
    }
    /// Where column `n` of pixel `i` lies, or nowhere.
    __device__ __forceinline__ bool find(int i, unsigned n, size_t &at) const {
        unsigned tap = n / per_group, u = tap / s.kernel_w, v = tap % s.kernel_w;
        int iy = (int)(walks[i].y * s.stride + u * s.dilation) - (int)s.padding;
        int ix = (int)(walks[i].x * s.stride + v * s.dilation) - (int)s.padding;
        at = (((size_t)walks[i].image * s.in_h + iy) * s.in_w + ix) * s.in_c + first + n % per_group;
        return n < filter && iy >= 0 && ix >= 0 && iy < (int)s.in_h && ix < (int)s.in_w;
    }
    /// Steps follow each other, from the first.
    __device__ __forceinline__ void fetch(size_t k0) {
        inside = 0;
        size_t at;
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            if (k0 > 0) walks[i].advance(s, DEPTH);
            bool exists = from + k0 + row(i) < end;
            if (side_by_side) {
                if (exists && find(i, n, at)) {
                    float4 four = four_at(x + at);
                    values[i][0] = four.x, values[i][1] = four.y, values[i][2] = four.z, values[i][3] = four.w;
                    inside |= 15u << 4 * i;
                }
            } else {
#pragma unroll
                for (int j = 0; j < 4; j++)
                    if (exists && find(i, n + j, at)) {
                        values[i][j] = x[at];
                        inside |= 1u << (4 * i + j);
                    }
            }
        }
    }
    template <int ROOM> __device__ __forceinline__ void store(float (&to)[DEPTH][ROOM]) const {
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            float read[4];
#pragma unroll
            for (int j = 0; j < 4; j++) read[j] = inside >> (4 * i + j) & 1 ? q.read(values[i][j]) : 0.0f;
            *reinterpret_cast<float4 *>(&to[row(i)][threadIdx.x % (T::COLUMNS / 4) * 4]) = {read[0], read[1], read[2],
                                                                                            read[3]};
        }
    }
};

/// Gradient of the weight over one chunk of output pixels: rows are output channels, columns taps and input channels.
/// Block (t, chunk) takes tile `list[t]`, or `t` without a list; `partial[chunk]` has the weight's order.
template <class T, int TM, int TN>
__device__ __forceinline__ void grad_weight(const Conv &s, const ActQuant &q, const float *x, const float *dy,
                                            const unsigned *list, size_t chunk, float *partial, T (&tiles)[2],
                                            float (&sum)[TM][TN]) {
    unsigned per_group = s.in_group(), outs = s.out_group(), taps = s.taps(), filter = taps * per_group;
    unsigned columns = (filter + T::COLUMNS - 1) / T::COLUMNS, rows = (outs + T::ROWS - 1) / T::ROWS;
    unsigned id = list ? list[blockIdx.x] : blockIdx.x;
    unsigned n0 = id % columns * T::COLUMNS, m0 = id / columns % rows * T::ROWS, group = id / columns / rows;
    size_t from = blockIdx.y * chunk, end = min(from + chunk, s.out_pixels());
    Gradients<T> left(s, dy, from, end, group, m0);
    Seen<T> right(s, q, x, from, end, group, n0);
    product(left, right, end - from, tiles, sum);
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

#define GRAD_WEIGHT(T, TM, TN)                                                                                         \
    __shared__ T tiles[2];                                                                                             \
    float sum[TM][TN] = {};                                                                                            \
    grad_weight(s, q, x, dy, list, chunk, partial, tiles, sum);
KERNEL(128)
rebit_conv_grad_weight_wide(Conv s, ActQuant q, const float *x, const float *dy, const unsigned *list, size_t chunk,
                            float *partial) {
    GRAD_WEIGHT(Wide, 8, 4)
}
KERNEL(64)
rebit_conv_grad_weight_flat(Conv s, ActQuant q, const float *x, const float *dy, const unsigned *list, size_t chunk,
                            float *partial) {
    GRAD_WEIGHT(Flat, 4, 4)
}

/// `dw = sum of the chunks`, in a fixed order; zero in frozen entries, which may not have been computed. `frozen` may be
/// null. Blocks of 32 entries x 8 chunks.
KERNEL(256)
rebit_conv_add_chunks(size_t n, unsigned chunks, const float *partial, const unsigned char *frozen, float *dw) {
    __shared__ float shared[8][32];
    size_t i = (size_t)blockIdx.x * 32 + threadIdx.x;
    bool exists = i < n && !(frozen && frozen[i]);
    float sum = column_sum(partial + i, n, chunks, exists, shared);
    if (threadIdx.y == 0 && i < n) dw[i] = sum;
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
KERNEL(256) rebit_conv_bias_end(unsigned channels, unsigned chunks, const double *partial, float *dbias) {
    __shared__ double shared[8][32];
    unsigned c = blockIdx.x * 32 + threadIdx.x;
    double sum = column_sum(partial + c, channels, chunks, c < channels, shared);
    if (threadIdx.y == 0 && c < channels) dbias[c] = (float)sum;
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
