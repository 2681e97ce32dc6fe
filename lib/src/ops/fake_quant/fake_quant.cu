// Fake quantisation and its gradients: one pass over memory each way.
#include "quantiser.cuh"

KERNEL(BLOCK) rebit_fake_quant(size_t n, const float *x, FakeQuant f, float *y) {
    EACH(i, n) y[i] = f.place(f.round(f.normalise(x[i])));
}

/// `partial[block] = (sum dy, sum dy n)` over entries inside the bounds; the host adds the blocks in order.
KERNEL(BLOCK)
rebit_fake_quant_grad(size_t n, const float *x, FakeQuant f, const float *dy, float *dx, bool accumulate,
                      double *partial) {
    __shared__ double warps[BLOCK / 32];
    double sum = 0, sum_n = 0;
    float slope = f.slope();
    EACH(i, n) {
        float g = slope * inside(f.normalise(x[i]), dy[i], sum, sum_n);
        dx[i] = accumulate ? dx[i] + g : g;
    }
    sum = block_sum(sum, warps);
    sum_n = block_sum(sum_n, warps);
    if (threadIdx.x == 0) {
        partial[2 * blockIdx.x] = sum;
        partial[2 * blockIdx.x + 1] = sum_n;
    }
}
