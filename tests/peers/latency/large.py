"""Large displays: beside ipykernel, and how the time grows with the size."""

import sys
import time

from alone import beside, limit
from cells import ADD
from kernel import Kernel

PEER = "ipykernel 7"
SIZES = (10, 100)  # MB
# Lines, so that what JSON escapes is among it.
OURS = 'show::text(format!("{{}}\\n", "x".repeat(99)).repeat({size} * 10_000));'
THEIRS = 'display({{"text/plain": ("x" * 99 + "\\n") * ({size} * 10_000)}}, raw=True)'


def seconds(kernel, code, size):
    """From the request to idle, with every byte there."""
    begun = time.perf_counter()
    request = kernel.client.execute(code.format(size=size))
    got = sum(len(content.get("data", {}).get("text/plain", "")) for content in kernel.said(request))
    took = time.perf_counter() - begun
    reply = kernel.reply(request)
    if got != size * 1_000_000:
        raise SystemExit(f"{size} MB were shown, {got} bytes arrived: {reply}\n{open(kernel.log.name).read()}")
    return took


def displays(ours, samples):
    """Two rows: ours against the peer at the largest size, and ours per MB at the largest against the smallest."""
    kernels = {OURS: ours(), THEIRS: Kernel([sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])}
    times = {(code, size): [] for code in kernels for size in SIZES}
    try:
        for code, kernel in kernels.items():
            # The notice that the session starts is a display, too.
            kernel.run(ADD)
            seconds(kernel, code, 1)
        for _ in range(samples):
            for size in SIZES:
                for code, kernel in kernels.items():
                    times[code, size].append(seconds(kernel, code, size))
    finally:
        for kernel in kernels.values():
            kernel.close()
    small, large = SIZES
    work = f"a display of {large} MB of text, request to idle"
    row = beside(work, PEER, 2.0, times[OURS, large], times[THEIRS, large])
    growth = [b / large / (a / small) for a, b in zip(times[OURS, small], times[OURS, large])]
    grown = limit(f"seconds per MB of a display at {large} MB, times those at {small} MB", 1.3, growth)
    return [row, {**grown, "unit": "x"}]
