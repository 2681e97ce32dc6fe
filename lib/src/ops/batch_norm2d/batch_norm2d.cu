// Batch normalisation, channels last. Sums over pixels: blocks of 32 channels x 8 rows, block (k, chunk) of the grid takes
// channels 32 k to 32 k + 31 of one chunk of rows; a second kernel adds the chunks in order.
#include "common.cuh"

/// Adds the rows of a block and stores both sums of its chunk: `partial[chunk][2][channels]`.
__device__ __forceinline__ void store_sums(double a, double b, unsigned channels, double (*shared)[8][32],
                                           double *partial) {
    unsigned c = blockIdx.x * 32 + threadIdx.x;
    shared[0][threadIdx.y][threadIdx.x] = a;
    shared[1][threadIdx.y][threadIdx.x] = b;
    __syncthreads();
    if (threadIdx.y < 2 && c < channels) {
        double sum = 0;
        for (int k = 0; k < 8; k++) sum += shared[threadIdx.y][k][threadIdx.x];
        partial[((size_t)blockIdx.y * 2 + threadIdx.y) * channels + c] = sum;
    }
}

/// Sums of the deviations from the first pixel and of their squares: no cancellation, whatever the mean.
KERNEL(256) rebit_moments(size_t pixels, unsigned channels, size_t rows, const float *z, double *partial) {
    __shared__ double shared[2][8][32];
    unsigned c = blockIdx.x * 32 + threadIdx.x;
    double sum = 0, square = 0;
    if (c < channels) {
        double middle = z[c];
        size_t end = min((blockIdx.y + 1) * rows, pixels);
        for (size_t p = blockIdx.y * rows + threadIdx.y; p < end; p += 8) {
            double d = z[p * channels + c] - middle;
            sum += d;
            square += d * d;
        }
    }
    store_sums(sum, square, channels, shared, partial);
}

KERNEL(256)
rebit_moments_end(size_t pixels, unsigned channels, unsigned chunks, const float *z, const double *partial, float *mean,
                  float *var) {
    __shared__ double shared[8][32];
    unsigned c = blockIdx.x * 32 + threadIdx.x;
    double sum = column_sum(partial + c, 2 * (size_t)channels, chunks, c < channels, shared);
    double square = column_sum(partial + channels + c, 2 * (size_t)channels, chunks, c < channels, shared);
    if (threadIdx.y == 0 && c < channels) {
        double v = (square - sum * sum / pixels) / pixels;
        // As on the CPU, a channel with an infinity has neither mean nor variance.
        mean[c] = v != v ? (float)v : (float)(z[c] + sum / pixels);
        // Rounding may leave a constant channel a hair below 0; NaN stays.
        var[c] = v < 0 ? 0.0f : (float)v;
    }
}

/// `residual` may be null.
KERNEL(BLOCK)
rebit_normalise(size_t n, unsigned channels, const float *z, const float *gamma, const float *beta, const float *mean,
                const float *var, float eps, const float *residual, float low, float high, float *y) {
    EACH(i, n) {
        unsigned c = i % channels;
        float scale = 1.0f / sqrtf(var[c] + eps) * gamma[c];
        float v = (z[i] - mean[c]) * scale + beta[c];
        if (residual) v += residual[i];
        y[i] = clamp(v, low, high);
    }
}

/// Rows of a thread that are read together.
#define AT_ONCE 8

/// Masks `dy` by the activation and sums `g` and `g x^`. Corners that are NaN let everything through.
KERNEL(256)
rebit_norm_sums(size_t pixels, unsigned channels, size_t rows, const float *z, const float *y, const float *mean,
                const float *var, float eps, float low, float high, float *dy, double *partial) {
    __shared__ double shared[2][8][32];
    unsigned c = blockIdx.x * 32 + threadIdx.x;
    double sum = 0, sum_x = 0;
    if (c < channels) {
        float middle = mean[c], inv_std = 1.0f / sqrtf(var[c] + eps);
        size_t end = min((blockIdx.y + 1) * rows, pixels);
        // All rows are read before any is written: a thread waits for memory once, not once a row.
        for (size_t p = blockIdx.y * rows + threadIdx.y; p < end; p += 8 * AT_ONCE) {
            float g[AT_ONCE], of[AT_ONCE];
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++)
                if (p + 8 * k < end) {
                    size_t i = (p + 8 * k) * channels + c;
                    g[k] = pass(y[i], dy[i], low, high);
                    of[k] = z[i];
                }
#pragma unroll
            for (int k = 0; k < AT_ONCE; k++)
                if (p + 8 * k < end) {
                    dy[(p + 8 * k) * channels + c] = g[k];
                    sum += g[k];
                    sum_x += g[k] * ((of[k] - middle) * inv_std);
                }
        }
    }
    store_sums(sum, sum_x, channels, shared, partial);
}

KERNEL(256)
rebit_norm_sums_end(unsigned channels, unsigned chunks, const double *partial, float *dgamma, float *dbeta) {
    __shared__ double shared[8][32];
    unsigned c = blockIdx.x * 32 + threadIdx.x;
    double sum = column_sum(partial + c, 2 * (size_t)channels, chunks, c < channels, shared);
    double sum_x = column_sum(partial + channels + c, 2 * (size_t)channels, chunks, c < channels, shared);
    if (threadIdx.y == 0 && c < channels) {
        dbeta[c] = (float)sum;
        dgamma[c] = (float)sum_x;
    }
}

struct NormGrad {
    const float *z, *g, *gamma, *mean, *var, *dgamma, *dbeta;
    float eps, pixels;
    bool batch_statistics;
};

KERNEL(BLOCK) rebit_norm_grad(size_t n, unsigned channels, NormGrad a, float *dz) {
    EACH(i, n) {
        unsigned c = i % channels;
        float inv_std = 1.0f / sqrtf(a.var[c] + a.eps);
        float scale = inv_std * a.gamma[c];
        float g = a.g[i];
        if (a.batch_statistics) {
            float x = (a.z[i] - a.mean[c]) * inv_std;
            g = g - a.dbeta[c] / a.pixels - x * (a.dgamma[c] / a.pixels);
        }
        dz[i] = scale * g;
    }
}
