// Pixel shuffle: a thread for each element of the large map.
#include "common.cuh"

struct ShuffleShape {
    unsigned height, width, channels, factor;

    /// Where element `large` of the large map stands in the small one.
    __device__ size_t small(size_t large) const {
        unsigned c = large % channels;
        size_t rest = large / channels;
        unsigned x = rest % (width * factor);
        rest /= width * factor;
        unsigned y = rest % (height * factor);
        size_t sample = rest / (height * factor);
        size_t pixel = (sample * height + y / factor) * width + x / factor;
        return (pixel * channels + c) * factor * factor + y % factor * factor + x % factor;
    }
};

KERNEL(BLOCK) rebit_pixel_shuffle(size_t n, ShuffleShape s, const float *x, float *y) {
    EACH(i, n) y[i] = x[s.small(i)];
}

KERNEL(BLOCK) rebit_pixel_shuffle_grad(size_t n, ShuffleShape s, const float *dy, float *dx, bool accumulate) {
    EACH(i, n) {
        float &to = dx[s.small(i)];
        to = accumulate ? to + dy[i] : dy[i];
    }
}
