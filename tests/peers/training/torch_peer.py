"""The PyTorch side of the training benchmark: the same ResNet-20, the same quantisers, the same convolutions.

    torch_peer.py THREADS step FOLDER plain|quantised REPETITIONS [--channels-last]
    torch_peer.py THREADS convs CASES.json SECONDS

prints one JSON object: the losses, the seconds of each repetition, and the peak memory of the process.
"""

import json
import sys
import time

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

LEVELS = 3.0


class RoundStraightThrough(torch.autograd.Function):
    """Half to even, with the gradient of the identity."""

    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


def quantise(x, bounds):
    n = (x - bounds[0]) / (bounds[1] - bounds[0])
    return RoundStraightThrough.apply(LEVELS * n.clamp(0.0, 1.0)) / LEVELS


class Bounded:
    """Trainable bounds of a layer's weights and of its input."""

    def add_bounds(self, quantised):
        self.quantised = quantised
        if quantised:
            self.weight_bounds = nn.Parameter(torch.zeros(2))
            self.act_bounds = nn.Parameter(torch.zeros(2))

    def operands(self, x):
        if not self.quantised:
            return x, self.weight
        return quantise(x, self.act_bounds), 2.0 * (quantise(self.weight, self.weight_bounds) - 0.5)


class Conv(nn.Conv2d, Bounded):
    def __init__(self, inputs, outputs, kernel, stride, quantised):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.add_bounds(quantised)

    def forward(self, x):
        x, w = self.operands(x)
        return F.conv2d(x, w, None, self.stride, self.padding)


class Linear(nn.Linear, Bounded):
    def __init__(self, inputs, outputs, quantised):
        super().__init__(inputs, outputs)
        self.add_bounds(quantised)

    def forward(self, x):
        x, w = self.operands(x)
        return F.linear(x, w, self.bias)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride, quantised):
        super().__init__()
        self.conv1 = Conv(inputs, outputs, 3, stride, quantised)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = Conv(outputs, outputs, 3, 1, quantised)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if stride != 1 or inputs != outputs:
            shortcut = Conv(inputs, outputs, 1, stride, quantised)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet20(nn.Module):
    def __init__(self, quantised):
        super().__init__()
        self.conv1 = Conv(3, 16, 3, 1, quantised)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for stage, width in enumerate((16, 32, 64)):
            blocks = []
            for block in range(3):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Block(inputs, width, stride, quantised))
                inputs = width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = Linear(64, 10, quantised)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def peak_kilobytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    raise RuntimeError("this kernel does not tell the peak of a process's memory")


def step(folder, kind, repetitions, channels_last):
    net = ResNet20(kind == "quantised")
    missing, unexpected = net.load_state_dict(load_file(f"{folder}/{kind}.safetensors"), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    net.train()
    batch = load_file(f"{folder}/batch.safetensors")
    x, labels = batch["images"], batch["labels"].long()
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    bounds = [p for name, p in net.named_parameters() if name.endswith("_bounds")]
    others = [p for name, p in net.named_parameters() if not name.endswith("_bounds")]
    optimisers = [torch.optim.SGD(others, lr=0.1, momentum=0.9, weight_decay=1e-4)]
    if bounds:
        optimisers.append(torch.optim.Adam(bounds, lr=1e-4))
    losses, seconds = [], []
    for _ in range(repetitions):
        start = time.perf_counter()
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    return {"losses": losses, "seconds": seconds, "peak_kilobytes": peak_kilobytes()}


def convs(cases, wanted):
    results = {}
    for case in json.load(open(cases)):
        n, c, h, w = case["batch"], case["in_channels"], case["size"], case["size"]
        x = torch.randn(n, c, h, w, requires_grad=True)
        weight = torch.randn(case["out_channels"], c // case["groups"], case["kernel"], case["kernel"], requires_grad=True)
        options = {"stride": case["stride"], "padding": case["kernel"] // 2, "groups": case["groups"]}
        dy = torch.randn_like(F.conv2d(x, weight, **options))
        forms = {}
        for form in (torch.contiguous_format, torch.channels_last):
            def shaped(t):
                return t.detach().contiguous(memory_format=form)
            gx, gw = shaped(x).requires_grad_(), shaped(weight).requires_grad_()
            gy = shaped(dy)
            seconds = []
            end = time.perf_counter() + wanted
            while len(seconds) < 5 or time.perf_counter() < end:
                start = time.perf_counter()
                y = F.conv2d(gx, gw, **options)
                torch.autograd.grad(y, (gx, gw), gy)
                seconds.append(time.perf_counter() - start)
            forms["channels_last" if form is torch.channels_last else "default"] = seconds[1:]
        results[case["name"]] = forms
    return results


def main():
    torch.manual_seed(0)
    torch.set_num_threads(int(sys.argv.pop(1)))
    if sys.argv[1] == "step":
        result = step(sys.argv[2], sys.argv[3], int(sys.argv[4]), "--channels-last" in sys.argv)
    else:
        result = convs(sys.argv[2], float(sys.argv[3]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
