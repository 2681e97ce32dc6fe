// Enlarging maps by whole factors, channels last; in the CPU's order of operations.
#include "common.cuh"

struct UpsampleShape {
    unsigned height, width, channels, factor;
    /// 0 nearest, 1 bilinear, 2 bilinear with aligned corners.
    unsigned how;

    /// What output `o` of an axis of `n` pixels reads: the first pixel, and the weight of the one after it.
    __device__ unsigned tap(unsigned n, unsigned o, float &second) const {
        second = 0.0f;
        if (how == 0) return o / factor;
        float place = how == 1 ? 0.5f * ((float)o + 0.5f) - 0.5f : (float)o * ((float)(n - 1) / (float)(2 * n - 1));
        if (place < 0.0f) place = 0.0f;
        unsigned first = min((unsigned)place, n - 1);
        if (first + 1 < n) second = place - (float)first;
        return first;
    }
    /// The outputs among which are all that read pixel `i`: from `from` to before `end`.
    __device__ void reach(unsigned n, unsigned i, unsigned &from, unsigned &end) const {
        from = how == 0 ? i * factor : 2 * i < 3 ? 0 : 2 * i - 3;
        end = how == 0 ? (i + 1) * factor : min(2 * i + 5, 2 * n);
    }
    __device__ float weight(unsigned n, unsigned o, unsigned i) const {
        float second;
        unsigned first = tap(n, o, second);
        return i == first ? 1.0f - second : i == first + 1 ? second : 0.0f;
    }
};

KERNEL(BLOCK) rebit_upsample(size_t n, UpsampleShape s, const float *x, float *y) {
    EACH(i, n) {
        unsigned c = i % s.channels, out_h = s.height * s.factor, out_w = s.width * s.factor;
        size_t pixel = i / s.channels;
        const float *image = x + pixel / out_w / out_h * s.height * s.width * s.channels + c;
        float below, right;
        unsigned top = s.tap(s.height, pixel / out_w % out_h, below), left = s.tap(s.width, pixel % out_w, right);
        float sum = 0.0f;
        for (unsigned k = 0; k < 4; k++) {
            float down = k < 2 ? 1.0f - below : below, across = k % 2 ? right : 1.0f - right;
            // What is not read may lie outside, or be NaN.
            if (down != 0.0f && across != 0.0f)
                sum += down * across * image[((size_t)(top + k / 2) * s.width + left + k % 2) * s.channels];
        }
        y[i] = sum;
    }
}

/// A thread for each small pixel asks the outputs around it for their weights, in order. No atomics.
KERNEL(BLOCK) rebit_upsample_grad(size_t n, UpsampleShape s, const float *dy, float *dx, bool accumulate) {
    EACH(i, n) {
        unsigned c = i % s.channels, out_h = s.height * s.factor, out_w = s.width * s.factor;
        size_t pixel = i / s.channels;
        unsigned ix = pixel % s.width, iy = pixel / s.width % s.height;
        const float *image = dy + pixel / s.width / s.height * out_h * out_w * s.channels + c;
        unsigned top, bottom, left, right;
        s.reach(s.height, iy, top, bottom);
        s.reach(s.width, ix, left, right);
        float sum = accumulate ? dx[i] : 0.0f;
        // Unrolled, the loops need more registers than there are.
#pragma unroll 1
        for (unsigned oy = top; oy < bottom; oy++) {
            float down = s.weight(s.height, oy, iy);
#pragma unroll 1
            for (unsigned ox = left; ox < right; ox++) {
                float weight = down * s.weight(s.width, ox, ix);
                if (weight != 0.0f) sum += weight * image[((size_t)oy * out_w + ox) * s.channels];
            }
        }
        dx[i] = sum;
    }
}
