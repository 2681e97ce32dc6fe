// Rendering: sparse products, channels last; in the CPU's order of operations.
#include "common.cuh"

/// Row `r` of all matrices under each other reads the entries `start[r]` to before `start[r + 1]`; `rows` and `columns` are
/// those of one matrix. A thread for each number of the result. No atomics.
KERNEL(BLOCK)
rebit_texture_render(size_t n, unsigned rows, unsigned columns, unsigned channels, const unsigned *start,
                     const unsigned *index, const float *weight, const float *x, float *y, bool accumulate) {
    EACH(i, n) {
        unsigned c = i % channels;
        size_t row = i / channels;
        const float *from = x + row / rows * columns * channels + c;
        float sum = accumulate ? y[i] : 0.0f;
        for (unsigned t = start[row]; t < start[row + 1]; t++) sum += weight[t] * from[(size_t)index[t] * channels];
        y[i] = sum;
    }
}
