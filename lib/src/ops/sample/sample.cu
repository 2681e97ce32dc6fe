// Boxes cut out of images by bilinear reading, channels last; in the CPU's order of operations (sample/place.rs).
#include "common.cuh"

struct SampleShape {
    unsigned batch, height, width, channels, boxes, out_h, out_w;
    /// What lies beyond: 0 zeros, 1 the outermost pixels of the box, 2 those of the image, half a pixel around it.
    unsigned border;
};

/// Where a cell of an axis is read.
struct Place {
    int first;
    float second, by_from, by_to;
    bool exists;

    __device__ Place(const SampleShape &s, float from, float to, unsigned pixels, unsigned cells, unsigned cell) {
        float t = ((float)cell + 0.5f) / (float)cells;
        float at = from + (to - from) * t;
        exists = fabsf(at) < -NEGATIVE_INFINITY;
        by_from = 1.0f - t;
        by_to = t;
        float last = (float)pixels - 0.5f;
        if (s.border == 1) {
            bool turned = to < from;
            float low = (turned ? to : from) + 0.5f, high = (turned ? from : to) - 0.5f;
            float low_by = turned ? 0.0f : 1.0f, high_by = turned ? 1.0f : 0.0f;
            if (high < low) {
                low = high = 0.5f * (from + to);
                low_by = high_by = 0.5f;
            }
            if (at < low) {
                at = low;
                by_from = low_by;
                by_to = 1.0f - low_by;
            }
            if (at > high) {
                at = high;
                by_from = high_by;
                by_to = 1.0f - high_by;
            }
        }
        if (s.border && (at < 0.5f || at > last)) {
            if (s.border == 1 || (at >= -0.5f && at <= last + 1.0f)) at = at < 0.5f ? 0.5f : last;
            by_from = by_to = 0.0f;
        }
        at -= 0.5f;
        float within = ::clamp(at, -2.0f, (float)pixels + 1.0f);
        float whole = floorf(exists ? within : 0.0f);
        first = (int)whole;
        second = within - whole;
    }
    /// Weight of pixel `at`.
    __device__ float weight(int at) const { return at == first ? 1.0f - second : at == first + 1 ? second : 0.0f; }
};

__device__ __forceinline__ Place row_of(const SampleShape &s, const float *box, unsigned cell) {
    return Place(s, box[1], box[3], s.height, s.out_h, cell);
}
__device__ __forceinline__ Place column_of(const SampleShape &s, const float *box, unsigned cell) {
    return Place(s, box[0], box[2], s.width, s.out_w, cell);
}

/// Channel `c` of a pixel of an image; zero outside.
__device__ __forceinline__ float pixel_of(const SampleShape &s, const float *image, int m, int n, unsigned c) {
    if (m < 0 || n < 0 || m >= (int)s.height || n >= (int)s.width) return 0.0f;
    return image[((size_t)m * s.width + n) * s.channels + c];
}

KERNEL(BLOCK)
rebit_sample(size_t n, SampleShape s, const float *x, const float *corners, const unsigned *images, float *y) {
    EACH(i, n) {
        unsigned c = i % s.channels;
        size_t cell = i / s.channels, k = cell / s.out_w / s.out_h;
        Place row = row_of(s, corners + 4 * k, cell / s.out_w % s.out_h);
        Place column = column_of(s, corners + 4 * k, cell % s.out_w);
        const float *image = x + (size_t)images[k] * s.height * s.width * s.channels;
        float sum = 0.0f;
        for (int t = 0; t < 4; t++) {
            int m = row.first + t / 2, at = column.first + t % 2;
            float down = row.weight(m), across = column.weight(at);
            bool inside = m >= 0 && at >= 0 && m < (int)s.height && at < (int)s.width;
            if (inside && down > 0.0f && across > 0.0f) sum += down * across * pixel_of(s, image, m, at, c);
        }
        y[i] = row.exists && column.exists ? sum : __uint_as_float(0x7fc00000u);
    }
}

/// A thread for each number of the images asks the cells of all boxes of its image, in order. No atomics.
KERNEL(BLOCK)
rebit_sample_grad_images(size_t n, SampleShape s, const float *corners, const unsigned *images, const float *dy,
                         float *dx, bool accumulate) {
    EACH(i, n) {
        unsigned c = i % s.channels;
        size_t pixel = i / s.channels;
        int ix = pixel % s.width, iy = pixel / s.width % s.height;
        unsigned image = pixel / s.width / s.height;
        float sum = accumulate ? dx[i] : 0.0f;
        for (size_t k = 0; k < s.boxes; k++) {
            if (images[k] != image) continue;
            const float *cells = dy + k * s.out_h * s.out_w * s.channels + c;
            for (unsigned oy = 0; oy < s.out_h; oy++) {
                Place row = row_of(s, corners + 4 * k, oy);
                float down = row.exists ? row.weight(iy) : 0.0f;
                if (!(down > 0.0f)) continue;
                for (unsigned ox = 0; ox < s.out_w; ox++) {
                    Place column = column_of(s, corners + 4 * k, ox);
                    float across = column.exists ? column.weight(ix) : 0.0f;
                    if (across > 0.0f) sum += down * across * cells[((size_t)oy * s.out_w + ox) * s.channels];
                }
            }
        }
        dx[i] = sum;
    }
}

/// A block for each box.
KERNEL(BLOCK)
rebit_sample_grad_boxes(SampleShape s, const float *x, const float *corners, const unsigned *images, const float *dy,
                        float *dcorners) {
    __shared__ double warps[BLOCK / 32];
    for (size_t k = blockIdx.x; k < s.boxes; k += gridDim.x) {
        const float *image = x + (size_t)images[k] * s.height * s.width * s.channels, *box = corners + 4 * k;
        size_t numbers = (size_t)s.out_h * s.out_w * s.channels;
        double sums[4] = {0, 0, 0, 0};
        for (size_t i = threadIdx.x; i < numbers; i += blockDim.x) {
            unsigned c = i % s.channels;
            size_t cell = i / s.channels;
            Place row = row_of(s, box, cell / s.out_w), column = column_of(s, box, cell % s.out_w);
            float by_x = 0.0f, by_y = 0.0f;
            for (int t = 0; t < 2; t++) {
                float down = row.weight(row.first + t), across = column.weight(column.first + t);
                if (down > 0.0f)
                    by_x += down * (pixel_of(s, image, row.first + t, column.first + 1, c) -
                                    pixel_of(s, image, row.first + t, column.first, c));
                if (across > 0.0f)
                    by_y += across * (pixel_of(s, image, row.first + 1, column.first + t, c) -
                                      pixel_of(s, image, row.first, column.first + t, c));
            }
            if (!row.exists || !column.exists) by_x = by_y = __uint_as_float(0x7fc00000u);
            float g = dy[k * numbers + i];
            sums[0] += (double)(g * by_x) * column.by_from;
            sums[1] += (double)(g * by_y) * row.by_from;
            sums[2] += (double)(g * by_x) * column.by_to;
            sums[3] += (double)(g * by_y) * row.by_to;
        }
        for (int t = 0; t < 4; t++) {
            double sum = block_sum(sums[t], warps);
            if (threadIdx.x == 0) dcorners[4 * k + t] = (float)sum;
        }
    }
}
