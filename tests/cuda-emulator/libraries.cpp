// cuBLAS by the definition, and an NVRTC that compiles nothing: the kernels that dfdx compiles at run time are found by
// their name, which does not tell the type, so all but those of f32 are refused.
#include <cstddef>
#include <cstring>

using Handle = void *;

/// Column by column, C = alpha op(A) op(B) + beta C.
template <class T>
static int product(int turn_a, int turn_b, int m, int n, int k, const T *alpha, const T *a, int lda, const T *b, int ldb,
                   const T *beta, T *c, int ldc) {
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < m; i++) {
            double sum = 0;
            for (int q = 0; q < k; q++) {
                T left = turn_a ? a[q + (size_t)i * lda] : a[i + (size_t)q * lda];
                T right = turn_b ? b[j + (size_t)q * ldb] : b[q + (size_t)j * ldb];
                sum += (double)left * (double)right;
            }
            T &out = c[i + (size_t)j * ldc];
            out = (T)(*alpha * sum + (*beta == T(0) ? T(0) : *beta * out));
        }
    }
    return 0;
}

#define GEMM(letter, T)                                                                                                \
    extern "C" int cublas##letter##gemm_v2(Handle, int ta, int tb, int m, int n, int k, const T *alpha, const T *a,    \
                                           int lda, const T *b, int ldb, const T *beta, T *c, int ldc) {               \
        return product(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);                                          \
    }                                                                                                                  \
    extern "C" int cublas##letter##gemmStridedBatched(                                                                 \
        Handle, int ta, int tb, int m, int n, int k, const T *alpha, const T *a, int lda, long long step_a,            \
        const T *b, int ldb, long long step_b, const T *beta, T *c, int ldc, long long step_c, int batch) {            \
        for (int i = 0; i < batch; i++)                                                                                \
            product(ta, tb, m, n, k, alpha, a + i * step_a, lda, b + i * step_b, ldb, beta, c + i * step_c, ldc);      \
        return 0;                                                                                                      \
    }
GEMM(S, float)
GEMM(D, double)

extern "C" {
int cublasCreate_v2(Handle *h) { *h = (Handle)0x5000; return 0; }
int cublasDestroy_v2(Handle) { return 0; }
int cublasSetStream_v2(Handle, Handle) { return 0; }
#define OF_FLOATS ((Handle)0x6000)
int nvrtcCreateProgram(Handle *p, const char *source, const char *, int, const char *const *, const char *const *) {
    *p = strstr(source, "const float *") ? OF_FLOATS : (Handle)0x6001;
    return 0;
}
// 6: NVRTC_ERROR_COMPILATION
int nvrtcCompileProgram(Handle p, int, const char *const *) { return p == OF_FLOATS ? 0 : 6; }
int nvrtcDestroyProgram(Handle *) { return 0; }
int nvrtcGetPTXSize(Handle, size_t *n) { *n = 1; return 0; }
int nvrtcGetPTX(Handle, char *text) { *text = 0; return 0; }
int nvrtcGetProgramLogSize(Handle, size_t *n) { *n = 1; return 0; }
int nvrtcGetProgramLog(Handle, char *text) { *text = 0; return 0; }

// What cudarc names and dfdx does not call; the library as a shared one wants to find them all the same. They refuse:
// 801 is CUDA_ERROR_NOT_SUPPORTED, 15 CUBLAS_STATUS_NOT_SUPPORTED.
#define REFUSED(name, error)                                                                                           \
    int name() { return error; }
REFUSED(cuDestroyExternalMemory, 801)
REFUSED(cuDeviceTotalMem_v2, 801)
REFUSED(cuEventElapsedTime, 801)
REFUSED(cuExternalMemoryGetMappedBuffer, 801)
REFUSED(cuImportExternalMemory, 801)
REFUSED(cuOccupancyAvailableDynamicSMemPerBlock, 801)
REFUSED(cuOccupancyMaxActiveBlocksPerMultiprocessor, 801)
REFUSED(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, 801)
REFUSED(cuOccupancyMaxActiveClusters, 801)
REFUSED(cuOccupancyMaxPotentialBlockSize, 801)
REFUSED(cuOccupancyMaxPotentialBlockSizeWithFlags, 801)
REFUSED(cuOccupancyMaxPotentialClusterSize, 801)
REFUSED(cuProfilerStart, 801)
REFUSED(cuProfilerStop, 801)
REFUSED(cublasDgemv_v2, 15)
REFUSED(cublasSgemv_v2, 15)
REFUSED(cublasGemmEx, 15)
REFUSED(cublasGemmStridedBatchedEx, 15)
}
