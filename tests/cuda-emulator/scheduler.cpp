// Runs a grid block by block and the threads of a block as fibres.
#include "scheduler.h"
#include <algorithm>
#include <csignal>
#include <map>
#include <numeric>
#include <random>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

// All `__shared__` variables of all kernels.
extern "C" {
extern char __start_cuda_shared[] __attribute__((weak));
extern char __stop_cuda_shared[] __attribute__((weak));
}

namespace emulator {
namespace {

#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)
// Saves what a called function must keep, and goes on where the other stack stopped.
asm(R"(
.text
.globl emulator_switch
.type emulator_switch, @function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch, .-emulator_switch
)");
extern "C" void emulator_switch(void **save, void *go_to);

struct Context {
    void *top = nullptr;
    void start(char *stack, size_t size, void (*run)()) {
        auto **at = reinterpret_cast<void **>(stack + size);
        *--at = nullptr; // the return address of `run`, and the alignment after a call
        *--at = reinterpret_cast<void *>(run);
        for (int i = 0; i < 6; i++) *--at = nullptr;
        top = at;
    }
    void leave_for(Context &other) { emulator_switch(&top, other.top); }
};
#else
struct Context {
    ucontext_t state;
    void start(char *stack, size_t size, void (*run)()) {
        getcontext(&state);
        state.uc_stack.ss_sp = stack;
        state.uc_stack.ss_size = size;
        state.uc_link = nullptr;
        makecontext(&state, run, 0);
    }
    void leave_for(Context &other) { swapcontext(&state, &other.state); }
};
#endif

enum class State { Ready, Barrier, Warp, Done };

struct Thread {
    Context context;
    char *stack = nullptr;
    uint3 index{};
    State state = State::Done;
    Place place{"", 0};
    int predicate = 0;
    WarpOp op = WarpOp::Sync;
    unsigned mask = 0;
    int source = 0;
    uint64_t value = 0;
};

constexpr size_t STACK = 64 << 10;

Context scheduler;
std::vector<Thread> threads;
unsigned count;       // threads of a block
Thread *running;      // nullptr outside kernels
const Kernel *kernel; // what runs
void **arguments;
Votes votes;
std::string problem;

std::map<std::string, Kernel> &kernels() {
    static std::map<std::string, Kernel> table;
    return table;
}

std::string at(const Place &place) {
    const char *name = strrchr(place.file, '/');
    return std::string(name ? name + 1 : place.file) + ":" + std::to_string(place.line);
}

std::string who(const Thread &t) {
    auto three = [](uint3 v) {
        return "(" + std::to_string(v.x) + ", " + std::to_string(v.y) + ", " + std::to_string(v.z) + ")";
    };
    return "thread " + three(t.index) + " of block " + three(block.index);
}

void complain(const std::string &what) {
    if (problem.empty()) problem = what;
}

void run_thread() {
    kernel->entry(arguments);
    running->state = State::Done;
    running->context.leave_for(scheduler);
    abort();
}

void wait(State state, Place place) {
    Thread *self = running;
    self->state = state;
    self->place = place;
    self->context.leave_for(scheduler);
}

void prepare(Thread &t) {
    if (!t.stack) {
        // The lowest page stays closed: a stack that runs over ends the process instead of spoiling its neighbour.
        size_t page = sysconf(_SC_PAGESIZE);
        void *memory = mmap(nullptr, STACK + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) abort();
        mprotect(memory, page, PROT_NONE);
        t.stack = static_cast<char *>(memory) + page;
    }
    t.context.start(t.stack, STACK, run_thread);
    t.state = State::Ready;
}

/// Lets the lanes of one finished warp operation go on.
void complete(Thread *warp, unsigned lanes, unsigned mask) {
    unsigned ballot = 0;
    uint64_t values[32];
    for (unsigned i = 0; i < lanes; i++) {
        values[i] = warp[i].value;
        if (mask >> i & 1 && warp[i].state == State::Warp && warp[i].predicate) ballot |= 1u << i;
    }
    for (unsigned i = 0; i < lanes; i++) {
        Thread &t = warp[i];
        if (!(mask >> i & 1) || t.state != State::Warp) continue;
        if (t.op == WarpOp::Shuffle) {
            if (t.source < 0 || t.source >= (int)lanes || !(mask >> t.source & 1))
                return complain(at(t.place) + ": lane " + std::to_string(i) + " reads lane " +
                                std::to_string(t.source) + ", which the mask does not name");
            t.value = values[t.source];
        } else {
            t.value = ballot;
        }
        t.state = State::Ready;
    }
}

/// Resolves warp operations that all lanes of their mask have reached; whether there was one.
bool resolve_warps() {
    bool moved = false;
    for (unsigned first = 0; first < count; first += 32) {
        Thread *warp = &threads[first];
        unsigned lanes = std::min(32u, count - first);
        for (unsigned i = 0; i < lanes; i++) {
            const Thread &t = warp[i];
            if (t.state != State::Warp) continue;
            if (!(t.mask >> i & 1)) {
                complain(at(t.place) + ": lane " + std::to_string(i) + " is not in its own mask");
                return true;
            }
            bool all_here = true;
            for (unsigned j = 0; j < 32; j++) {
                if (!(t.mask >> j & 1)) continue;
                if (j >= lanes || warp[j].state == State::Done) {
                    // __syncwarp() names all lanes and means those that are left.
                    if (t.op == WarpOp::Sync) continue;
                    complain(at(t.place) + ": the mask names lane " + std::to_string(j) +
                             ", which has exited or never existed");
                    return true;
                }
                if (warp[j].state != State::Warp) {
                    all_here = false;
                } else if (warp[j].op != t.op || warp[j].mask != t.mask) {
                    complain("lanes of one warp wait in different operations: " + at(t.place) + " and " +
                             at(warp[j].place));
                    return true;
                }
            }
            if (!all_here) continue;
            complete(warp, lanes, t.mask);
            moved = true;
        }
    }
    return moved;
}

/// Opens the barrier if all threads that are left wait at it.
bool resolve_barrier() {
    const Thread *first = nullptr;
    votes = {0, 1, 0};
    for (unsigned i = 0; i < count; i++) {
        const Thread &t = threads[i];
        if (t.state == State::Done) continue;
        if (t.state != State::Barrier) return false;
        if (first && !(t.place == first->place)) {
            complain("divergent barrier: threads of one block wait at " + at(first->place) + " and at " + at(t.place));
            return true;
        }
        if (!first) first = &t;
        votes.count += t.predicate;
        votes.all &= t.predicate;
        votes.any |= t.predicate;
    }
    for (unsigned i = 0; i < count; i++)
        if (threads[i].state == State::Barrier) threads[i].state = State::Ready;
    return true;
}

void dead_lock() {
    const Thread *barrier = nullptr, *warp = nullptr;
    for (unsigned i = 0; i < count; i++) {
        if (threads[i].state == State::Barrier) barrier = &threads[i];
        if (threads[i].state == State::Warp) warp = &threads[i];
    }
    std::string text = "dead-lock:";
    if (warp) text += " " + who(*warp) + " waits for its warp at " + at(warp->place);
    if (barrier) text += std::string(warp ? "," : "") + " " + who(*barrier) + " waits at the barrier " + at(barrier->place);
    complain(text);
}

template <class R> void arrange(std::vector<unsigned> &order, Order::Kind kind, R &random) {
    if (kind == Order::Shuffled) std::shuffle(order.begin(), order.end(), random);
}

void run_block(Order order, std::mt19937_64 &random) {
    std::vector<unsigned> turns(count);
    std::iota(turns.begin(), turns.end(), 0);
    if (order.kind == Order::Reversed) std::reverse(turns.begin(), turns.end());
    for (unsigned i = 0; i < count; i++) prepare(threads[i]);
    for (;;) {
        arrange(turns, order.kind, random);
        bool left = false;
        for (unsigned i : turns) {
            Thread &t = threads[i];
            if (t.state == State::Ready) {
                running = &t;
                block.thread = t.index;
                scheduler.leave_for(t.context);
                running = nullptr;
            }
            if (!problem.empty()) return;
            left |= t.state != State::Done;
        }
        if (!left) return;
        if (!resolve_warps() && !resolve_barrier()) dead_lock();
        if (!problem.empty()) return;
    }
}

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
struct sigaction before;

/// Where a thread goes on that touched memory it must not.
void faulted() {
    running->state = State::Done;
    running->context.leave_for(scheduler);
    abort();
}

void on_fault(int, siginfo_t *info, void *raw) {
    if (!running) {
        // Not a kernel's doing: the instruction runs again, under whoever watched before.
        sigaction(SIGSEGV, &before, nullptr);
        return;
    }
    auto *context = static_cast<ucontext_t *>(raw);
    const char *verb = "touches";
#if defined(__x86_64__)
    verb = context->uc_mcontext.gregs[REG_ERR] & 2 ? "writes" : "reads";
#endif
    complain("out of bounds: " + who(*running) + " " + verb + " " + describe(reinterpret_cast<uintptr_t>(info->si_addr)));
#if defined(__x86_64__)
    auto &sp = context->uc_mcontext.gregs[REG_RSP];
    sp = ((sp - 512) & ~15ll) - 8;
    context->uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&faulted);
#else
    context->uc_mcontext.sp = (context->uc_mcontext.sp - 512) & ~15ull;
    context->uc_mcontext.pc = reinterpret_cast<uintptr_t>(&faulted);
#endif
}

void watch_faults() {
    static bool watching = [] {
        struct sigaction action {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigaction(SIGSEGV, &action, &before);
        return true;
    }();
    (void)watching;
}
#else
void watch_faults() {}
#endif
} // namespace

Block block;

unsigned lane() { return (running - threads.data()) % 32; }

Votes barrier(Place place, int predicate) {
    running->predicate = predicate;
    wait(State::Barrier, place);
    return votes;
}

uint64_t warp(Place place, WarpOp op, unsigned mask, uint64_t value, int source, int predicate) {
    Thread *self = running;
    self->op = op;
    self->mask = mask;
    self->value = value;
    self->source = source;
    self->predicate = predicate;
    wait(State::Warp, place);
    return self->value;
}

Register::Register(Kernel kernel) { kernels()[kernel.name] = kernel; }

const Kernel *find(const std::string &name) {
    auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : &found->second;
}

std::string launch(const Kernel &which, dim3 blocks, dim3 size, unsigned shared_bytes, void **given, Order order) {
    uint64_t wanted = (uint64_t)size.x * size.y * size.z;
    uint64_t grid = (uint64_t)blocks.x * blocks.y * blocks.z;
    auto refuse = [&](const std::string &why) { return std::string(which.name) + ": " + why; };
    if (wanted == 0 || wanted > 1024 || size.z > 64)
        return refuse("a block of " + std::to_string(wanted) + " threads; it has 1 to 1024");
    if (which.most_threads && wanted > which.most_threads)
        return refuse("a block of " + std::to_string(wanted) + " threads, but __launch_bounds__(" +
                      std::to_string(which.most_threads) + ")");
    if (grid == 0 || blocks.x > 0x7fffffffu || blocks.y > 65535 || blocks.z > 65535)
        return refuse("a grid of " + std::to_string(blocks.x) + " x " + std::to_string(blocks.y) + " x " +
                      std::to_string(blocks.z) + " blocks");
    if (shared_bytes > 48 << 10) return refuse(std::to_string(shared_bytes) + " bytes of dynamic shared memory, over 48 KiB");
    if (order.kind == Order::OnlyChecked) return {};

    watch_faults();
    count = wanted;
    if (threads.size() < count) threads.resize(count);
    for (unsigned i = 0; i < count; i++) threads[i].index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    problem.clear();
    kernel = &which;
    arguments = given;
    block.threads = size;
    block.blocks = blocks;
    std::vector<char> dynamic(shared_bytes + 1);
    std::mt19937_64 random(order.seed);
    std::vector<unsigned> turns(grid);
    std::iota(turns.begin(), turns.end(), 0);
    if (order.kind == Order::Reversed) std::reverse(turns.begin(), turns.end());
    arrange(turns, order.kind, random);
    for (unsigned k : turns) {
        block.index = {k % blocks.x, k / blocks.x % blocks.y, k / blocks.x / blocks.y};
        // All ones: a NaN for whoever reads shared memory before it was written.
        std::fill(dynamic.begin(), dynamic.end(), (char)0xff);
        block.dynamic_shared = dynamic.data();
        if (__start_cuda_shared) memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);
        run_block(order, random);
        if (!problem.empty()) return refuse(problem);
    }
    return {};
}
} // namespace emulator
