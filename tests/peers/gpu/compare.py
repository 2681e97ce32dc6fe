"""Every kernel beside the GPU's memory and arithmetic, which are what it could reach."""

import argparse
import json
import os
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="where the rows go")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each kernel")
    parser.add_argument("--rebit", required=True, help="the program bench_gpu")
    options = parser.parse_args()
    done = subprocess.run([options.rebit, str(options.seconds)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return done.returncode
    if not done.stdout.strip():
        # The program has said why.
        return 0
    report = json.loads(done.stdout)
    rows = report.pop("rows")
    if report["emulated"]:
        print("An emulated GPU: the sizes are small, the figures are the emulator's and say nothing about any GPU.")
    else:
        memory, unfused, fused = (report[k] for k in ("gigabytes_per_second", "gigaflops", "gigaflops_fused"))
        print(f"{report['gpu']} ({report['capability']}): {memory:.0f} GB/s copied, {unfused:.0f} GFLOP/s unfused, {fused:.0f} fused")
    print(f"{'work':<76}{'limit':<12}{'ms':>10}{'rate':>16}{'of the limit':>14}")
    for row in rows:
        unit = "GB/s" if row["limit"] == "memory" else "GFLOP/s"
        rate = row["bytes_or_flops"] / row["seconds"] / 1e9
        share = "" if report["emulated"] else f"{100 * row['share_of_limit']:.0f} %"
        print(f"{row['work']:<76}{row['limit']:<12}{1e3 * row['seconds']:>10.3f}{rate:>9.1f} {unit:<7}{share:>13}")
    if options.json:
        with open(options.json + ".part", "w") as file:
            json.dump([row | report for row in rows], file, indent=1)
            file.write("\n")
        os.replace(options.json + ".part", options.json)
    return 0


sys.exit(main())
