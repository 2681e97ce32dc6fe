// Copies of channels; a pixel's channels are neighbours.
#include "common.cuh"

/// `n` is the number of copied elements: pixels times `channels`.
KERNEL(BLOCK)
rebit_copy_channels(size_t n, unsigned channels, unsigned from, unsigned from_start, const float *x, unsigned to,
                    unsigned to_start, float *y, bool add) {
    EACH(i, n) {
        size_t pixel = i / channels, channel = i % channels;
        float value = x[pixel * from + from_start + channel], &into = y[pixel * to + to_start + channel];
        into = add ? into + value : value;
    }
}
