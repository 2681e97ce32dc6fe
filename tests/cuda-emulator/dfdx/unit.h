// What stands before a source of dfdx: each is a unit of its own, and all repeat the kernels and functions of
// dfdx's headers.
#pragma once
#include "cuda_fp16.h"
#include <cassert>
using std::isnan;
using std::signbit;
#undef __global__
#define __global__ __attribute__((weak))
#undef __device__
#define __device__ static
// In templates, which cannot name a section: not poisoned between blocks.
#undef __shared__
#define __shared__ static
#define __CUDA_ARCH__ 800
