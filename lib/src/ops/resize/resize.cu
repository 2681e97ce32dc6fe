// Resizing along one axis: every output is a weighted sum of a list of inputs. The gradient is the same kernel over the
// lists turned round.
#include "common.cuh"

/// `x` is (outer, from, inner), `y` (outer, to, inner); output `o` reads the pairs `start[o]` to before `start[o + 1]`.
KERNEL(BLOCK)
rebit_resize_axis(size_t n, unsigned from, unsigned to, unsigned inner, const unsigned *start, const unsigned *index,
                  const float *weight, const float *x, float *y) {
    EACH(i, n) {
        unsigned k = i % inner, o = i / inner % to;
        const float *line = x + i / inner / to * from * inner + k;
        float sum = 0.0f;
        for (unsigned t = start[o]; t < start[o + 1]; t++) sum += weight[t] * line[(size_t)index[t] * inner];
        y[i] = sum;
    }
}
