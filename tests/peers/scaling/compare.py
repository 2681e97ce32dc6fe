"""A 2-bit training step on one thread against two: by batch size and by width of ResNet-20, with a figure."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "training"))
from table import Table, call  # noqa: E402

THREADS = (1, 2)


def merged(rounds):
    """One run whose seconds are medians over the rounds."""
    run = json.loads(json.dumps(rounds[0]))
    for part in ("batches", "widths"):
        for index, row in enumerate(run[part]):
            row["seconds"] = statistics.median(r[part][index]["seconds"] for r in rounds)
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="where the rows go")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="of each size in a round")
    parser.add_argument("--rebit", required=True, help="the program bench_peers")
    parser.add_argument("--svg", required=True, help="where the figure goes")
    options = parser.parse_args()
    # Rounds alternate, so that a slow moment of the machine meets both.
    rounds = [[call(options.rebit, "scaling", options.steps, threads=n) for n in THREADS] for _ in range(options.rounds)]
    runs = [merged(list(of_one)) for of_one in zip(*rounds)]
    table = Table(options.json)
    one, two = runs
    for part in ("batches", "widths"):
        for a, b in zip(one[part], two[part]):
            work = f"2-bit ResNet-20 step, batch {a['batch']}, width {a['width']}"
            efficiency = a["seconds"] / b["seconds"] / 2
            table.add(work, "one thread", "ms", 1e3 * b["seconds"], 1e3 * a["seconds"], None, efficiency=efficiency)
            print(f"{'':<44}efficiency of two threads {100 * efficiency:.0f} %")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(runs, file)
        file.flush()
        subprocess.run([options.rebit, "draw-scaling", file.name, options.svg], check=True, stdout=subprocess.DEVNULL)
    print(f"figure: {options.svg}")


if __name__ == "__main__":
    main()
