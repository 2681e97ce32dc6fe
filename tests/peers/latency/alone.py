"""What is measured of our kernel alone: delays with a limit in seconds, and the steps of a cell."""

import json
import os
import statistics
import time

import cells

MILLISECOND = 1e3
# Steps of a cell in their order; the kernel's session/times.rs says what each is.
STEPS = (
    ("client and protocol", lambda line, wall: wall - line["total"]),
    ("reading the cell", lambda line, _: line["steps"].get("read", 0)),
    ("evcxr and its analyser", lambda line, _: line["steps"].get("compile", 0) - compiler(line, "total")),
    ("rustc: start and end of the process", lambda line, _: compiler(line, "total") - inside(line)),
    ("rustc: libraries, types, borrows", lambda line, _: compiler(line, "front")),
    ("rustc: machine code", lambda line, _: compiler(line, "code")),
    ("linker", lambda line, _: compiler(line, "link")),
    ("load and run", lambda line, _: line["steps"].get("run", 0)),
    ("way back", lambda line, _: line["steps"].get("commit", 0) + line["steps"].get("reply", 0)),
)


def compiler(line, what):
    return sum(run[what] for run in line["compilers"])


def inside(line):
    return sum(compiler(line, what) for what in ("front", "code", "link"))


def limit(work, bar, samples):
    """A row without a peer: the median has a limit in seconds."""
    middle = statistics.median(samples)
    return {
        "work": work,
        "peer": None,
        "unit": "s",
        "ours": round(middle, 4),
        "worst": round(max(samples), 4),
        "theirs": None,
        "ratio": None,
        "bar": bar,
        "holds": middle <= bar,
        "samples": [len(samples), 0],
    }


def beside(work, peer, bar, ours, theirs):
    """A row of two lists of seconds."""
    mine, other = statistics.median(ours), statistics.median(theirs)
    return {
        "work": work,
        "peer": peer,
        "unit": "s",
        "ours": round(mine, 4),
        "theirs": round(other, 4),
        "ratio": round(mine / other, 3),
        "bar": bar,
        "holds": mine / other <= bar,
        "samples": [len(ours), len(theirs)],
    }


def kernel_info(start, samples):
    """From the start of the process to the answer; a new kernel each time."""
    waits = []
    for _ in range(samples):
        kernel = start()
        try:
            request = kernel.client.kernel_info()
            kernel.reply(request)
            waits.append(time.perf_counter() - kernel.started)
        finally:
            kernel.close()
    return limit("process start to the answer to kernel_info", 0.3, waits)


def partial_lines(kernel, samples):
    """From a flush to the front end: each piece is the time at which it was written."""
    request = kernel.client.execute(
        f"for _ in 0..{samples} {{\n"
        "    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;\n"
        '    print!("\\r{}", now.as_micros());\n'
        "    std::io::Write::flush(&mut std::io::stdout())?;\n"
        "    std::thread::sleep(std::time::Duration::from_millis(250));\n"
        "}"
    )
    waits = []
    for content in kernel.said(request):
        arrived = time.time()
        # Pieces that arrive together are as late as the first of them.
        written = content.get("text", "").split("\r")[1:]
        waits += [arrived - int(piece) / 1e6 for piece in written]
    kernel.reply(request)
    if len(waits) != samples:
        raise SystemExit(f"{samples} pieces were written, {len(waits)} arrived")
    return limit("a partial line, from its flush to the front end", 0.2, waits)


def interrupts(kernel, samples):
    """From the interrupt to the end of a loop of the library; the variables stay."""
    client = kernel.client
    kernel.run("let kept = 7;")
    waits = []
    for _ in range(samples):
        request = client.execute(
            'println!("begun"); for _ in progress(0..100_000) '
            "{ std::thread::sleep(std::time::Duration::from_millis(1)); }"
        )
        said = kernel.said(request)
        for content in said:
            if "begun" in content.get("text", ""):
                break
        time.sleep(0.2)
        asked = time.perf_counter()
        client.control_channel.send(client.session.msg("interrupt_request", {}))
        for _ in said:
            pass
        reply = kernel.reply(request)
        waits.append(time.perf_counter() - asked)
        if reply.get("ename") != "interrupted":
            raise SystemExit(f"the cell was not interrupted: {reply}")
    kernel.run("kept", "7")
    return limit("an interrupt, to the end of a loop of the library", 0.3, waits)


def breakdown(start, folder, samples):
    """Where the milliseconds of a cell go, as a table for README.md; a row for each kind of cell."""
    file = os.path.join(folder, "times.jsonl")
    kernel = start({"REBIT_TIMES": file})
    rows = []
    try:
        for name, code in cells.KINDS:
            walls = [kernel.run(code)[0] * MILLISECOND for _ in range(samples + 1)]
            with open(file) as lines:
                told = [json.loads(line) for line in lines][-len(walls) :]
            # The first of a kind makes the others warm.
            pairs = list(zip(told, walls))[1:]
            steps = {step: round(statistics.median(of(*pair) for pair in pairs), 1) for step, of in STEPS}
            rows.append(
                {
                    "work": f"where the milliseconds go: {name}",
                    "peer": None,
                    "unit": "ms",
                    "ours": round(statistics.median(walls[1:]), 1),
                    "theirs": None,
                    "ratio": None,
                    "bar": None,
                    "holds": None,
                    "samples": [samples, 0],
                    "compilers": statistics.median(len(line["compilers"]) for line, _ in pairs),
                    "steps": steps,
                }
            )
    finally:
        kernel.close()
    print(table(rows), flush=True)
    return rows


def table(rows):
    names = [row["work"].split(": ", 1)[1] for row in rows]
    lines = ["| milliseconds (median) | " + " | ".join(names) + " |", "|---|" + "---|" * len(rows)]
    for step, _ in STEPS:
        lines.append(f"| {step} | " + " | ".join(f"{row['steps'][step]:.1f}" for row in rows) + " |")
    lines.append("| all | " + " | ".join(f"{row['ours']:.1f}" for row in rows) + " |")
    lines.append("| runs of rustc | " + " | ".join(f"{row['compilers']:.0f}" for row in rows) + " |")
    return "\n".join(lines)
