#!/usr/bin/env python3
"""Runs the kit that tests/gpu/pack built, on a machine with an NVIDIA GPU; Python alone is needed there.

    there.py KIT OUT [--budget SECONDS] [--only PART,PART] [--tests NAME,NAME] [--emulated LIBRARIES]

Parts run in order of their worth, each within its own limit and all within the budget. OUT/report.json is written anew
after every part, OUT/log.txt holds every command and what it said, and the last lines printed are a table. The exit
status is 1 when a part failed.

--only names parts (see PARTS at the end). --tests keeps only tests whose name contains one of the words. --emulated
takes the driver from a folder that holds the emulated one; parts that need a real GPU are then left out.
"""

import argparse
import concurrent.futures
import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARIES = ("libcuda.so.1", "libcublas.so.13", "libcublasLt.so.13", "libnvrtc.so.13")
# Where CUDA's libraries lie: the driver's, a toolkit's, and those that Python packages bring along.
FOLDERS = (
    "/usr/local/nvidia/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/local/cuda*/lib64",
    "/usr/local/cuda*/targets/x86_64-linux/lib",
    f"{sys.prefix}/lib/python3*/site-packages/nvidia/*/lib",
    "/opt/torch/.venv/lib/python3*/site-packages/nvidia/*/lib",
)
# Lines of a failed program that say why.
TELLING = re.compile(r"panicked at|kernel rebit|CUDA|on the GPU|on the CPU|========= (?!COMP)|error while loading|assertion")


class Kit:
    """The programs, the environment they run in, the time that is left, and the files that tell of it."""

    def __init__(self, options):
        self.options = options
        self.start = time.monotonic()
        self.deadline = self.start + options.budget
        options.out.mkdir(parents=True, exist_ok=True)
        self.log = open(options.out / "log.txt", "w")
        self.writing = threading.Lock()
        self.work = Path(tempfile.mkdtemp(prefix="rebit-gpu-"))
        self.programs = {p.name: str(p.resolve()) for p in (options.kit / "bin").iterdir()}
        self.about = json.loads((options.kit / "kit.json").read_text())
        self.environment = dict(
            os.environ,
            REBIT_CPU_RESULTS=str((options.kit / "data/networks.json").resolve()),
            RUST_BACKTRACE="1",
        )
        self.workers = 2 if options.emulated else 10

    def left(self):
        return self.deadline - time.monotonic()

    def run(self, command, limit, environment=None, **more):
        """Exit status, output and seconds; 124 for a command that was stopped at its limit, with all its children."""
        environment = (self.environment if environment is None else environment) | more
        limit = max(1.0, min(limit, self.left()))
        start = time.monotonic()
        try:
            child = subprocess.Popen(
                [str(word) for word in command],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.work,
                start_new_session=True,
            )
        except OSError as error:
            status, output = 127, str(error)
        else:
            try:
                output, status = child.communicate(timeout=limit)[0], child.returncode
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                output, status = child.communicate()[0], 124
            output = output.decode(errors="replace")
        seconds = time.monotonic() - start
        with self.writing:
            said = " ".join(f"{k}={v}" for k, v in more.items())
            self.log.write(f"\n$ {said} {' '.join(map(str, command))}\n[status {status}, {seconds:.1f} s]\n{output[-60_000:]}\n")
            self.log.flush()
        return status, output, seconds

    def find_libraries(self):
        """Puts the folders of CUDA's libraries on the programs' search path; the kit's stubs come last."""
        if self.options.emulated:
            self.environment["LD_LIBRARY_PATH"] = str(self.options.emulated.resolve())
            return {}
        folders = [folder for pattern in FOLDERS for folder in sorted(glob.glob(pattern))]
        found = {}
        for name in LIBRARIES:
            found[name] = next((f for f in folders if os.path.exists(f"{f}/{name}")), "not found")
        path = list(dict.fromkeys(f for f in found.values() if f != "not found"))
        path += filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
        path.append(str((self.options.kit / "stubs").resolve()))
        self.environment["LD_LIBRARY_PATH"] = ":".join(path)
        # dfdx has folders of headers of the machine that built it compiled in, for what it compiles at run time.
        here = {"cuda": next(iter(sorted(glob.glob("/usr/local/cuda*/include"))), None), "dfdx": self.options.kit / "headers"}
        for name, folder in self.about["headers"].items():
            folder = Path(folder)
            if here[name] and not folder.exists():
                try:
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    folder.symlink_to(Path(here[name]).resolve())
                except OSError as error:
                    found[f"headers of {name}"] = str(error)
        return found

    def tests(self, program, keep=lambda name: True):
        status, output, _ = self.run([self.programs[program], "--list"], 60)
        if status:
            raise RuntimeError(f"{program} --list: {output[-300:]}")
        names = [line.removesuffix(": test") for line in output.splitlines() if line.endswith(": test")]
        words = [w for w in self.options.tests.split(",") if w]
        return [n for n in names if keep(n) and (not words or any(w in n for w in words))]

    def alone(self, program, names, limit, wrap=(), again=True, workers=None):
        """Each test in a process of its own: an address error spoils the context of the whole process.

        One that fails runs once more with every launch waited for, so that the kernel is named.
        """
        end = time.monotonic() + limit

        def one(name):
            command = [*wrap, self.programs[program], "--exact", name, "--test-threads=1"]
            if end - time.monotonic() < 1:
                return {"test": name, "passed": None, "seconds": 0.0}
            status, output, seconds = self.run(command, end - time.monotonic())
            row = {"test": name, "passed": status == 0, "seconds": round(seconds, 1)}
            if status:
                row["why"] = why(status, output)
                if again and end - time.monotonic() > 5:
                    more = dict(REBIT_CUDA_SYNC="1", CUDA_LAUNCH_BLOCKING="1")
                    status, output, _ = self.run(command, end - time.monotonic(), **more)
                    row["waiting_for_each_launch"] = why(status, output)
            return row

        with concurrent.futures.ThreadPoolExecutor(workers or self.workers) as pool:
            rows = list(pool.map(one, names))
        bad = [r for r in rows if r["passed"] is False]
        skipped = [r["test"] for r in rows if r["passed"] is None]
        slowest = sorted(rows, key=lambda r: -r["seconds"])[:3]
        result = {"right": len(rows) - len(bad) - len(skipped), "wrong": bad}
        if skipped:
            result["no_time_for"] = skipped
        result["slowest"] = {r["test"]: r["seconds"] for r in slowest}
        return bool(rows) and not bad and not skipped, result


