"""Rendering, training steps and pictures of texture generation, beside PyTorch and limits.

Both sides start from the same networks, pictures and maps, with two threads each. What is compared is the median of all
steps of all rounds; rounds alternate between the sides, so that a slow moment of the machine meets both.
"""

import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "training"))
from sides import add, add_limit, arguments, in_turn, measure, quickest, same  # noqa: E402
from table import THREADS, Table, call  # noqa: E402

FORMATS = {"PyTorch": [], "PyTorch, channels last": ["--channels-last"]}
SPARSE = {"PyTorch sparse, COO": "coo", "PyTorch sparse, CSR": "csr"}
GATHER = "PyTorch gather"
MAPS = 16
# Sums in another order left first losses equal to six digits. Adam's first step is the learning rate times the sign of a
# gradient, whatever its size: where a gradient is nothing but rounding, the two sides move apart by twice the rate.
TOLERANCES = 1e-5, 1e-3


class Sides:
    def __init__(self, options):
        self.options = options

    def rebit(self, what, *more, threads=THREADS):
        return call(self.options.rebit, what, *more, threads=threads)

    def torch(self, what, *more):
        return call(self.options.torch, os.path.join(here, "torch_peer.py"), THREADS, what, self.options.exchange, *more)


def render(sides, table):
    o = sides.options
    # A call takes milliseconds: ten times as many.
    steps = 10 * o.steps
    peers = SPARSE | {GATHER: "gather"}
    runs = in_turn(o.rounds, {
        "tape": lambda: sides.rebit("render", o.exchange, "tape", steps),
        "kernels": lambda: sides.rebit("render", o.exchange, "kernels", steps),
        **{name: lambda how=how: sides.torch("render", how, steps) for name, how in peers.items()},
    })
    # The authors' code has the format COO.
    bars = [*zip(SPARSE, (0.1, None)), (GATHER, 0.7)]
    add(table, "texture_render, 16 x 128x64, on a tape", runs, bars, TOLERANCES, "tape")
    add(table, "texture_render, 16 x 128x64, kernels", runs, bars, TOLERANCES, "kernels")


def step(what, work, bar, memory):
    def part(sides, table):
        o = sides.options
        runs = in_turn(o.rounds, {
            "rebit": lambda: sides.rebit(what, o.exchange, o.steps),
            **{name: lambda form=form: sides.torch(what, o.steps, *form) for name, form in FORMATS.items()},
        })
        add(table, work, runs, zip(quickest(runs, FORMATS), (bar, None)), TOLERANCES)

        def peak(name):
            return max(run["peak_kilobytes"] for run in runs[name]) / 1024
        smallest = sorted(FORMATS, key=peak)
        for name, limit in zip(smallest, (memory, None)):
            more = same(name, runs["rebit"][0], runs[name][0], TOLERANCES)
            table.add("peak memory of that", name, "MB", peak("rebit"), peak(name), limit, **more)
    return part


training = step("training", "training step, 16 pictures 64x32", 0.7, 0.4)
unet = step("unet", "the paper's U-Net, 4 pictures 128x64", 1.0, None)


def pictures(sides, table):
    o = sides.options
    for body, work in (("capsules", "texel map of capsules, 128x64, one core"), ("fine", "the same, 17,280 quads")):
        runs = [sides.rebit("texels", body, o.steps, threads=1) for _ in range(o.rounds)]
        # The bar is meant for a scanned body, which is not here.
        add_limit(table, work, runs, 8.0, MAPS, None)
    runs = [sides.rebit("turntable", o.steps) for _ in range(o.rounds)]
    add_limit(table, "turntable, 24 frames 128x64, encoded", runs, 500.0, bytes=runs[0]["losses"][0])


PARTS = {"render": render, "training": training, "unet": unet, "pictures": pictures}


def main():
    peers = {"torch": "a Python interpreter that has PyTorch", "rebit": "the program bench_texture",
             "exchange": "a folder for networks and pictures"}
    options = arguments(__doc__, PARTS, peers)
    sides, table = Sides(options), Table(options.json)
    sides.rebit("prepare", options.exchange)
    measure(PARTS, sides, table)


if __name__ == "__main__":
    main()
