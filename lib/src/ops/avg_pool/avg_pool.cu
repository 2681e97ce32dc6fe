// Average pooling, channels last: neighbouring threads take neighbouring channels.
#include "common.cuh"

struct AvgPoolShape {
    unsigned in_h, in_w, channels, kernel_h, kernel_w, stride_h, stride_w, out_h, out_w;
};

/// The windows that see pixel `at` of an axis: from `first` to before `end`.
__device__ __forceinline__ void seen_by(unsigned at, unsigned kernel, unsigned stride, unsigned windows,
                                        unsigned &first, unsigned &end) {
    first = at < kernel ? 0 : (at - kernel) / stride + 1;
    end = min(at / stride + 1, windows);
}

KERNEL(BLOCK) rebit_avg_pool(size_t n, AvgPoolShape s, float share, const float *x, float *y) {
    EACH(i, n) {
        unsigned c = i % s.channels;
        size_t pixel = i / s.channels;
        unsigned ox = pixel % s.out_w, oy = pixel / s.out_w % s.out_h;
        const float *image = x + pixel / s.out_w / s.out_h * s.in_h * s.in_w * s.channels + c;
        float sum = 0.0f;
        for (unsigned ky = 0; ky < s.kernel_h; ky++)
            for (unsigned kx = 0; kx < s.kernel_w; kx++)
                sum += image[((size_t)(oy * s.stride_h + ky) * s.in_w + ox * s.stride_w + kx) * s.channels];
        y[i] = sum * share;
    }
}

/// A thread for each input adds what the windows that see it send, in order. No atomics.
KERNEL(BLOCK)
rebit_avg_pool_grad(size_t n, AvgPoolShape s, float share, const float *dy, float *dx, bool accumulate) {
    EACH(i, n) {
        unsigned c = i % s.channels;
        size_t pixel = i / s.channels;
        unsigned ix = pixel % s.in_w, iy = pixel / s.in_w % s.in_h;
        const float *image = dy + pixel / s.in_w / s.in_h * s.out_h * s.out_w * s.channels + c;
        unsigned top, bottom, left, right;
        seen_by(iy, s.kernel_h, s.stride_h, s.out_h, top, bottom);
        seen_by(ix, s.kernel_w, s.stride_w, s.out_w, left, right);
        float sum = accumulate ? dx[i] : 0.0f;
        for (unsigned oy = top; oy < bottom; oy++)
            for (unsigned ox = left; ox < right; ox++)
                sum += share * image[((size_t)oy * s.out_w + ox) * s.channels];
        dx[i] = sum;
    }
}