def why(status, output):
    if status == 0:
        return "passed"
    lines = output.splitlines()
    found = []
    for number, line in enumerate(lines):
        if TELLING.search(line) and "RUST_BACKTRACE" not in line:
            # What a panic says stands in the line after its place.
            found += lines[number : number + 2] if "panicked at" in line else [line]
    return f"status {status}: " + " | ".join(dict.fromkeys(l.strip() for l in found or lines[-4:]))[:900]


def machine(kit):
    """Card, driver, libraries; whether a program finds all that it is linked to."""
    found = kit.find_libraries()
    about = {"commit": kit.about["commit"], "libraries": found, "cores": os.cpu_count()}
    if not kit.options.emulated:
        query = "name,driver_version,memory.total,clocks.max.sm,clocks.max.memory,temperature.gpu"
        status, output, _ = kit.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], 30)
        about["gpu"] = output.strip()
        if status:
            return False, about | {"said": "there is no GPU here: nvidia-smi says so, or is missing"}
    _, output, _ = kit.run(["ldd", kit.programs["cuda"]], 30)
    missing = [line.strip() for line in output.splitlines() if "not found" in line]
    return not missing, about | ({"missing": missing} if missing else {})


def first_kernel(kit):
    """One that needs nothing of another, so that whatever is wrong with all of them shows here."""
    return kit.alone("cuda", kit.tests("cuda", lambda name: name == "elementwise::activations_and_sums"), 60)


def ops(kit):
    """Every op against the CPU."""
    # Those are for a real GPU: an emulated one only checks their launches, in a build of its own (tests/cuda/run).
    large = kit.options.emulated and "launches_of"
    return kit.alone("cuda", kit.tests("cuda", lambda name: not large or large not in name), 150)


def distance(one, other):
    """The largest difference of two files of results, relative to the larger number or 1, and where it is."""
    worst = (0.0, "nowhere")
    for (name, left), (_, right) in zip(json.loads(one.read_text()), json.loads(other.read_text())):
        if len(left) != len(right):
            return {"largest": "lengths differ", "at": name}
        for at, (a, b) in enumerate(zip(left, right)):
            # NaN is written as null.
            away = float("inf") if None in (a, b) else abs(a - b) / max(abs(a), abs(b), 1.0)
            worst = max(worst, (away, f"{name}[{at}]"))
    return {"largest": worst[0], "at": worst[1]}


def compute_networks(kit, file):
    command = [kit.programs["networks"], "--test-threads=1"]
    return kit.run(command, 120, REBIT_GPU_RESULTS=str(file.resolve()))


