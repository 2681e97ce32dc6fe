"""The layer, the steps, the world and the metric of person search, beside PyTorch, scikit-learn and limits.

Both sides start from the same networks and the same scenes, with two threads each. What is compared is the median of all
steps of all rounds; rounds alternate between the sides, so that a slow moment of the machine meets both.
"""

import os
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "training"))
from sides import WARM_UP, add, add_limit, arguments, in_turn, measure, quickest  # noqa: E402
from table import THREADS, Failed, Table, call  # noqa: E402

FORMATS = {"PyTorch": [], "PyTorch, channels last": ["--channels-last"]}
CROPS = 48
# Sums in another order left first losses equal to six digits and the second ones, which hang on every gradient and on
# Adam's first step, to five.
TOLERANCES = 1e-5, 1e-3


class Sides:
    def __init__(self, options):
        self.options = options

    def rebit(self, what, *more, threads=THREADS):
        return call(self.options.rebit, what, *more, threads=threads)

    def torch(self, what, *more, threads=THREADS):
        peer = os.path.join(here, "torch_peer.py")
        return call(self.options.torch, peer, threads, what, self.options.exchange, *more, threads=threads)


def roi(sides, table):
    o = sides.options
    # A call takes milliseconds: ten times as many.
    steps = 10 * o.steps

    def rebit(how, threads):
        return sides.rebit("roi", o.exchange, how, steps, threads=threads)

    def torch(how, threads):
        return sides.torch("roi", how, steps, threads=threads)
    ways = {"grid_sample, copied": "each", "grid_sample, stacked": "stacked"}
    runs = in_turn(o.rounds, {
        "tape": lambda: rebit("tape", THREADS),
        "kernels": lambda: rebit("kernels", THREADS),
        **{name: lambda how=how: torch(how, THREADS) for name, how in ways.items()},
        "one": lambda: rebit("kernels", 1),
    })
    # The bar is on the quicker way.
    bars = list(zip(quickest(runs, ways), (0.5, None)))
    add(table, "ROI transform, 48 crops, on a tape", runs, bars, TOLERANCES, "tape")
    add(table, "ROI transform, 48 crops, kernels", runs, bars, TOLERANCES, "kernels")
    add_limit(table, "ROI transform, a crop on one core", runs["one"], 0.05, CROPS)


def step(what, work, bar, rebit):
    def part(sides, table):
        o = sides.options
        runs = in_turn(o.rounds, {
            "rebit": lambda: rebit(sides),
            **{name: lambda form=form: sides.torch(what, o.steps, *form) for name, form in FORMATS.items()},
        })
        add(table, work, runs, zip(quickest(runs, FORMATS), (bar, None)), TOLERANCES)
    return part


detector = step("detector", "detector step, 8 scenes", 0.8,
                lambda sides: sides.rebit("detector", sides.options.exchange, sides.options.steps))
reid = step("reid", "re-ID step, 48 crops", 0.8,
            lambda sides: sides.rebit("reid", sides.options.exchange, sides.options.steps))
joint = step("joint", "joint step, 8 scenes, end to end", 0.7,
             lambda sides: sides.rebit("joint", sides.options.steps))


def world(sides, table):
    o = sides.options

    def runs(what, threads=THREADS):
        return [sides.rebit(what, o.steps, threads=threads) for _ in range(o.rounds)]
    for what, work, rate in (("crops", "capsule crop 64x32", 600), ("scenes", "capsule scene 96x160", 150)):
        found = runs(what)
        add_limit(table, f"{work}, two cores", found, 1e3 / rate, found[0]["losses"][0], bar_a_second=rate)
    # The bars are meant for a scanned body, which is not here.
    for cores, limit in ((2, 1e3 / 200), (1, 8.0)):
        found = runs("bodies", cores)
        work = f"crop 128x64 of 17,280 quads, {'two cores' if cores == 2 else 'one core'}"
        add_limit(table, work, found, limit, found[0]["losses"][0], None)


def search(sides, table):
    o = sides.options
    # A step of the peer takes seconds.
    few = WARM_UP + 2
    name = "NumPy, scikit-learn"
    runs = in_turn(max(1, o.rounds // 2), {
        "rebit": lambda: sides.rebit("search", o.steps),
        name: lambda: call(o.torch, os.path.join(here, "search_peer.py"), o.exchange, few),
    })
    work = "search, 300 queries, 5 gallery sizes"
    maps = runs["rebit"][0]["maps"], runs[name][0]["maps"]
    if max(abs(a - b) for a, b in zip(*maps)) > 1e-6:
        table.fail(work, name, 0.1, f"does not compute the same: {maps[1]}, rebit's {maps[0]}")
    else:
        add(table, work, runs, [(name, 0.1)], (1e-6, 1e-6))


def notebook(sides, table):
    """The largest process of a standard run, the compilers of its cells included."""
    o = sides.options
    book = os.path.join(here, "..", "..", "..", "notebooks", "05-person-search.ipynb")
    budget = "quick" if o.quick else "standard"
    command = [o.kernel, "run", book, "--budget", budget, "--out", o.exchange]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(run.pid, 0)
    if status != 0:
        raise Failed(f"the notebook ended with status {status}")
    peak = used.ru_maxrss / 1024
    table.add(f"peak memory of the notebook, {budget}", "at most 2 GB", "MB", peak, 2048, None if o.quick else 1.0)


PARTS = {"roi": roi, "detector": detector, "reid": reid, "joint": joint, "world": world, "search": search,
         "notebook": notebook}


def main():
    peers = {"torch": "a Python interpreter that has PyTorch and scikit-learn", "rebit": "the program bench_search",
             "kernel": "the program rebit", "exchange": "a folder for networks and scenes"}
    options = arguments(__doc__, PARTS, peers)
    sides, table = Sides(options), Table(options.json)
    sides.rebit("prepare", options.exchange)
    measure(PARTS, sides, table, unasked=["notebook"])


if __name__ == "__main__":
    main()
