"""Measures both kernels side by side, prints a table and writes the rows; bars are shown, not asserted.

Parts: cells, start and cached stand beside the stock kernel, displays beside ipykernel; limits, breakdown and own are of
our kernel alone; before, which needs --before, stands beside an earlier build of it.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import alone
import cells
import large
import own
from kernel import Kernel, stock_environment

PEER = "evcxr_jupyter 0.22.0"
PARTS = ("limits", "breakdown", "own", "displays", "cells", "cached", "start")
# Those that need the peer.
BESIDE = {"cells", "cached", "start"}


class Row:
    """One line of the table: samples of both sides, each a (wall seconds, CPU seconds) or a megabyte figure."""

    def __init__(self, work, bar, unit="s"):
        self.work, self.bar, self.unit = work, bar, unit
        self.ours, self.theirs = [], []

    def finished(self):
        def middle(samples, i):
            return statistics.median(s[i] if isinstance(s, tuple) else s for s in samples)

        ours, theirs = middle(self.ours, 0), middle(self.theirs, 0)
        row = {
            "work": self.work,
            "peer": PEER,
            "unit": self.unit,
            "ours": round(ours, 4),
            "theirs": round(theirs, 4),
            "ratio": round(ours / theirs, 3),
            "bar": self.bar,
            "holds": ours / theirs <= self.bar,
            "samples": [len(self.ours), len(self.theirs)],
        }
        if self.unit == "s":
            row["ours_cpu"] = round(middle(self.ours, 1), 4)
            row["theirs_cpu"] = round(middle(self.theirs, 1), 4)
            row["ratio_cpu"] = round(row["ours_cpu"] / row["theirs_cpu"], 3)
        return row


class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = tempfile.mkdtemp(prefix="latency-")
        self.samples = 3 if options.quick else options.samples
        self.stock_env = stock_environment(self.folder)

    def ours(self, env=None):
        return Kernel([self.options.ours, "kernel", "{connection_file}"], env)

    def theirs(self):
        return Kernel([self.options.theirs, "--control_file", "{connection_file}"], self.stock_env)

    def fetch(self):
        """What the peer compiles is on the machine before anything is timed."""
        crate = os.path.join(self.folder, "fetch")
        os.makedirs(os.path.join(crate, "src"))
        open(os.path.join(crate, "src/lib.rs"), "w").close()
        with open(os.path.join(crate, "Cargo.toml"), "w") as file:
            file.write('[package]\nname = "fetch"\nedition = "2024"\n[dependencies]\ndfdx = "0.13"\n[workspace]\n')
        subprocess.run(["cargo", "fetch", "--quiet"], cwd=crate, check=True)

    def prepare_ours(self):
        """Our library is compiled once, when the kernel is installed."""
        kernel = self.ours()
        kernel.run(cells.ADD)
        kernel.close()

    def limits(self):
        """Delays that have a limit in seconds instead of a peer."""
        rows = [told(alone.kernel_info(self.ours, self.samples))]
        kernel = self.ours()
        try:
            kernel.run(cells.ADD)
            rows.append(told(alone.partial_lines(kernel, self.samples)))
            rows.append(told(alone.interrupts(kernel, self.samples)))
        finally:
            kernel.close()
        return rows

    def breakdown(self):
        return alone.breakdown(self.ours, self.folder, self.samples)

    def own(self):
        rows = [told(own.slowest_cell(self.ours, self.options.root, self.folder, min(self.samples, 5)))]
        kernel = self.ours()
        try:
            kernel.run(cells.ADD)
            rows += [told(row) for row in own.own_loop(kernel, self.samples)]
        finally:
            kernel.close()
        return rows

    def before(self):
        kernels = [self.ours(), Kernel([self.options.before, "kernel", "{connection_file}"])]
        try:
            for kernel in kernels:
                kernel.run(cells.ADD)
            return [told(row) for row in own.against(*kernels, self.samples)]
        finally:
            for kernel in kernels:
                kernel.close()

    def displays(self):
        return [told(row) for row in large.displays(self.ours, self.samples)]

    def cells(self):
        """Both kernels live with their library loaded; samples alternate between them."""
        ours, theirs = self.ours(), self.theirs()
        rows = []
        try:
            theirs.run(cells.LOAD)
            for work, bar, our_code, their_code, expect in (
                ("1 + 1, library loaded", 0.7, cells.ADD, cells.ADD, "2"),
                ("make a tensor, multiply, print", 0.6, cells.TENSOR_OURS, cells.TENSOR_THEIRS, "product"),
                ("two-layer network, optimiser, 10 steps", 0.25, cells.TRAIN_OURS, cells.TRAIN_THEIRS, "step 9"),
                ("20,000 printed lines", 0.2, cells.LINES, cells.LINES, "line 19999"),
            ):
                row = Row(work, bar)
                # Both do the work once before it is timed.
                ours.run(our_code, expect)
                theirs.run(their_code, expect)
                for _ in range(self.samples):
                    row.ours.append(ours.run(our_code, expect))
                    row.theirs.append(theirs.run(their_code, expect))
                rows.append(self.said(row))
                if work.startswith("make"):
                    memory = Row("memory after the library cell", 0.8, "MB")
                    memory.ours.append(ours.memory())
                    memory.theirs.append(theirs.memory())
                    rows.append(self.said(memory))
        finally:
            ours.close()
            theirs.close()
        return rows

    def first_cell(self, work, bar, code, samples):
        row = Row(work, bar)
        for i in range(self.samples):
            kernel = self.ours()
            row.ours.append(kernel.run(cells.FIRST_OURS, "value 4096", since=kernel.started))
            kernel.close()
            if i < samples:
                kernel = self.theirs()
                row.theirs.append(kernel.run(code, "value 4096", since=kernel.started))
                kernel.close()
        return self.said(row)

    def start(self):
        """Nothing is remembered from session to session: each of the peer's compiles dfdx, so few are taken."""
        code = cells.LOAD + cells.FIRST_THEIRS
        return [self.first_cell("process start to the first library value, no cache", 0.25, code, 3)]

    def cached(self):
        code = cells.CACHE + cells.LOAD + cells.FIRST_THEIRS
        kernel = self.theirs()
        kernel.run(code)
        kernel.close()
        work = "process start to the first library value, the peer's cache filled"
        return [self.first_cell(work, 0.5, code, self.samples)]

    def said(self, row):
        return told(row.finished())


