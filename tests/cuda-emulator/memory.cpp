// Device memory: host memory whose end, to the byte, lies before a page that must not be touched.
#include "driver.h"
#include "scheduler.h"
#include <map>
#include <sys/mman.h>
#include <unistd.h>

namespace emulator {
namespace {
struct Allocation {
    char *pages;
    size_t mapped, bytes;
};
std::map<uintptr_t, Allocation> &table() {
    static std::map<uintptr_t, Allocation> allocations;
    return allocations;
}
size_t total;
} // namespace

size_t limit = SIZE_MAX;
size_t spoilt = 0;

size_t live_allocations() { return table().size(); }

uintptr_t allocate(size_t bytes) {
    if (bytes > limit - total) return 0;
    size_t page = sysconf(_SC_PAGESIZE);
    size_t usable = (bytes + page - 1) / page * page;
    void *memory = mmap(nullptr, usable + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 0;
    char *pages = static_cast<char *>(memory);
    mprotect(pages, page, PROT_NONE);
    mprotect(pages + page + usable, page, PROT_NONE);
    // Memory that nobody has written yet is NaN.
    memset(pages + page, 0xff, usable);
    auto start = reinterpret_cast<uintptr_t>(pages) + page + usable - bytes;
    table()[start] = {pages, usable + 2 * page, bytes};
    total += bytes;
    return start;
}

bool release(uintptr_t start) {
    auto found = table().find(start);
    if (found == table().end()) return false;
    // Between the closed page and the start of the buffer nobody may have written.
    for (const char *at = found->second.pages + sysconf(_SC_PAGESIZE); at < (const char *)start; at++)
        if (*at != (char)0xff) {
            spoilt++;
            break;
        }
    munmap(found->second.pages, found->second.mapped);
    total -= found->second.bytes;
    table().erase(found);
    return true;
}

bool holds(uintptr_t start, size_t bytes) {
    auto after = table().upper_bound(start);
    if (after == table().begin()) return false;
    auto &[from, a] = *std::prev(after);
    return start + bytes <= from + a.bytes;
}

std::string describe(uintptr_t address) {
    for (auto &[start, a] : table()) {
        auto pages = reinterpret_cast<uintptr_t>(a.pages);
        if (address < pages || address >= pages + a.mapped) continue;
        std::string buffer = " a buffer of " + std::to_string(a.bytes) + " bytes";
        if (address >= start + a.bytes) return std::to_string(address - start - a.bytes) + " bytes behind the end of" + buffer;
        return std::to_string(start - address) + " bytes before the start of" + buffer;
    }
    return "an address that belongs to no buffer";
}
} // namespace emulator
