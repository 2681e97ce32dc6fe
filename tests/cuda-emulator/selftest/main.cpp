// The emulator's own tests: what it must report, and what it must let pass. Prints "N passed, N failed".
#include "driver.h"
#include "scheduler.h"
#include <cstdio>
#include <vector>

using emulator::Order;

static const Order ORDERS[] = {{Order::Ascending, 0}, {Order::Reversed, 0}, {Order::Shuffled, 1}, {Order::Shuffled, 2}};
static int passed, failed;

static void expect(bool right, const std::string &what, const std::string &found) {
    (right ? passed : failed)++;
    printf("%s %s%s%s\n", right ? "ok    " : "FAILED", what.c_str(), found.empty() ? "" : ": ", found.c_str());
}

static std::string run(const char *name, unsigned threads, void *out, int argument, Order order, unsigned blocks = 1,
                       unsigned shared_bytes = 0) {
    void *arguments[] = {&out, &argument};
    return emulator::launch(*emulator::find(name), {blocks}, {threads}, shared_bytes, arguments, order);
}

static void reports(const char *name, const char *words, unsigned threads = 256, int argument = 0, unsigned blocks = 1,
                    unsigned shared_bytes = 0) {
    auto out = emulator::allocate(256 * sizeof(int));
    for (Order order : ORDERS) {
        std::string said = run(name, threads, (void *)out, argument, order, blocks, shared_bytes);
        expect(said.find(words) != std::string::npos, name, said.empty() ? "nothing reported" : said);
    }
    emulator::release(out);
}

static std::vector<int> results(const char *name, Order order, unsigned threads = 256) {
    auto out = emulator::allocate(256 * sizeof(int));
    std::string said = run(name, threads, (void *)out, 0, order);
    expect(said.empty(), name, said);
    std::vector<int> values((int *)out, (int *)out + threads);
    emulator::release(out);
    return values;
}

int main() {
    reports("divergent_barrier", "divergent barrier: threads of one block wait at wrong.cu");
    reports("absent_lane", "the mask names lane 1, which has exited or never existed");
    reports("lane_outside_mask", "reads lane 3, which the mask does not name");
    reports("different_operations", "lanes of one warp wait in different operations");
    reports("dead_lock", "dead-lock: thread");
    reports("one_too_far", "0 bytes behind the end of a buffer of 1024 bytes", 257, 256);
    reports("reads_before", "bytes before the start of a buffer of 1024 bytes", 1, 1024);
    reports("with_barrier", "but __launch_bounds__(256)", 288);
    reports("votes", "a block of 1025 threads", 1025);
    reports("votes", "a grid of 0 x 1 x 1 blocks", 32, 0, 0);
    reports("votes", "bytes of dynamic shared memory, over 48 KiB", 32, 0, 1, 48 * 1024 + 1);

    // A missing barrier is a result that depends on the order; with the barrier it does not.
    auto first = results("missing_barrier", ORDERS[0]);
    bool differs = false;
    for (Order order : ORDERS) differs |= results("missing_barrier", order) != first;
    expect(differs, "missing_barrier differs between orders", "");
    for (Order order : ORDERS) {
        auto values = results("with_barrier", order);
        bool right = true;
        for (int i = 0; i < 256; i++) right &= values[i] == 7 * ((i + 1) % 256) + 1;
        expect(right, "with_barrier gives each thread its neighbour's number", "");
        values = results("even_lanes", order, 64);
        for (int i = 0; i < 64; i += 2) right &= values[i] == (i ^ 2);
        expect(right, "even_lanes exchange among themselves", "");
        values = results("votes", order, 33);
        expect(values[32] == 17 + 1000, "votes count over the block", std::to_string(values[32]));
        float unwritten;
        values = results("unwritten_shared", order, 32);
        memcpy(&unwritten, &values[3], sizeof unwritten);
        expect(unwritten != unwritten, "shared memory that nobody wrote is NaN", "");
    }
    expect(emulator::live_allocations() == 0, "every buffer is released", "");
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