def told(done):
    """Prints a row; returns it."""
    verdict = "holds" if done["holds"] else "FAILS"
    if done["peer"] is None:
        numbers = f"{done['ours']:9.3f} {done['unit']} (at most {done['bar']}), worst {done['worst']:.3f}"
    else:
        cpu = f"CPU {done['ours_cpu']:.2f} / {done['theirs_cpu']:.2f}" if "ours_cpu" in done else ""
        numbers = (
            f"{done['ours']:9.3f} / {done['theirs']:8.3f} {done['unit']:3}"
            f" {done['ratio']:6.3f} x (at most {done['bar']})  {cpu}"
        )
    print(f"{verdict:6}{done['work']:66}{numbers}", flush=True)
    return done


def write(path, rows):
    """Writes the rows of a part; those of other parts stay."""
    if os.path.exists(path):
        with open(path) as file:
            old = json.load(file)
        measured = {row["work"] for row in rows}
        rows = [row for row in old if row["work"] not in measured] + rows
    with open(path + ".new", "w") as file:
        json.dump(rows, file, indent=1)
        file.write("\n")
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(prog="tests/peers/run latency", description=__doc__)
    for name in ("--ours", "--theirs", "--root"):
        parser.add_argument(name, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--json", metavar="FILE", help="where the rows go; earlier ones of other parts stay")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--before", metavar="REBIT", help="a program built earlier, for the part `before`")
    parser.add_argument("--samples", type=int, default=10, help="timings of each kind (10)")
    parser.add_argument("--quick", action="store_true", help="three samples: a look, not a measurement")
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := set(parts) - {*PARTS, "before"}:
        parser.error(f"no part {', '.join(unknown)}: choose from {', '.join(PARTS)}, before")
    if "before" in parts and not options.before:
        parser.error("the part `before` needs --before REBIT")

    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True).stdout.strip()
    sources = os.path.isdir(f"{sysroot}/lib/rustlib/src/rust/library")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, rust-src {'present' if sources else 'absent'}")
    bench = Bench(options)
    failed = []
    try:
        if set(parts) & BESIDE:
            bench.fetch()
        bench.prepare_ours()
        for part in parts:
            print(f"measuring {part} ...", file=sys.stderr, flush=True)
            try:
                rows = getattr(bench, part)()
            # One part that fails (a peer that does not build) takes no other with it.
            except (SystemExit, OSError, subprocess.CalledProcessError) as error:
                print(f"{part} could not be measured: {error}", file=sys.stderr, flush=True)
                failed.append(part)
                continue
            if options.json:
                write(options.json, rows)
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
