"""The rows of a comparison, and how the programs that fill them are called."""

import json
import os
import subprocess

THREADS = 2
# No single program takes a minute on an idle machine; one that hangs must not take the others' rows with it.
PATIENCE = 300


class Failed(Exception):
    """A program that ended badly or not at all."""


def call(*command, threads=THREADS, patience=PATIENCE):
    """The JSON object on the last line of what a program prints, which runs on `threads` threads."""
    names = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "REBIT_THREADS")
    environment = dict(os.environ, **{name: str(threads) for name in names})
    name = " ".join(os.path.basename(str(c)) for c in command)
    try:
        done = subprocess.run([str(c) for c in command], env=environment, stdout=subprocess.PIPE, text=True, timeout=patience)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{name} took more than {patience} s") from late
    except OSError as error:
        raise Failed(f"{name} does not start: {error}") from error
    if done.returncode != 0:
        raise Failed(f"{name} ended with status {done.returncode}")
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise Failed(f"{name} printed no JSON: {error}") from error


class Table:
    """Rows are printed and written as they come."""

    def __init__(self, path=None):
        self.rows = []
        self.path = path
        print(f"{'work':<44} {'peer':<24}{'ours':>9}{'theirs':>10}    {'ratio':>7}    bar")

    def add(self, work, peer, unit, ours, theirs, bar, **more):
        ratio = ours / theirs
        row = {"work": work, "peer": peer, "unit": unit, "ours": ours, "theirs": theirs, "ratio": ratio, "bar": bar}
        row["holds"] = None if bar is None else ratio <= bar
        self.rows.append(row | more)
        verdict = "" if bar is None else f"{bar:5.2f}  {'holds' if ratio <= bar else 'MISSED'}"
        print(f"{work:<44} {peer:<24}{ours:>9.2f}{theirs:>10.2f} {unit:<3}{ratio:>7.3f}  {verdict}", flush=True)

        self.write()

    def fail(self, work, peer, bar, why):
        """A row without figures: it does not hold."""
        row = {"work": work, "peer": peer, "ours": None, "theirs": None, "ratio": None, "bar": bar, "holds": False}
        self.rows.append(row | {"failed": str(why)})
        print(f"{work:<44} {peer:<24}{why}", flush=True)
        self.write()

    def write(self):
        if self.path:
            with open(self.path + ".part", "w") as file:
                json.dump(self.rows, file, indent=1)
                file.write("\n")
            os.replace(self.path + ".part", self.path)
