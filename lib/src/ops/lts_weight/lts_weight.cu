// The LTS weight quantiser: quantisation, distance, moving average and freezing in one pass over the weight.
#include "quantiser.cuh"

/// `counts` are those of `LtsCounts`: frozen, newly frozen, flipped. Sums of whole numbers, in any order the same.
KERNEL(BLOCK)
rebit_lts_train(size_t n, const float *w, FakeQuant f, float keep, float delta, float limit, float *distance,
                float *previous, unsigned char *frozen, float *saved, float *y, unsigned *counts) {
    __shared__ unsigned warps[BLOCK / 32];
    unsigned all = 0, newly = 0, flipped = 0;
    EACH(i, n) {
        bool was = frozen[i];
        float value = was ? saved[i] : w[i];
        saved[i] = value;
        float place = f.normalise(value);
        float q = f.round(place);
        y[i] = f.place(q);
        float before = previous[i];
        // An entry never seen has NaN for a level and did not flip.
        flipped += q != before && !is_nan(before);
        float smoothed = (1.0f - keep) * fabsf(place - q) + keep * distance[i];
        float d = q == before ? smoothed : delta;
        distance[i] = d;
        previous[i] = q;
        bool is = was || d <= limit;
        frozen[i] = is;
        all += is;
        newly += is && !was;
    }
    all = block_sum(all, warps);
    newly = block_sum(newly, warps);
    flipped = block_sum(flipped, warps);
    if (threadIdx.x == 0) {
        atomicAdd(&counts[0], all);
        atomicAdd(&counts[1], newly);
        atomicAdd(&counts[2], flipped);
    }
}

KERNEL(BLOCK)
rebit_lts_evaluate(size_t n, const float *w, FakeQuant f, const unsigned char *frozen, const float *saved, float *y) {
    EACH(i, n) y[i] = f.place(f.round(f.normalise(frozen[i] ? saved[i] : w[i])));
}

/// As `rebit_fake_quant_grad` on the effective weight; a frozen entry sends `w` nothing.
KERNEL(BLOCK)
rebit_lts_grad(size_t n, const float *w, FakeQuant f, const unsigned char *frozen, const float *saved, const float *dy,
               float *dw, bool accumulate, double *partial) {
    __shared__ double warps[BLOCK / 32];
    double sum = 0, sum_n = 0;
    float slope = f.slope();
    EACH(i, n) {
        bool is = frozen[i];
        float g = slope * inside(f.normalise(is ? saved[i] : w[i]), dy[i], sum, sum_n);
        dw[i] = (accumulate ? dw[i] : 0.0f) + (is ? 0.0f : g);
    }
    sum = block_sum(sum, warps);
    sum_n = block_sum(sum_n, warps);
    if (threadIdx.x == 0) {
        partial[2 * blockIdx.x] = sum;
        partial[2 * blockIdx.x + 1] = sum_n;
    }
}

KERNEL(BLOCK) rebit_lts_restore(size_t n, const unsigned char *frozen, const float *saved, float *w) {
    EACH(i, n) if (frozen[i]) w[i] = saved[i];
}
