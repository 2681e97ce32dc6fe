#!/usr/bin/env python3
"""PyTorch on the GPU that the library was measured on: what the card can do, and what a training step takes there.

    bench_torch.py OUT.json [SECONDS]

SECONDS is the time for each work. Every row is written when it is known, so that a run which is cut short leaves those
it had. The convolutions are those of bench_gpu, the networks those of bench_step.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

# In the kit it lies beside this file.
sys.path.append(str(Path(__file__).resolve().parents[1] / "peers/training"))
from torch_peer import ResNet20

FORMATS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


class Report:
    def __init__(self, file, seconds):
        self.file, self.seconds, self.rows = file, seconds, []

    def time(self, work, call, flops=0, moved=0):
        """The median of single calls, each between two events of the GPU."""
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        times, end = [], time.perf_counter() + self.seconds
        while len(times) < 5 or time.perf_counter() < end:
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record()
            call()
            after.record()
            after.synchronize()
            times.append(before.elapsed_time(after) / 1e3)
        seconds = statistics.median(times)
        row = {"work": work, "seconds": seconds}
        if flops:
            row["rate"] = f"{flops / seconds / 1e12:.2f} TFLOP/s"
        if moved:
            row["rate"] = f"{moved / seconds / 1e9:.0f} GB/s"
        self.rows.append(row)
        print(f"{work:<72}{1e3 * seconds:>10.4f} ms  {row.get('rate', '')}", flush=True)
        about = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": self.rows}
        self.file.write_text(json.dumps(about, indent=1))


def allow_tf32(allowed):
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


class Edsr(nn.Module):
    """EDSR x2 as in lib/src/nn/edsr.rs: residual blocks without batch norm, a long skip, one pixel shuffle."""

    def __init__(self, blocks=16, channels=64):
        super().__init__()

        def conv(inputs, outputs):
            return nn.Conv2d(inputs, outputs, 3, padding=1)

        self.head = conv(3, channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(channels, channels), nn.ReLU(), conv(channels, channels)) for _ in range(blocks)
        )
        self.body_end = conv(channels, channels)
        self.tail = nn.Sequential(conv(channels, 4 * channels), nn.PixelShuffle(2), conv(channels, 3))

    def forward(self, x):
        x = self.head(x)
        y = x
        for block in self.blocks:
            y = y + block(y)
        return self.tail(x + self.body_end(y))


def ceilings(report):
    n = 1 << 28
    source, target = torch.randn(n, device="cuda"), torch.empty(n, device="cuda")
    report.time("copy of 1 GiB", lambda: target.copy_(source), moved=2 * 4 * n)
    del source, target
    side = 8192
    left, right = (torch.randn(side, side, device="cuda") for _ in range(2))
    for name, tf32, kind in (("fp32", False, torch.float32), ("tf32", True, torch.float32), ("bf16", False, torch.bfloat16)):
        allow_tf32(tf32)
        a, b = left.to(kind), right.to(kind)
        report.time(f"product {side}x{side}, {name}", lambda: a @ b, flops=2 * side**3)


def convolutions(report, precision, format_name):
    form = FORMATS[format_name]
    # Batch, channels, side, groups.
    for batch, c, side, groups in ((128, 16, 32, 1), (128, 64, 8, 1), (16, 64, 48, 1), (8, 32, 112, 32)):
        x, dy = (torch.randn(batch, c, side, side, device="cuda").to(memory_format=form) for _ in range(2))
        w = torch.randn(c, c // groups, 3, 3, device="cuda").to(memory_format=form)
        flops = 2 * batch * side * side * c * (c // groups) * 9

        def backward(of_input, of_weight):
            mask = [of_input, of_weight, False]
            return torch.ops.aten.convolution_backward(
                dy, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], groups, mask
            )

        name = f"{'depthwise ' if groups > 1 else ''}{c}ch {side}x{side}, batch {batch}, {precision}, {format_name}"
        report.time(f"convolution: {name}", lambda: F.conv2d(x, w, padding=1, groups=groups), flops)
        report.time(f"gradient of the input: {name}", lambda: backward(True, False), flops)
        report.time(f"gradient of the weight: {name}", lambda: backward(False, True), flops)


def step_of(net, x, loss_of, optimiser):
    def step():
        optimiser.zero_grad(set_to_none=False)
        loss_of(net(x)).backward()
        optimiser.step()

    return step


def steps(report, name, step):
    report.time(f"{name}, eager", step)
    # Capture wants the work to have run on another stream before.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    report.time(f"{name}, graph", graph.replay)


def networks(report, precision, format_name):
    form = FORMATS[format_name]
    labels = torch.randint(10, (128,), device="cuda")
    x = torch.randn(128, 3, 32, 32, device="cuda").to(memory_format=form)
    for kind, quantised in (("full precision", False), ("2 bits", True)):
        net = ResNet20(quantised).cuda().to(memory_format=form).train()
        with torch.no_grad():
            for parameter, value in net.named_parameters():
                if parameter.endswith("_bounds"):
                    value.copy_(torch.tensor([-0.5, 0.5] if "weight" in parameter else [0.0, 2.0]))
        sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        step = step_of(net, x, lambda y: F.cross_entropy(y, labels), sgd)
        steps(report, f"ResNet-20 step, {kind}, batch 128, {precision}, {format_name}", step)
    net = Edsr().cuda().to(memory_format=form)
    small = torch.randn(16, 3, 48, 48, device="cuda").to(memory_format=form)
    large = torch.randn(16, 3, 96, 96, device="cuda").to(memory_format=form)
    adam = torch.optim.Adam(net.parameters(), lr=1e-4, capturable=True)
    step = step_of(net, small, lambda y: F.l1_loss(y, large), adam)
    steps(report, f"EDSR x2 step, 16 patches of 48x48, {precision}, {format_name}", step)


def main():
    if not torch.cuda.is_available():
        print("no GPU was measured: PyTorch finds none")
        return
    report = Report(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.3)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    ceilings(report)
    # What is compared first comes first.
    for precision in ("fp32", "tf32"):
        for format_name in FORMATS:
            allow_tf32(precision == "tf32")
            networks(report, precision, format_name)
            convolutions(report, precision, format_name)


if __name__ == "__main__":
    main()
