// Between the driver and the scheduler.
#pragma once
#include "cuda_emulator.h"
#include <string>

namespace emulator {

/// In which order threads and blocks run.
struct Order {
    /// The last checks a launch and does not run it.
    enum Kind : unsigned { Ascending, Reversed, Shuffled, OnlyChecked } kind = Ascending;
    uint64_t seed = 0;
};

const Kernel *find(const std::string &name);

/// Runs a kernel; what it did wrong, or nothing.
std::string launch(const Kernel &kernel, dim3 blocks, dim3 threads, unsigned shared_bytes, void **arguments, Order order);

/// Says what lies at an address that a kernel must not touch (memory.cpp).
std::string describe(uintptr_t address);
} // namespace emulator
