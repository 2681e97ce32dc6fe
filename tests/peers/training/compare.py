"""Runs everybody's side in turn, prints the table and writes its rows.

All sides start from the same weights and the same batch, with two threads each. What is compared is the median of all
repetitions of all rounds; rounds alternate between the sides, so that a slow moment of the machine meets both.
"""

import argparse
import json
import os
import statistics

from table import THREADS, Failed, Table, call

# The first steps fault in memory, and PyTorch chooses its kernels.
WARM_UP = 3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="where the rows go")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=15, help="steps of a round, the first three not counted")
    parser.add_argument("--seconds", type=float, default=0.4, help="of a round for each convolution")
    parser.add_argument("--only", default="", help="comma-separated: convs, steps, rust")
    parser.add_argument("--torch", required=True, help="a Python interpreter that has PyTorch")
    parser.add_argument("--rebit", required=True, help="the program bench_peers")
    parser.add_argument("--rust", required=True, help="the folder of the Rust peers' programs")
    parser.add_argument("--exchange", required=True, help="a folder for weights and batches")
    return parser.parse_args()


class Sides:
    """How each side is asked for a step or for the convolutions."""

    def __init__(self, options):
        self.options = options

    def rebit(self, *what):
        return call(self.options.rebit, *what)

    def torch(self, *what):
        here = os.path.dirname(os.path.abspath(__file__))
        return call(self.options.torch, os.path.join(here, "torch_peer.py"), THREADS, *what)

    def rust(self, name, *what):
        return call(os.path.join(self.options.rust, f"peer-{name}"), *what)


def milliseconds(runs, warm_up=WARM_UP):
    return 1e3 * statistics.median(s for run in runs for s in run["seconds"][warm_up:])


def same_start(name, ours, theirs, tolerance=1e-3):
    first = ours["losses"][0], theirs["losses"][0]
    if abs(first[0] - first[1]) > tolerance:
        raise Failed(f"{name} does not compute the same: first loss {first[1]}, rebit's {first[0]}")
    return {"first_losses": first}


def steps(sides, table):
    o = sides.options
    bars = {"plain": 1.0, "quantised": 0.6}
    for kind, bar in bars.items():
        work = "ResNet-20 step, " + ("full precision" if kind == "plain" else "2 bits")
        runs = {"rebit": [], "torch": [], "channels_last": []}
        for _ in range(o.rounds):
            runs["rebit"].append(sides.rebit("step", o.exchange, kind, o.steps))
            runs["torch"].append(sides.torch("step", o.exchange, kind, o.steps))
            runs["channels_last"].append(sides.torch("step", o.exchange, kind, o.steps, "--channels-last"))
        ours = milliseconds(runs["rebit"])
        # PyTorch's other memory format sums in another order, which at two bits moves values across the edges of levels.
        sides_of_torch = (("torch", "PyTorch", bar, 1e-3), ("channels_last", "PyTorch, channels last", None, 2e-2))
        for peer, name, limit, tolerance in sides_of_torch:
            same = same_start(name, runs["rebit"][0], runs[peer][0], tolerance)
            table.add(work, name, "ms", ours, milliseconds(runs[peer]), limit, **same)
        if kind == "quantised":
            def peak(name):
                return max(run["peak_kilobytes"] for run in runs[name]) / 1024
            table.add("peak memory of the 2-bit step", "PyTorch", "MB", peak("rebit"), peak("torch"), 0.5)
            return ours, runs["rebit"][0]


def rust_peers(sides, table, ours, first):
    o = sides.options
    plain = sides.rebit("step", o.exchange, "plain", 1)
    # candle sums a channel's statistics in f32 one by one: at two bits that moves values across the edges of levels.
    for name, repetitions, warm_up, tolerance in (("candle", 3, 1, 2e-2), ("burn", 6, 1, 1e-3)):
        work, bar = "ResNet-20 step, 2 bits", 0.33
        try:
            same_start(name, plain, sides.rust(name, o.exchange, "plain", 1))
            run = sides.rust(name, o.exchange, "quantised", repetitions)
            same = same_start(name, first, run, tolerance)
        except Failed as why:
            table.fail(work, name, bar, why)
            continue
        table.add(work, name, "ms", ours, milliseconds([run], warm_up), bar, **same)
        peaks = first["peak_kilobytes"] / 1024, run["peak_kilobytes"] / 1024
        table.add("peak memory of the 2-bit step", name, "MB", *peaks, None)


def convs(sides, table):
    o = sides.options
    peak = sides.rebit("peak")["gflops"]
    print(f"multiply-adds in registers: {peak:.0f} GFLOP/s")
    cases = sides.rebit("cases")
    path = os.path.join(o.exchange, "cases.json")
    with open(path, "w") as file:
        json.dump(cases, file)
    ours, theirs = [], []
    for _ in range(o.rounds):
        ours.append(sides.rebit("convs", o.seconds))
        theirs.append(sides.torch("convs", path, o.seconds))
    for case in cases:
        name = case["name"]

        def median(runs, part):
            return 1e3 * statistics.median(s for run in runs for s in run[name][part])
        mine = median(ours, "default")
        parts = {part: median(ours, part) for part in ("forward", "grad_input", "grad_weight")}
        rate = 6e-6 * case["macs"] / mine
        more = {"gflops": rate, "of_peak": rate / peak, "parts_ms": parts}
        table.add(name, "PyTorch", "ms", mine, median(theirs, "default"), 1.2, **more)
        table.add(name, "PyTorch, channels last", "ms", mine, median(theirs, "channels_last"), None)


def main():
    options = arguments()
    sides = Sides(options)
    table = Table(options.json)
    sides.rebit("prepare", options.exchange)
    wanted = set(options.only.split(",")) - {""} or {"convs", "steps", "rust"}
    ours = first = None
    if "steps" in wanted:
        try:
            ours, first = steps(sides, table)
        except Failed as why:
            table.fail("ResNet-20 step", "PyTorch", 1.0, why)
    if "convs" in wanted:
        try:
            convs(sides, table)
        except Failed as why:
            table.fail("convolutions", "PyTorch", 1.2, why)
    # Last, for these are the slowest.
    if "rust" in wanted and first:
        rust_peers(sides, table, ours, first)


if __name__ == "__main__":
    main()
