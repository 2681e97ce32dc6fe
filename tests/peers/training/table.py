"""The rows of a comparison, and how the programs that fill them are called."""

import json
import os
import subprocess
import sys

THREADS = 2


def call(*command):
    environment = dict(os.environ, OMP_NUM_THREADS=str(THREADS), RAYON_NUM_THREADS=str(THREADS), REBIT_THREADS=str(THREADS))
    done = subprocess.run([str(c) for c in command], env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


class Table:
    def __init__(self):
        self.rows = []
        print(f"{'work':<44}{'peer':<24}{'ours':>9}{'theirs':>10}    {'ratio':>7}    bar")

    def add(self, work, peer, unit, ours, theirs, bar, **more):
        ratio = ours / theirs
        row = {"work": work, "peer": peer, "unit": unit, "ours": ours, "theirs": theirs, "ratio": ratio, "bar": bar}
        row["holds"] = None if bar is None else ratio <= bar
        self.rows.append(row | more)
        verdict = "" if bar is None else f"{bar:5.2f}  {'holds' if ratio <= bar else 'MISSED'}"
        print(f"{work:<44}{peer:<24}{ours:>9.2f}{theirs:>10.2f} {unit:<3}{ratio:>7.3f}  {verdict}", flush=True)

    def write(self, path):
        if path:
            with open(path + ".part", "w") as file:
                json.dump(self.rows, file, indent=1)
            os.replace(path + ".part", path)
