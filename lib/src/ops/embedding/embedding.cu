// Rows of a table, chosen by class indices; a row's numbers are neighbours.
#include "common.cuh"

/// `n` is pixels times channels. An index that names no row leaves its pixel alone; `first_wrong` becomes the place of the
/// first such index, whatever the order of the threads.
KERNEL(BLOCK)
rebit_embedding(size_t n, unsigned rows, unsigned channels, const float *indices, const float *table, float *y,
                unsigned long long *first_wrong) {
    EACH(i, n) {
        size_t pixel = i / channels;
        unsigned c = i % channels;
        float index = indices[pixel];
        // NaN lies nowhere. What is no number of a row is not converted.
        bool inside = index >= 0.0f && index < (float)rows;
        unsigned row = inside ? (unsigned)index : 0;
        if (inside && (float)row == index)
            y[i] = table[(size_t)row * channels + c];
        else if (c == 0)
            atomicMin(first_wrong, (unsigned long long)pixel);
    }
}

/// A thread for each number of the table asks the pixels, in order. No atomics.
KERNEL(BLOCK)
rebit_embedding_grad(size_t n, size_t pixels, unsigned channels, const float *indices, const float *dy, float *dtable,
                     bool accumulate) {
    EACH(i, n) {
        // At most 2^24 rows: each is an f32.
        float row = (float)(unsigned)(i / channels);
        unsigned c = i % channels;
        float sum = accumulate ? dtable[i] : 0.0f;
        for (size_t pixel = 0; pixel < pixels; pixel++)
            if (indices[pixel] == row) sum += dy[pixel * channels + c];
        dtable[i] = sum;
    }
}
