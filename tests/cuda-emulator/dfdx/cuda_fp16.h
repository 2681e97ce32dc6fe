// Half precision as far as dfdx's sources must compile: a float. Kernels of this type are not registered.
#pragma once
#include "cuda_emulator.h"

struct __half {
    float f;
    __half() = default;
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> __half(T value) : f((float)value) {}
    operator float() const { return f; }
};
#define HALF_OPERATOR(R, op)                                                                                           \
    inline R operator op(__half a, __half b) { return R(a.f op b.f); }                                                 \
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> inline R operator op(__half a, T b) {        \
        return R(a.f op (float)b);                                                                                     \
    }                                                                                                                  \
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> inline R operator op(T a, __half b) {        \
        return R((float)a op b.f);                                                                                     \
    }
HALF_OPERATOR(__half, +)
HALF_OPERATOR(__half, -)
HALF_OPERATOR(__half, *)
HALF_OPERATOR(__half, /)
HALF_OPERATOR(bool, <)
HALF_OPERATOR(bool, >)
HALF_OPERATOR(bool, <=)
HALF_OPERATOR(bool, >=)
HALF_OPERATOR(bool, ==)
HALF_OPERATOR(bool, !=)
inline __half operator-(__half a) { return -a.f; }
inline __half &operator+=(__half &a, __half b) { a.f += b.f; return a; }
inline __half &operator-=(__half &a, __half b) { a.f -= b.f; return a; }
inline __half &operator*=(__half &a, __half b) { a.f *= b.f; return a; }
inline __half &operator/=(__half &a, __half b) { a.f /= b.f; return a; }
inline float __half2float(__half a) { return a.f; }
inline __half __float2half(float a) { return a; }
inline bool __hisnan(__half a) { return std::isnan(a.f); }
inline __half __habs(__half a) { return fabsf(a.f); }
inline __half __hmax(__half a, __half b) { return fmaxf(a.f, b.f); }
inline __half __hmin(__half a, __half b) { return fminf(a.f, b.f); }
inline __half __hmax_nan(__half a, __half b) { return __hmax(a, b); }
inline __half __hmin_nan(__half a, __half b) { return __hmin(a, b); }
inline __half hcos(__half a) { return cosf(a.f); }
inline __half hsin(__half a) { return sinf(a.f); }
inline __half hsqrt(__half a) { return sqrtf(a.f); }
inline __half hlog(__half a) { return logf(a.f); }
inline __half hexp(__half a) { return expf(a.f); }
inline unsigned short __half_as_ushort(__half a) { return (unsigned short)a.f; }
inline __half __ushort_as_half(unsigned short a) { return a; }
