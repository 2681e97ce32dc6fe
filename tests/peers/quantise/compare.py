"""Post-training quantisation and integer networks of ResNet-20 beside onnxruntime and AIMET, on two threads.

Both sides start from the same folded network, the same 512 calibration images and the same 10,000 test images. Rounds
alternate between the sides, so that a slow moment of the machine meets both; a time is the median of all.
"""

import argparse
import os
import statistics
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "training"))
from table import THREADS, Failed, Table, call  # noqa: E402

PEER = "onnxruntime"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="where the rows go")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="comma-separated: calibrate, run, sizes, sensitivity, adaround")
    parser.add_argument("--onnx", required=True, help="a Python interpreter that has onnxruntime")
    parser.add_argument("--aimet", help="a Python interpreter that has aimet_torch")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds of calibration images rounding is learned on")
    parser.add_argument("--steps", type=int, default=1000, help="steps of a layer that AIMET learns; its own default is 15,000")
    parser.add_argument("--rebit", required=True, help="the program bench_quantise")
    parser.add_argument("--exchange", required=True, help="a folder for networks and images")
    return parser.parse_args()


class Sides:
    def __init__(self, options):
        self.options = options

    def rebit(self, what, *more, **how):
        return call(self.options.rebit, what, self.options.exchange, *more, **how)

    def aimet(self, what, *more, **how):
        if not self.options.aimet:
            raise Failed("not installed: --aimet names no interpreter")
        peer = os.path.join(here, "aimet_peer.py")
        return call(self.options.aimet, peer, THREADS, what, self.options.exchange, *more, **how)

    def onnx(self, what, *more):
        peer = os.path.join(here, "onnx_peer.py")
        return call(self.options.onnx, peer, THREADS, what, self.options.exchange, *more)


def calibrate(sides, table, _prepared):
    ours, theirs = sides.rebit("calibrate"), sides.onnx("calibrate")
    peer = f"{PEER} {theirs['version']} quantize_static"
    for recipe in ours["recipes"]:
        name, seconds = recipe["recipe"], statistics.median(recipe["seconds"])
        table.add(f"post-training, 8 bits, 512 images ({name})", peer, "s", seconds, statistics.median(theirs["seconds"]), 0.5)
        # At least its own less 0.1 points, as a ratio that must not be above 1.
        table.add(f"top-1 ({name}): theirs less 0.1, by ours", peer, "%", theirs["top1"]["peer"] - 0.1, recipe["top1"], 1.0,
                  ours_top1=recipe["top1"], theirs_top1=theirs["top1"]["peer"], float_top1=ours["float_top1"])
        print(f"  {name}: integer top-1 {recipe['integer_top1']:.2f}, fake-quantised {recipe['top1']:.2f}, equal answers "
              f"{recipe['equal']:.2f} %; full precision {ours['float_top1']:.2f}", flush=True)
    print("  onnxruntime's top-1 on files: " + ", ".join(f"{k} {v:.2f}" for k, v in theirs["top1"].items()), flush=True)


def run(sides, table, _prepared):
    for batch, steps, limit in ((128, 10, (0.4, 0.7)), (1, 200, (0.6, 0.7))):
        runs = {"rebit": [], "peer": [], "w7a8": [], "w8a8": [], "float": []}
        for _ in range(sides.options.rounds):
            runs["rebit"].append(sides.rebit("run", batch, steps))
            for name in ("peer", "w7a8", "w8a8", "float"):
                runs[name].append(sides.onnx("run", name, batch, steps))
        def median(name, of="seconds"):
            return 1e3 * statistics.median(s for run in runs[name] for s in run[of][1:])
        one = runs["rebit"][0]
        print(f"  kernel {one['kernel']}; VNNI {one['vnni']}, AMX {one['amx']}", flush=True)
        own = limit[0] if one["vnni"] else limit[1]
        work = f"integer ResNet-20, batch {batch}"
        ours = median("rebit")
        table.add(work, "own float predict", "ms", ours, median("rebit", "float_seconds"), own)
        table.add(work, "own float predict, folded", "ms", ours, median("rebit", "folded_seconds"), None)
        for name, peer, bar in (("w7a8", "onnxruntime, our file W7A8", 1.0), ("w8a8", "onnxruntime, our file W8A8", None),
                                ("peer", "onnxruntime, quantize_static", 1.0), ("float", "onnxruntime, float", None)):
            table.add(work, peer, "ms", ours, median(name), bar)


def sizes(_sides, table, prepared):
    for size in prepared["sizes"]:
        limit = 1.05 * size["least"] + 10_000
        table.add(f"file at {size['bits']} bits", "1.05 x levels + 10 KB", "KB", size["bytes"] / 1e3, limit / 1e3, 1.0)


def sensitivity(sides, table, _prepared):
    found = sides.rebit("sensitivity")
    table.add("sensitivities at 3 bits", "60 s", "s", found["seconds"], 60.0, 1.0)
    # At least 0.9, as a ratio that must not be above 1.
    table.add("Spearman 0.9, by ours", "rise of the cross entropy", "", 0.9, found["spearman"], 1.0, spearman=found["spearman"])


def adaround(sides, table, prepared):
    steps = sides.options.steps
    for bits in (4, 3):
        ours, theirs = [], []
        for seed in prepared["seeds"][: sides.options.seeds]:
            ours.append(sides.rebit("adaround", bits, seed, patience=1800))
            theirs.append(sides.aimet("adaround", bits, seed, steps, patience=3600))
            print(f"  W{bits}A8, seed {seed}: {ours[-1]} beside {theirs[-1]}", flush=True)

        def mean(side, of):
            return statistics.mean(run[of] for run in side)

        work, peer = f"AdaRound W{bits}A8", f"aimet-torch {theirs[0]['version']}, {steps} steps"
        table.add(f"{work}: seconds", peer, "s", mean(ours, "seconds"), mean(theirs, "seconds"), 0.7)
        # At least its own less 0.2 points, as a ratio that must not be above 1.
        table.add(f"{work}: theirs less 0.2, by ours", peer, "%", mean(theirs, "top1") - 0.2, mean(ours, "top1"), 1.0,
                  ours_top1=mean(ours, "top1"), theirs_top1=mean(theirs, "top1"), float_top1=mean(ours, "float_top1"),
                  ours_nearest=mean(ours, "nearest"), theirs_nearest=mean(theirs, "nearest"))


def main():
    options = arguments()
    sides, table = Sides(options), Table(options.json)
    prepared = sides.rebit("prepare")
    works = {"calibrate": calibrate, "run": run, "sizes": sizes, "sensitivity": sensitivity, "adaround": adaround}
    # AIMET takes an hour and is asked for by name.
    wanted = set(options.only.split(",")) - {""} or set(works) - {"adaround"}
    for name, work in works.items():
        if name in wanted:
            try:
                work(sides, table, prepared)
            except Failed as why:
                table.fail(name, "AIMET" if name == "adaround" else PEER, None, why)


if __name__ == "__main__":
    main()
