// The CUDA driver: as much of it as cudarc 0.9 and dfdx 0.13 call, with one device, whose kernels are C++ functions.
#include "driver.h"
#include "scheduler.h"
#include <cstdio>
#include <mutex>

namespace {
// Of CUresult.
enum Result {
    OK = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILED = 719,
};
using Pointer = unsigned long long;
using Handle = void *;

std::recursive_mutex one_at_a_time;
using Lock = std::lock_guard<std::recursive_mutex>;
unsigned long long launched, foreign, waited, allocated;
int devices = 1;
int version = 12000;
int capability = 7;
// A GPU reports what a kernel did wrong to whoever waits for it next, and from then on to everybody.
bool late = false;
Result fault = OK;
// Each host thread chooses its own order and is told its own mistakes.
thread_local emulator::Order order;
thread_local std::string mistake;

Result copy(Pointer to, const void *from, size_t bytes, bool to_device, bool from_device) {
    Lock lock(one_at_a_time);
    if (fault != OK) return fault;
    if (bytes == 0) return OK;
    if (to_device && !emulator::holds(to, bytes)) {
        mistake = "a copy of " + std::to_string(bytes) + " bytes to the device leaves its buffer";
        return INVALID_VALUE;
    }
    if (from_device && !emulator::holds((uintptr_t)from, bytes)) {
        mistake = "a copy of " + std::to_string(bytes) + " bytes from the device leaves its buffer";
        return INVALID_VALUE;
    }
    memmove((void *)to, from, bytes);
    return OK;
}

void count_wait() { Lock lock(one_at_a_time); waited++; }

Result fill(Pointer at, unsigned char value, size_t bytes) {
    Lock lock(one_at_a_time);
    if (bytes && !emulator::holds(at, bytes)) return INVALID_VALUE;
    memset((void *)at, value, bytes);
    return OK;
}
} // namespace

extern "C" {
// What the tests ask and choose; see src/lib.rs.
void cuda_emulator_order(unsigned kind, uint64_t seed) { order = {static_cast<emulator::Order::Kind>(kind), seed}; }
/// Copies the calling thread's last mistake to `text` and forgets it; its length.
size_t cuda_emulator_mistake(char *text, size_t room) {
    size_t length = std::min(room, mistake.size());
    memcpy(text, mistake.data(), length);
    mistake.clear();
    return length;
}
void cuda_emulator_late(bool wanted) {
    Lock lock(one_at_a_time);
    late = wanted;
    fault = OK;
}
unsigned long long cuda_emulator_launches() { Lock lock(one_at_a_time); return launched; }
unsigned long long cuda_emulator_waited() { Lock lock(one_at_a_time); return waited; }
unsigned long long cuda_emulator_allocated() { Lock lock(one_at_a_time); return allocated; }
unsigned long long cuda_emulator_foreign() { Lock lock(one_at_a_time); return foreign; }
size_t cuda_emulator_allocations() { Lock lock(one_at_a_time); return emulator::live_allocations(); }
size_t cuda_emulator_spoilt() { Lock lock(one_at_a_time); return emulator::spoilt; }
void cuda_emulator_machine(int device_count, int driver_version, int major, size_t memory) {
    Lock lock(one_at_a_time);
    devices = device_count;
    version = driver_version;
    capability = major;
    emulator::limit = memory;
}

Result cuInit(unsigned) { return devices ? OK : NO_DEVICE; }
Result cuDriverGetVersion(int *v) { *v = version; return OK; }
Result cuGetErrorName(int e, const char **name) {
    switch (e) {
    case OK: *name = "CUDA_SUCCESS"; break;
    case INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; break;
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; break;
    case INVALID_DEVICE: *name = "CUDA_ERROR_INVALID_DEVICE"; break;
    case NOT_FOUND: *name = "CUDA_ERROR_NOT_FOUND"; break;
    case ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
    case LAUNCH_FAILED: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
    default: *name = "an error the emulator does not know"; break;
    }
    return OK;
}
Result cuGetErrorString(int e, const char **text) {
    static thread_local std::string said;
    const char *name;
    cuGetErrorName(e, &name);
    said = mistake.empty() ? name : mistake;
    *text = said.c_str();
    return OK;
}
Result cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal < devices ? OK : INVALID_DEVICE; }
Result cuDeviceGetCount(int *n) { *n = devices; return OK; }
Result cuDeviceGetName(char *name, int room, int) { snprintf(name, room, "CUDA emulator"); return OK; }
Result cuDeviceGetAttribute(int *value, int attribute, int) {
    // Compute capability, memory pools, and no for everything else.
    *value = attribute == 75 ? capability : attribute == 115 ? 1 : 0;
    return OK;
}
// A context takes memory of its own.
Result cuDevicePrimaryCtxRetain(Handle *c, int) {
    Lock lock(one_at_a_time);
    *c = (Handle)0x1000;
    return emulator::limit < 64 << 20 ? OUT_OF_MEMORY : OK;
}
Result cuDevicePrimaryCtxRelease_v2(int) { return OK; }
Result cuCtxSetCurrent(Handle) { return OK; }
Result cuCtxGetCurrent(Handle *c) { *c = (Handle)0x1000; return OK; }
Result cuEventCreate(Handle *e, unsigned) { *e = (Handle)0x2000; return OK; }
Result cuEventRecord(Handle, Handle) { return OK; }
Result cuEventDestroy_v2(Handle) { return OK; }
Result cuStreamCreate(Handle *s, unsigned) { *s = (Handle)0x3000; return OK; }
Result cuStreamDestroy_v2(Handle) { return OK; }
Result cuStreamSynchronize(Handle) { Lock lock(one_at_a_time); waited++; return fault; }
Result cuStreamWaitEvent(Handle, Handle, unsigned) { return OK; }

