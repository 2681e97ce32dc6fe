// Pooling, channels last: neighbouring threads take neighbouring channels.
#include "common.cuh"

struct PoolShape {
    unsigned in_h, in_w, channels, kernel, stride, padding, out_h, out_w;

    /// The pixels of window `out` along an axis of `length` pixels: from `first` to before `end`.
    __device__ void window(unsigned out, unsigned length, unsigned &first, unsigned &end) const {
        unsigned start = out * stride;
        first = start > padding ? start - padding : 0;
        end = min(start + kernel - padding, length);
    }
    /// The windows that see pixel `at`: from `first` to before `end`.
    __device__ void seen_by(unsigned at, unsigned windows, unsigned &first, unsigned &end) const {
        unsigned padded = at + padding;
        first = padded < kernel ? 0 : (padded - kernel) / stride + 1;
        end = min(padded / stride + 1, windows);
    }
    /// The largest value of a window and the first pixel that holds it; a NaN counts as largest.
    __device__ float largest(const float *x, unsigned oy, unsigned ox, unsigned &at) const {
        unsigned top, bottom, left, right;
        window(oy, in_h, top, bottom);
        window(ox, in_w, left, right);
        float best = NEGATIVE_INFINITY;
        at = top * in_w + left;
        for (unsigned iy = top; iy < bottom; iy++)
            for (unsigned ix = left; ix < right; ix++) {
                float v = x[(size_t)(iy * in_w + ix) * channels];
                if (v > best || (is_nan(v) && !is_nan(best))) {
                    best = v;
                    at = iy * in_w + ix;
                }
            }
        return best;
    }
};

KERNEL(BLOCK) rebit_max_pool(size_t n, PoolShape s, const float *x, float *y) {
    EACH(i, n) {
        unsigned c = i % s.channels;
        size_t pixel = i / s.channels;
        unsigned ox = pixel % s.out_w, oy = pixel / s.out_w % s.out_h, at;
        size_t image = pixel / s.out_w / s.out_h;
        y[i] = s.largest(x + image * s.in_h * s.in_w * s.channels + c, oy, ox, at);
    }
}

/// A thread for each input: it asks the windows that see it whether they chose it, in order. No atomics.
KERNEL(BLOCK)
rebit_max_pool_grad(size_t n, PoolShape s, const float *x, const float *dy, float *dx, bool accumulate) {
    EACH(i, n) {
        unsigned c = i % s.channels;
        size_t pixel = i / s.channels;
        unsigned ix = pixel % s.in_w, iy = pixel / s.in_w % s.in_h;
        size_t image = pixel / s.in_w / s.in_h;
        const float *from = x + image * s.in_h * s.in_w * s.channels + c;
        const float *gradient = dy + image * s.out_h * s.out_w * s.channels + c;
        unsigned top, bottom, left, right;
        s.seen_by(iy, s.out_h, top, bottom);
        s.seen_by(ix, s.out_w, left, right);
        float sum = accumulate ? dx[i] : 0.0f;
        for (unsigned oy = top; oy < bottom; oy++)
            for (unsigned ox = left; ox < right; ox++) {
                unsigned chosen;
                s.largest(from, oy, ox, chosen);
                if (chosen == iy * s.in_w + ix) sum += gradient[(size_t)(oy * s.out_w + ox) * s.channels];
            }
        dx[i] = sum;
    }
}

/// Blocks of 32 channels x 8 pixels take one after the other of `means`: 32 channels of a sample each.
KERNEL(256) rebit_mean_pool(size_t means, unsigned pixels, unsigned channels, const float *x, float *y) {
    __shared__ double sums[8][32];
    unsigned parts = (channels + 31) / 32;
    for (size_t mean = blockIdx.x; mean < means; mean += gridDim.x) {
        unsigned c = (unsigned)(mean % parts) * 32 + threadIdx.x;
        size_t sample = mean / parts;
        const float *image = x + sample * pixels * channels;
        double sum = 0;
        if (c < channels)
            for (unsigned p = threadIdx.y; p < pixels; p += 8) sum += image[(size_t)p * channels + c];
        sums[threadIdx.y][threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.y == 0 && c < channels) {
            for (int k = 1; k < 8; k++) sum += sums[k][threadIdx.x];
            y[sample * channels + c] = (float)(sum / pixels);
        }
        // The sums may still be being read.
        __syncthreads();
    }
}

KERNEL(BLOCK)
rebit_mean_pool_grad(size_t n, unsigned pixels, unsigned channels, const float *dy, float share, float *dx,
                     bool accumulate) {
    EACH(i, n) {
        size_t sample = i / channels / pixels;
        float g = dy[sample * channels + i % channels] * share;
        dx[i] = (accumulate ? dx[i] : 0.0f) + g;
    }
}
