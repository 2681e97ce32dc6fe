// What the parts of the driver share.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emulator {
/// Bytes that the device has.
extern size_t limit;
/// Buffers found at their release to have been written before their start.
extern size_t spoilt;
/// An address, or 0 when there is not enough.
uintptr_t allocate(size_t bytes);
/// Whether `start` was the start of an allocation, which it is no longer.
bool release(uintptr_t start);
/// Whether these bytes lie within one allocation.
bool holds(uintptr_t start, size_t bytes);
size_t live_allocations();
} // namespace emulator
