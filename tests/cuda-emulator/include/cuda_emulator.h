// The CUDA language as C++, so that a kernel's source runs on the CPU: one fibre for each CUDA thread.
//
// Threads of a block run one after the other, each until it reaches a barrier or a warp operation. Those are
// meeting points that the scheduler resolves (scheduler.cpp), so what is undefined on a GPU is seen and reported
// here: barriers that not all threads reach, warp masks that name absent lanes, threads that wait for each other.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#define CUDA_EMULATOR 1
#define __global__
#define __device__
#define __host__
#define __constant__ const
#define __forceinline__ inline
// Only a wish, and libstdc++ from GCC 13 on writes __attribute__((__noinline__)), which must stay one.
#define __noinline__
#define __launch_bounds__(...)
#ifndef __restrict__
#define __restrict__ __restrict
#endif
// Blocks run one after the other, so one copy is enough. The section lets the scheduler poison all of it between blocks.
#define __shared__ static __attribute__((section("cuda_shared")))

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint3 {
    unsigned x, y, z;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

namespace emulator {

/// Where in the sources a thread waits.
struct Place {
    const char *file;
    int line;
    bool operator==(const Place &other) const { return line == other.line && strcmp(file, other.file) == 0; }
};

enum class WarpOp { Shuffle, Vote, Sync };

/// The block that runs now.
struct Block {
    uint3 thread, index;
    dim3 threads, blocks;
    void *dynamic_shared;
};
extern Block block;

/// Numbers over the whole block of a barrier's predicate.
struct Votes {
    int count, all, any;
};
Votes barrier(Place place, int predicate);
/// Waits for all lanes of `mask`; the bits of `value` of lane `source`, or the votes of all lanes.
uint64_t warp(Place place, WarpOp op, unsigned mask, uint64_t value, int source, int predicate);
unsigned lane();

using Entry = void (*)(void **);
struct Kernel {
    const char *name;
    Entry entry;
    /// Of `__launch_bounds__`; 0 without.
    unsigned most_threads;
    /// Not the library's own: dfdx's.
    bool foreign = false;
};
struct Register {
    explicit Register(Kernel kernel);
};

template <class... A, size_t... I>
inline void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<std::remove_reference_t<A>> *>(arguments[I])...);
}
/// Calls a kernel with arguments as `cuLaunchKernel` gets them.
template <class... A> inline void call(void (*kernel)(A...), void **arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>{});
}

template <class T> inline T shuffle(Place place, unsigned mask, T value, int source) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    bits = warp(place, WarpOp::Shuffle, mask, bits, source, 0);
    memcpy(&value, &bits, sizeof(T));
    return value;
}

/// A lane `from` outside this lane's group of `width` lanes is this lane itself.
inline int within(int from, int width) {
    int self = lane();
    return from >= 0 && from / width == self / width ? from : self;
}

template <class T> T shuffle_to(Place p, unsigned mask, T v, int source, int width = 32) {
    return shuffle(p, mask, v, lane() / width * width + source % width);
}
template <class T> T shuffle_down(Place p, unsigned mask, T v, unsigned by, int width = 32) {
    return shuffle(p, mask, v, within(lane() + by, width));
}
template <class T> T shuffle_up(Place p, unsigned mask, T v, unsigned by, int width = 32) {
    return shuffle(p, mask, v, within((int)lane() - (int)by, width));
}
template <class T> T shuffle_xor(Place p, unsigned mask, T v, int by, int width = 32) {
    return shuffle(p, mask, v, within((int)lane() ^ by, width));
}
} // namespace emulator

#define EMULATOR_PLACE (emulator::Place{__FILE__, __LINE__})
#define EMULATOR_KERNEL(kernel, most_threads)                                                                          \
    static const emulator::Register register_##kernel(                                                                 \
        {#kernel, [](void **arguments) { emulator::call(&kernel, arguments); }, most_threads});
#define EMULATOR_FOREIGN_KERNEL(kernel)                                                                                \
    static const emulator::Register register_##kernel(                                                                 \
        {#kernel, [](void **arguments) { emulator::call(&kernel, arguments); }, 0, true});

#define threadIdx (emulator::block.thread)
#define blockIdx (emulator::block.index)
#define blockDim (emulator::block.threads)
#define gridDim (emulator::block.blocks)
#define DYNAMIC_SHARED(T, name) T *name = static_cast<T *>(emulator::block.dynamic_shared)

#define __syncthreads() ((void)emulator::barrier(EMULATOR_PLACE, 0))
#define __syncthreads_count(p) (emulator::barrier(EMULATOR_PLACE, !!(p)).count)
#define __syncthreads_and(p) (emulator::barrier(EMULATOR_PLACE, !!(p)).all)
#define __syncthreads_or(p) (emulator::barrier(EMULATOR_PLACE, !!(p)).any)
#define __syncwarp(...) ((void)emulator::warp(EMULATOR_PLACE, emulator::WarpOp::Sync, 0xffffffffu, 0, 0, 0))
#define __shfl_sync(...) emulator::shuffle_to(EMULATOR_PLACE, __VA_ARGS__)
#define __shfl_down_sync(...) emulator::shuffle_down(EMULATOR_PLACE, __VA_ARGS__)
#define __shfl_up_sync(...) emulator::shuffle_up(EMULATOR_PLACE, __VA_ARGS__)
#define __shfl_xor_sync(...) emulator::shuffle_xor(EMULATOR_PLACE, __VA_ARGS__)
#define __ballot_sync(mask, p) ((unsigned)emulator::warp(EMULATOR_PLACE, emulator::WarpOp::Vote, mask, 0, 0, !!(p)))
#define __any_sync(mask, p) (__ballot_sync(mask, p) != 0)
#define __all_sync(mask, p) (__ballot_sync(mask, p) == (mask))

inline void __threadfence() {}
inline void __threadfence_block() {}
template <class T> inline T __ldg(const T *from) { return *from; }

// Threads only change at meeting points, so a plain read and write is atomic.
template <class T, class U> inline T atomicAdd(T *at, U by) {
    T before = *at;
    *at = static_cast<T>(before + static_cast<T>(by));
    return before;
}
template <class T, class U> inline T atomicMax(T *at, U with) {
    T before = *at;
    if (static_cast<T>(with) > before) *at = static_cast<T>(with);
    return before;
}
template <class T, class U> inline T atomicMin(T *at, U with) {
    T before = *at;
    if (static_cast<T>(with) < before) *at = static_cast<T>(with);
    return before;
}
template <class T> inline T atomicCAS(T *at, T expected, T value) {
    T before = *at;
    if (before == expected) *at = value;
    return before;
}
template <class To, class From> inline To emulator_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    memcpy(&to, &from, sizeof(to));
    return to;
}
inline int __float_as_int(float x) { return emulator_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulator_bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulator_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulator_bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulator_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulator_bits<double>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
template <class A, class B> inline std::common_type_t<A, B> max(A a, B b) {
    using C = std::common_type_t<A, B>;
    return static_cast<C>(a) < static_cast<C>(b) ? static_cast<C>(b) : static_cast<C>(a);
}
template <class A, class B> inline std::common_type_t<A, B> min(A a, B b) {
    using C = std::common_type_t<A, B>;
    return static_cast<C>(b) < static_cast<C>(a) ? static_cast<C>(b) : static_cast<C>(a);
}
