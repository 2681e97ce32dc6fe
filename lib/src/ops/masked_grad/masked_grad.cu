// The gradient of single weights: a block for each free entry, which is a dot product over the output pixels.
#include "conv.cuh"

KERNEL(128)
rebit_masked_grad(Conv s, ActQuant q, const float *x, const float *dy, const unsigned *entries, float *dw) {
    __shared__ float warps[128 / 32];
    unsigned entry = entries[blockIdx.x], per_group = s.in_group(), filter = s.taps() * per_group;
    unsigned o = entry / filter, within = entry % filter, tap = within % s.taps();
    unsigned c = o / s.out_group() * per_group + within / s.taps();
    unsigned u = tap / s.kernel_w, v = tap % s.kernel_w;
    float sum = 0.0f;
    for (size_t p = threadIdx.x; p < s.out_pixels(); p += blockDim.x)
        sum = fmaf(Window(s, p).read(s, q, x, u, v, c), dy[p * s.out_c + o], sum);
    sum = block_sum(sum, warps);
    if (threadIdx.x == 0) dw[entry] = sum;
}
