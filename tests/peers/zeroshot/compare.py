"""Steps of IntraQ's synthesis, of a low-bit student and of FDDA's generator, beside PyTorch and our own training step.

Both sides start from the same networks, the same batch and the same noise, with two threads each. What is compared is the
median of all steps of all rounds; rounds alternate between the sides, so that a slow moment of the machine meets both.
"""

import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "training"))
from sides import WARM_UP, add, arguments, in_turn, measure, quickest, same  # noqa: E402
from table import THREADS, Table, call  # noqa: E402

# Images of a synthesis: for time, for memory.
TIMED, LARGE = 128, 256
TORCH = "PyTorch", "PyTorch, channels last"
OWN = "our training step"
# By how much of the first loss two sides may differ, and of the second, which tells of the gradients and the optimiser.
#
# In full precision the sides differ by sums in another order, which left first losses equal to six digits. Adam's first
# step is the learning rate times the sign of a gradient, whatever its size: where a gradient is nothing but rounding, the
# two sides move apart by twice the rate, and the second losses were equal to four or five digits.
FULL_PRECISION = 1e-5, 1e-3
# On eight levels an activation that lies on the edge between two of them, to the last bit of a sum, moves by a seventh of
# its range, and the distillation loss has a factor of 8,000. Both losses were equal to six digits, but a batch with such an
# activation on a machine that sums in another order would show it in the third or fourth.
THREE_BITS = 1e-3, 1e-3


class Sides:
    """Rounds of our side and of both of PyTorch's memory formats in turn."""

    def __init__(self, options):
        self.options = options

    def rebit(self, what, *more):
        o = self.options
        return call(o.rebit, what, o.exchange, *more)

    def torch(self, what, *more):
        o = self.options
        return call(o.torch, os.path.join(here, "torch_peer.py"), THREADS, what, o.exchange, *more)

    def rounds(self, rounds, steps, what, *more, own=()):
        """`own`: names of further works of our side alone, and these works."""
        forms = zip(TORCH, ([], ["--channels-last"]))
        return in_turn(rounds, {
            **{name: lambda work=work: self.rebit(work, steps) for name, work in own},
            "rebit": lambda: self.rebit(what, *more, steps),
            **{name: lambda form=form: self.torch(what, *more, steps, *form) for name, form in forms},
        })


def synthesis(sides, table):
    o = sides.options
    runs = sides.rounds(o.rounds, o.steps, "synthesis", TIMED, "whole", own=[(OWN, "training")])
    bars = [*zip(quickest(runs, TORCH), (0.8, None)), (OWN, 0.85)]
    add(table, f"synthesis step, {TIMED} images", runs, bars, FULL_PRECISION, other_work=(OWN,))
    # Maps are what the network's pool hands out; the other buffers are tensors at its edge: pixels and their gradient.
    run = runs["rebit"][0]
    first, *later = run["new_maps"]
    edge = {"buffers": max(run["new_buffers"][1:]), "megabytes": max(run["new_buffers_bytes"][1:]) / 2**20}
    table.add("new maps of a later synthesis step", "its first step", "", max(later), first, 0.0, **edge)


def parts(sides, table):
    o = sides.options
    runs = sides.rounds(o.rounds, o.steps, "synthesis", TIMED, "parts")
    add(table, "the same on parts of the images", runs, zip(TORCH, (None, None)), FULL_PRECISION)


def memory(sides, table):
    runs = sides.rounds(1, WARM_UP, "synthesis", LARGE, "whole")

    def peak(name):
        return runs[name][0]["peak_kilobytes"] / 1024
    work = f"peak memory of a synthesis, {LARGE} images"
    for name, bar in zip(TORCH, (0.5, None)):
        more = same(name, runs["rebit"][0], runs[name][0], FULL_PRECISION)
        table.add(work, name, "MB", peak("rebit"), peak(name), bar, **more)


def student(sides, table):
    o = sides.options
    runs = sides.rounds(o.rounds, o.steps, "student")
    add(table, "W3A3 student step, batch 64, with teacher", runs, zip(TORCH, (0.5, None)), THREE_BITS)


def generator(sides, table):
    o = sides.options
    runs = sides.rounds(o.rounds, o.steps, "generator")
    add(table, "FDDA generator step, 2 x 16 images", runs, zip(TORCH, (0.8, None)), FULL_PRECISION)


PARTS = {"synthesis": synthesis, "parts": parts, "memory": memory, "student": student, "generator": generator}


def main():
    peers = {"torch": "a Python interpreter that has PyTorch", "rebit": "the program bench_zeroshot",
             "exchange": "a folder for networks and batches"}
    options = arguments(__doc__, PARTS, peers, rounds=3, steps=15)
    sides, table = Sides(options), Table(options.json)
    sides.rebit("prepare")
    measure(PARTS, sides, table, peer="PyTorch")


if __name__ == "__main__":
    main()