Result cuMemAlloc_v2(Pointer *at, size_t bytes) {
    Lock lock(one_at_a_time);
    allocated += bytes > 0;
    *at = bytes ? emulator::allocate(bytes) : 0;
    return !bytes ? INVALID_VALUE : *at ? OK : OUT_OF_MEMORY;
}
Result cuMemAllocAsync(Pointer *at, size_t bytes, Handle) {
    *at = 0;
    return bytes ? cuMemAlloc_v2(at, bytes) : OK;
}
Result cuMemFree_v2(Pointer at) {
    Lock lock(one_at_a_time);
    return !at || emulator::release(at) ? OK : INVALID_VALUE;
}
Result cuMemFreeAsync(Pointer at, Handle) { return cuMemFree_v2(at); }
Result cuDeviceGetDefaultMemPool(Handle *pool, int) { *pool = (Handle)0x7000; return OK; }
Result cuMemPoolSetAttribute(Handle, int, void *) { return OK; }
Result cuMemGetInfo_v2(size_t *free, size_t *total) { *free = *total = emulator::limit; return OK; }
// Whoever copies without a stream waits for the copy.
Result cuMemcpyHtoD_v2(Pointer to, const void *from, size_t n) { count_wait(); return copy(to, from, n, true, false); }
Result cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t n, Handle) { return copy(to, from, n, true, false); }
Result cuMemcpyDtoH_v2(void *to, Pointer from, size_t n) { count_wait(); return copy((Pointer)to, (void *)from, n, false, true); }
Result cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t n, Handle) { return copy((Pointer)to, (void *)from, n, false, true); }
Result cuMemcpyDtoD_v2(Pointer to, Pointer from, size_t n) { return copy(to, (void *)from, n, true, true); }
Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t n, Handle) { return copy(to, (void *)from, n, true, true); }
Result cuMemsetD8_v2(Pointer at, unsigned char v, size_t n) { return fill(at, v, n); }
Result cuMemsetD8Async(Pointer at, unsigned char v, size_t n, Handle) { return fill(at, v, n); }

// A module is its PTX, kept for nothing but the names in it; the kernels themselves are compiled in.
Result cuModuleLoadData(Handle *module, const void *) { *module = (Handle)0x4000; return OK; }
Result cuModuleLoad(Handle *module, const char *) { *module = (Handle)0x4000; return OK; }
Result cuModuleUnload(Handle) { return OK; }
Result cuModuleGetFunction(Handle *function, Handle, const char *name) {
    const emulator::Kernel *kernel = emulator::find(name);
    *function = (Handle)kernel;
    if (!kernel) mistake = std::string("no kernel ") + name + " was compiled for the CPU";
    return kernel ? OK : NOT_FOUND;
}
Result cuLaunchKernel(Handle function, unsigned bx, unsigned by, unsigned bz, unsigned tx, unsigned ty, unsigned tz,
                      unsigned shared_bytes, Handle, void **arguments, void **) {
    Lock lock(one_at_a_time);
    auto &kernel = *static_cast<const emulator::Kernel *>(function);
    launched++;
    foreign += kernel.foreign;
    std::string wrong = emulator::launch(kernel, {bx, by, bz}, {tx, ty, tz}, shared_bytes, arguments, order);
    if (wrong.empty()) return OK;
    mistake = wrong;
    Result kind = wrong.find("out of bounds") != std::string::npos ? ILLEGAL_ADDRESS : LAUNCH_FAILED;
    if (!late) return kind;
    fault = kind;
    return OK;
}
} // extern "C"