def networks(kit):
    """LTS and DDTB networks trained a few steps, against the CPU and against the emulated GPU."""
    file = kit.options.out / "networks.json"
    file.unlink(missing_ok=True)
    status, output, _ = compute_networks(kit, file)
    report = {}
    for name in ("networks", "networks_emulated"):
        other = kit.options.kit / f"data/{name}.json"
        if file.exists() and other.exists():
            report[f"away_from_{'cpu' if name == 'networks' else 'emulator'}"] = distance(file, other)
    return status == 0, report | ({"why": why(status, output)} if status else {})


def twice(kit):
    """Equal bits in three runs: sums are made in a fixed order."""
    files = [kit.work / f"networks-{k}.json" for k in range(3)]
    for file in files:
        compute_networks(kit, file)
    contents = [f.read_bytes() if f.exists() else None for f in files]
    return None not in contents and len(set(contents)) == 1, {}


def cells(kit):
    """What a notebook's cells do."""
    if "cells" not in kit.programs:
        return None, {"said": "not in this kit"}
    return kit.alone("cells", kit.tests("cells"), 90)


def library(kit):
    """The library's own tests of what touches the GPU; in one process first, and each alone if that fails."""
    modules = ("buffer::", "gpu::", "nn::", "ops::", "papers::ddtb::", "quant::", "tensors::")
    # The kit has no sources, which one test reads.
    skipped = "ops::nan::the_table"
    names = kit.tests("lib", lambda name: name.startswith(modules) and not name.startswith(skipped))
    if not kit.options.tests:
        command = [kit.programs["lib"], f"--test-threads={kit.workers}", "--skip", skipped, *modules]
        status, output, _ = kit.run(command, 75)
        if status == 0:
            return True, {"right": len(names)}
        failed = re.findall(r"^test (\S+) \.\.\. FAILED", output, re.M)
        whole = {"in_one_process": why(status, output)}
        # One that ended the whole process is not among them.
        names = failed if "test result" in output else names
    else:
        whole = {}
    passed, report = kit.alone("lib", names, 110, again=True)
    return passed and not whole, whole | report


def kernels(kit):
    """Every kernel against the memory's rate and the cores'."""
    status, output, _ = kit.run([kit.programs["bench_gpu"], "0.001" if kit.options.emulated else "0.05"], 90)
    if status:
        return False, {"why": why(status, output)}
    report = json.loads(output[output.index("{") :])
    (kit.options.out / "kernels.json").write_text(json.dumps(report, indent=1))
    limits = {k: report[k] for k in ("gigabytes_per_second", "gigaflops")}
    lines = []
    for row in report["rows"]:
        share = row["share_of_limit"]
        lines.append(f"{row['work']}: {1e3 * row['seconds']:.4f} ms" + (f", {100 * share:.0f} % of {row['limit']}" if share else ""))
    return True, limits | {"rows": lines}


def steps(kit):
    """Training steps of ResNet-20 and EDSR; each network in a process of its own."""
    steps, report, passed = ("1" if kit.options.emulated else "30"), {}, True
    for network in ("resnet", "edsr"):
        status, output, _ = kit.run([kit.programs["bench_step"], steps, network], 60)
        report[network] = why(status, output) if status else output.splitlines()
        passed &= status == 0
    return passed, report


def torch(kit):
    """PyTorch on the same card, in its own environment."""
    out = kit.options.out / "torch.json"
    command = [sys.executable, HERE / "bench_torch.py", out.resolve(), "0.1"]
    status, output, _ = kit.run(command, 130, environment=dict(os.environ))
    rows = json.loads(out.read_text())["rows"] if out.exists() else []
    report = {"rows": [f"{r['work']}: {1e3 * r['seconds']:.4f} ms" + (f", {r['rate']}" if "rate" in r else "") for r in rows]}
    return status == 0, report | ({"why": why(status, output)} if status else {})


def profile(kit):
    """Which kernels a step's time goes to: Nsight Compute's time of each launch, one launch after the other."""
    report, everything = {}, {}
    # Some two steps each, of those that bench_step makes one after the other: at full precision, at 2 bits, of EDSR.
    for name, network, skip, launches in (("resnet", "resnet", 800, 700), ("resnet, 2 bits", "resnet", 4200, 900), ("edsr", "edsr", 800, 800)):
        command = ["ncu", "--clock-control", "none", "--metrics", "gpu__time_duration.sum", "--csv", "--page", "raw"]
        command += ["--launch-skip", str(skip), "--launch-count", str(launches), "--kill", "yes", kit.programs["bench_step"], "4", network]
        status, output, _ = kit.run(command, 60)
        times = kernel_times(output)
        if not times:
            return False, report | {name: why(status, output)}
        everything[name] = times
        total = sum(t for _, t in times.values())
        top = sorted(times.items(), key=lambda item: -item[1][1])[:8]
        report[name] = [f"{sum(n for n, _ in times.values())} launches, {total / 1e3:.2f} ms"]
        report[name] += [f"{kernel}: {n} launches, {100 * t / total:.0f} %, {t / n:.1f} us each" for kernel, (n, t) in top]
    (kit.options.out / "profile.json").write_text(json.dumps(everything, indent=1))
    return True, report


