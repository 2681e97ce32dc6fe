"""What every program on PyTorch's side does: read its words and a network's numbers, time steps, tell the peak of its
memory, and print what came of it."""

import json
import sys
import time

import torch
from safetensors.torch import load_file


def load(net, path, ignored=()):
    """Its numbers; ranges that are read off weights anew in each pass are not among them."""
    values = {name: v for name, v in load_file(path).items() if not name.endswith(tuple(ignored))}
    missing, unexpected = net.load_state_dict(values, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    return net


def peak_kilobytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    raise RuntimeError("this kernel does not tell the peak of a process's memory")


def timed(steps, step):
    """The losses that `step` returns, and how long each took."""
    losses, seconds, processor = [], [], []
    for _ in range(steps):
        start = time.perf_counter(), time.process_time()
        losses.append(step())
        seconds.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return {"losses": losses, "seconds": seconds, "processor_seconds": processor, "peak_kilobytes": peak_kilobytes()}


def optimised(optimiser, loss):
    """A training step on what `loss` computes; returns its value."""
    def step():
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
        return value.item()
    return step


def main(works):
    """THREADS, one of `works`, FOLDER and its own words: functions of the folder, those words and the memory format."""
    form = torch.contiguous_format
    if "--channels-last" in sys.argv:
        sys.argv.remove("--channels-last")
        form = torch.channels_last
    threads, what, folder, *rest = sys.argv[1:]
    torch.set_num_threads(int(threads))
    print(json.dumps(works[what](folder, *rest, form)))
