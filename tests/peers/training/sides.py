"""Rounds of both sides in turn, and the rows that come of them."""

import argparse
import statistics

from table import Failed

# The first steps fault in memory, and PyTorch chooses its kernels.
WARM_UP = 3


def arguments(about, parts, peers, rounds=5, steps=23):
    """Options of a comparison: `parts` is what `--only` takes, `peers` are the programs and folders that it is given."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", help="where the rows go")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--steps", type=int, default=steps, help=f"steps of a round, the first {WARM_UP} not counted")
    parser.add_argument("--only", default="", help="comma-separated: " + ", ".join(parts))
    parser.add_argument("--quick", action="store_true", help="two rounds of few steps")
    for name, what in peers.items():
        parser.add_argument(f"--{name}", required=True, help=what)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.steps = 2, WARM_UP + 5
    return options


def measure(parts, sides, table, unasked=(), peer=""):
    """Measures what is asked for of `parts`, functions by name; those of `unasked` only when they are named. A part that
    fails is a row against `peer`."""
    names = set(sides.options.only.split(",")) - {""} or set(parts) - set(unasked)
    unknown = names - set(parts)
    if unknown:
        raise SystemExit(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    for name, part in parts.items():
        if name in names:
            try:
                part(sides, table)
            except Failed as why:
                table.fail(name, peer, None, why)


def in_turn(rounds, sides):
    """What each of `sides`, functions by name, returns in each round; rounds alternate between them."""
    runs = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            runs[name].append(run())
    return runs


def median(runs, of="seconds"):
    """In milliseconds, over all steps but the first of each run."""
    return 1e3 * statistics.median(s for run in runs for s in run[of][WARM_UP:])


def quickest(runs, names):
    return sorted(names, key=lambda name: median(runs[name]))


def same(name, ours, theirs, tolerances):
    """The first two losses of both, or numbers told in their place; they must agree to these shares."""
    pairs = list(zip(ours["losses"], theirs["losses"]))[:2]
    for which, pair, tolerance in zip(("first", "second"), pairs, tolerances):
        if not abs(pair[0] - pair[1]) <= tolerance * abs(pair[0]):
            raise Failed(f"{name} does not compute the same: {which} loss {pair[1]}, rebit's {pair[0]}")
    return {"first_losses": pairs[0], "second_losses": pairs[1]}


def add(table, work, runs, bars, tolerances, ours="rebit", other_work=()):
    """A row for each peer of `bars`, whose bar may be none; those of `other_work` have losses of their own."""
    mine = runs[ours]
    for name, limit in bars:
        theirs = runs[name]
        try:
            more = {} if name in other_work else same(name, mine[0], theirs[0], tolerances)
        except Failed as why:
            table.fail(work, name, limit, why)
            continue
        more["processor_ratio"] = median(mine, "processor_seconds") / median(theirs, "processor_seconds")
        table.add(work, name, "ms", median(mine), median(theirs), limit, **more)


def add_limit(table, work, runs, limit, of=1, bar=1.0, **more):
    """A row against a limit in milliseconds for each of the `of` things that a step makes."""
    ours = median(runs) / of
    more["processor_ms"] = median(runs, "processor_seconds") / of
    table.add(work, f"at most {limit:.3g} ms", "ms", ours, limit, bar, **more)