def kernel_times(output):
    """Launches and microseconds by kernel from ncu's table."""
    import csv

    lines = output.splitlines()
    head = next((k for k, line in enumerate(lines) if line.startswith('"ID"')), None)
    if head is None:
        return {}
    table = csv.DictReader(lines[head:])
    times = {}
    units = {"ns": 1e-3, "nsecond": 1e-3, "us": 1.0, "usecond": 1.0, "ms": 1e3, "msecond": 1e3}
    unit = 1e-3
    for row in table:
        value = row.get("gpu__time_duration.sum") or ""
        if value in units:
            unit = units[value]
        try:
            microseconds = float(value.replace(",", "")) * unit
        except ValueError:
            continue
        name = (row.get("Kernel Name") or "?").split("(")[0]
        count, total = times.get(name, (0, 0.0))
        times[name] = (count + 1, total + microseconds)
    return times


def sanitised(kit, tool, words, limit):
    names = kit.tests("cuda", lambda name: any(w in name for w in words))
    wrap = ("compute-sanitizer", "--tool", tool, "--error-exitcode", "9", "--print-limit", "4")
    return kit.alone("cuda", names, limit, wrap, again=False, workers=12)


def memcheck(kit):
    """Addresses outside a buffer."""
    return sanitised(kit, "memcheck", ("conv::", "norm::", "maps::", "lts::", "elementwise::", "parts::"), 90)


def racecheck(kit):
    """Threads that use the same shared memory without a barrier between them."""
    return sanitised(kit, "racecheck", ("conv::", "norm::", "maps::", "lts::", "parts::"), 100)


# The most valuable first. Those of the second list need a real GPU.
PARTS = [machine, first_kernel, ops, networks, library, cells, kernels, steps, torch, memcheck, racecheck, twice, profile]
ON_HARDWARE = [torch, profile, memcheck, racecheck]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--budget", type=float, default=400, help="seconds for everything")
    parser.add_argument("--only", default="", help="names of parts")
    parser.add_argument("--tests", default="", help="words, one of which a test's name contains")
    parser.add_argument("--emulated", type=Path, help="folder of an emulated driver")
    options = parser.parse_args()
    kit = Kit(options)
    wanted = [p for p in options.only.split(",") if p]
    unknown = set(wanted) - {p.__name__ for p in PARTS}
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    rows = []
    for part in PARTS:
        name = part.__name__
        if wanted and name not in wanted and part is not machine:
            continue
        start = time.monotonic()
        if options.emulated and part in ON_HARDWARE:
            passed, more = None, {"said": "needs a GPU"}
        elif kit.left() < 10:
            passed, more = None, {"said": "no time was left"}
        else:
            try:
                passed, more = part(kit)
            except Exception as error:  # one part must not end the others
                passed, more = False, {"why": repr(error)}
        rows.append({"part": name, "passed": passed, "seconds": round(time.monotonic() - start, 1), **more})
        print(f"{name}: {VERDICT[passed]}, {rows[-1]['seconds']} s", flush=True)
        text = json.dumps({"emulated": bool(options.emulated), "parts": rows}, indent=1)
        part_file = options.out / "report.json.part"
        part_file.write_text(text)
        part_file.replace(options.out / "report.json")
        if passed is False and part in (machine, first_kernel):
            print(f"{name} failed, so nothing else can run: {json.dumps(more)[:2000]}")
            break
    print_table(rows, time.monotonic() - kit.start)
    return any(row["passed"] is False for row in rows)


VERDICT = {True: "passed", False: "FAILED", None: "left out"}


def print_table(rows, seconds):
    print(f"\n{'part':<14}{'':<10}{'seconds':>8}")
    for row in rows:
        print(f"{row['part']:<14}{VERDICT[row['passed']]:<10}{row['seconds']:>8.1f}")
        more = {k: v for k, v in row.items() if k not in ("part", "passed", "seconds")}
        limit = 500 if row["passed"] else 900
        for key, value in more.items():
            if key != "rows":
                print(f"    {key}: {json.dumps(value)[:limit]}")
    print(f"{seconds:.0f} s in all")


if __name__ == "__main__":
    sys.exit(main())
