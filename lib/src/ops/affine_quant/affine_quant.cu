// Affine quantisation, in the CPU's order of operations.
#include "common.cuh"

struct AffineGrid {
    float scale, zero, lowest, highest;
};

/// Each `length` elements have a grid of their own.
KERNEL(BLOCK) rebit_affine_quant(size_t n, size_t length, const float *x, const AffineGrid *grids, float *y) {
    EACH(i, n) {
        AffineGrid g = grids[i / length];
        float q = clamp(rintf(g.scale * x[i] - g.zero), g.lowest, g.highest);
        y[i] = (q + g.zero) / g.scale;
    }
}
