"""Weight gradients of ResNet-20 by share of frozen weights, and an LTS run against one that freezes nothing."""

import argparse
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "training"))
from table import Table, call  # noqa: E402

# The shares that `bench_peers masked` measures.
SHARES = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.95, 1.0]
BARS = dict.fromkeys(SHARES, 1.03) | {0.8: 0.6, 0.95: 0.3, 1.0: 0.02}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="where the rows go")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a round for each kind of layer")
    parser.add_argument("--epochs", type=int, default=10, help="of the runs compared end to end")
    parser.add_argument("--steps", type=int, default=10, help="of an epoch of these runs")
    parser.add_argument("--only", default="", help="layers or runs")
    parser.add_argument("--rebit", required=True, help="the program bench_peers")
    options = parser.parse_args()
    table = Table(options.json)
    if options.only in ("", "layers"):
        rounds = [call(options.rebit, "masked", options.seconds) for _ in range(options.rounds)]
        for index, (share, bar) in enumerate(BARS.items()):
            work = f"weight gradients of ResNet-20, {100 * share:.0f} % frozen"
            pairs = []
            for layers in zip(*(run["layers"] for run in rounds)):
                times = layers[0]["times"]
                ours = statistics.median(layer["frozen"][index] for layer in layers)
                dense = statistics.median(layer["dense"] for layer in layers)
                pairs.append((layers[0]["name"], 1e3 * times * ours, 1e3 * times * dense))
            parts = {name: ours / dense for name, ours, dense in pairs}
            ours, dense = (sum(pair[k] for pair in pairs) for k in (1, 2))
            table.add(work, "dense", "ms", ours, dense, bar, layers=parts)
    if options.only in ("", "runs"):
        rounds = []
        for index in range(options.rounds):
            # Either goes first in turn.
            rules = ["baseline", "freeze"][:: -1 if index % 2 else 1]
            rounds.append({rule: call(options.rebit, "lts", rule, options.epochs, options.steps) for rule in rules})

        def median(rule, part):
            return statistics.median(r[rule][part] for r in rounds)
        work = f"LTS run, linear, 20 % warm-up, {options.epochs} epochs"
        for part, bar in (("seconds", 0.9), ("backward_seconds", None), ("weight_grad_seconds", None)):
            name = work if bar else part.replace("_", " ")
            frozen = {"updates_eliminated": rounds[0]["freeze"]["updates_eliminated"]}
            table.add(name, "no freezing", "s", median("freeze", part), median("baseline", part), bar, **frozen)


if __name__ == "__main__":
    main()
