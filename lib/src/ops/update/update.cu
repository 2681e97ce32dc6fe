// SGD and Adam, in the CPU's order of operations.
#include "common.cuh"

/// `kind`: 0 without momentum (`velocity` is not touched), 1 classic, 2 Nesterov.
KERNEL(BLOCK)
rebit_sgd(size_t n, float lr, float decay, float momentum, unsigned kind, float *w, float *velocity, const float *grad) {
    EACH(i, n) {
        float g = grad[i] + decay * w[i], step = g;
        if (kind) {
            float v = g + momentum * velocity[i];
            velocity[i] = v;
            step = kind == 2 ? g + momentum * v : v;
        }
        w[i] -= step * lr;
    }
}

/// `unbias` are `1 / (1 - beta^t)`.
KERNEL(BLOCK)
rebit_adam(size_t n, float lr, float beta1, float beta2, float eps, float unbias1, float unbias2, float *w,
           float *first, float *second, const float *grad) {
    EACH(i, n) {
        float g = grad[i];
        float m = first[i] * beta1 + g * (1.0f - beta1);
        float v = second[i] * beta2 + g * g * (1.0f - beta2);
        first[i] = m;
        second[i] = v;
        w[i] -= lr * (m * unbias1) / (sqrtf(v * unbias2) + eps);
    }
}
