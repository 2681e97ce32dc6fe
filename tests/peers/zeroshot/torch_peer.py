"""The PyTorch side of the zero-shot comparison: IntraQ's step of the pixels, a low-bit student's step, FDDA's generator.

    torch_peer.py THREADS synthesis FOLDER IMAGES whole|parts STEPS [--channels-last]
    torch_peer.py THREADS student FOLDER STEPS [--channels-last]
    torch_peer.py THREADS generator FOLDER STEPS [--channels-last]

Written from the formulas of arXiv:2111.09136 and arXiv:2109.04186, with the authors' settings. Prints one JSON object:
the losses, the seconds of each step, and the peak memory of the process.
"""

import os
import sys

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "training"))
from torch_side import load, main, optimised, timed  # noqa: E402

BITS = 3
LAMBDA_LOWER, LAMBDA_UPPER = 0.05, 0.8
ALPHA, TEMPERATURE = 20.0, 20.0
CLASSES, LATENT, WIDTHS, SIDE = 10, 100, (64, 32), 32


class Quantise(torch.autograd.Function):
    """2^bits levels between `lower` and `upper`, half to even; the gradient goes straight through, clipped or not."""

    @staticmethod
    def forward(ctx, x, lower, upper, bits):
        half = 2.0 ** (bits - 1)
        scale = (2.0**bits - 1) / (upper - lower).clamp(min=1e-8)
        zero = (scale * lower).round() + half
        q = (scale * x - zero).round().clamp(-half, half - 1)
        return (q + zero) / scale

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None, None


def quantise_rows(weight):
    """A weight with a range for each output channel: its smallest and largest number now."""
    rows = weight.detach().flatten(1)
    shape = (-1,) + (1,) * (weight.dim() - 1)
    return Quantise.apply(weight, rows.amin(1).view(shape), rows.amax(1).view(shape), BITS)


class Conv(nn.Conv2d):
    def __init__(self, inputs, outputs, kernel, stride, student):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.student = student

    def forward(self, x):
        weight = quantise_rows(self.weight) if self.student else self.weight
        return F.conv2d(x, weight, None, self.stride, self.padding)


class Linear(nn.Linear):
    def __init__(self, inputs, outputs, student):
        super().__init__(inputs, outputs)
        self.student = student

    def forward(self, x):
        weight = quantise_rows(self.weight) if self.student else self.weight
        return F.linear(x, weight, self.bias)


class Site(nn.Module):
    """An activation behind a ReLU, on the levels of a range that is fixed."""

    def __init__(self):
        super().__init__()
        self.register_buffer("act_bounds", torch.zeros(2))

    def forward(self, x):
        return Quantise.apply(x, self.act_bounds[0], self.act_bounds[1], BITS)


class NormRelu(nn.BatchNorm2d):
    """Batch norm, what is added to it, ReLU, and the levels of a student."""

    def __init__(self, channels, student):
        super().__init__(channels)
        self.site = Site() if student else nn.Identity()

    def forward(self, x, shortcut=None):
        y = super().forward(x)
        return self.site(F.relu(y if shortcut is None else y + shortcut))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride, student):
        super().__init__()
        self.conv1 = Conv(inputs, outputs, 3, stride, student)
        self.bn1 = NormRelu(outputs, student)
        self.conv2 = Conv(outputs, outputs, 3, 1, student)
        self.bn2 = NormRelu(outputs, student)
        self.downsample = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(Conv(inputs, outputs, 1, stride, student), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return self.bn2(self.conv2(self.bn1(self.conv1(x))), self.downsample(x))


class ResNet20(nn.Module):
    """Always on its running statistics."""

    def __init__(self, student=False):
        super().__init__()
        self.conv1 = Conv(3, 16, 3, 1, student)
        self.bn1 = NormRelu(16, student)
        inputs = 16
        for stage, width in enumerate((16, 32, 64)):
            blocks = []
            for block in range(3):
                blocks.append(Block(inputs, width, 2 if stage > 0 and block == 0 else 1, student))
                inputs = width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = Linear(64, CLASSES, student)

    def features(self, x):
        x = self.bn1(self.conv1(x))
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))

    def forward(self, x):
        return self.fc(self.features(x))


class Conditional(nn.BatchNorm2d):
    """Batch norm without scale and shift, then those of a class."""

    def __init__(self, channels, eps):
        super().__init__(channels, eps=eps, affine=False)
        self.scale = nn.Embedding(CLASSES, channels)
        self.shift = nn.Embedding(CLASSES, channels)

    def forward(self, x, labels):
        scale, shift = (table(labels)[:, :, None, None] for table in (self.scale, self.shift))
        return scale * super().forward(x) + shift


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(LATENT, WIDTHS[0] * (SIDE // 4) ** 2)
        self.norm0 = Conditional(WIDTHS[0], 1e-5)
        self.conv1 = nn.Conv2d(WIDTHS[0], WIDTHS[0], 3, padding=1)
        self.norm1 = Conditional(WIDTHS[0], 0.8)
        self.conv2 = nn.Conv2d(WIDTHS[0], WIDTHS[1], 3, padding=1)
        self.norm2 = Conditional(WIDTHS[1], 0.8)
        self.conv3 = nn.Conv2d(WIDTHS[1], 3, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(3, affine=False)

    def forward(self, latent, labels):
        x = self.linear(latent).view(-1, WIDTHS[0], SIDE // 4, SIDE // 4)
        x = self.norm0(x, labels)
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            x = conv(F.interpolate(x, scale_factor=2, mode="nearest"))
            x = F.leaky_relu(norm(x, labels), 0.2)
        return self.norm3(torch.tanh(self.conv3(x)))


class Statistics:
    """Mean and biased variance of what every batch norm of a network reads, by its name."""

    def __init__(self, net):
        self.found = {}
        self.running = {}
        for name, module in net.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_pre_hook(lambda _, read, name=name: self.note(name, read[0]))
                self.running[name] = (module.running_mean, module.running_var)

    def note(self, name, x):
        var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        self.found[name] = (mean, var)

    def loss(self, targets):
        """The mean over norms of the squared distances of means and of variances."""
        terms = [F.mse_loss(m, to) for name, of in targets.items() for m, to in zip(self.found[name], of)]
        return sum(terms) / len(targets)


def readings(start, end):
    """Rows of weights that read an axis of SIDE pixels between two places, bilinearly and clamped to what lies there."""
    mirrored = (start > end)[:, None]
    lower, upper = torch.minimum(start, end)[:, None], torch.maximum(start, end)[:, None]
    places = (torch.arange(SIDE) + 0.5)[None] / SIDE
    places = lower + (upper - lower) * torch.where(mirrored, 1.0 - places, places) - 0.5
    places = torch.minimum(torch.maximum(places, lower), upper - 1.0)
    return (1.0 - (places[:, :, None] - torch.arange(SIDE)).abs()).clamp(min=0.0)


def parts_of(x, boxes):
    """Each image's part, enlarged to the whole: crop, bilinear resize and mirroring as two products of matrices."""
    columns, rows = readings(boxes[:, 0], boxes[:, 2]), readings(boxes[:, 1], boxes[:, 3])
    return rows[:, None] @ x @ columns[:, None].transpose(2, 3)


def synthesis(folder, images, how, steps, form):
    net = load(ResNet20(), f"{folder}/network.safetensors").eval().requires_grad_(False).to(memory_format=form)
    batch = load_file(f"{folder}/synthesis-{images}.safetensors")
    labels, targets = batch["labels"].long(), batch["targets"]
    centres, boxes = batch["centres"][labels], batch["boxes"]
    pixels = batch["pixels"].contiguous(memory_format=form).requires_grad_()
    statistics = Statistics(net)
    adam = torch.optim.Adam([pixels], lr=0.5)

    def loss():
        in_parts = how == "parts"
        features = net.features(parts_of(pixels, boxes).contiguous(memory_format=form) if in_parts else pixels)
        logits = net.fc(features)
        probability = logits.softmax(1).gather(1, labels[:, None])[:, 0]
        distance = 1.0 - F.cosine_similarity(features, centres)
        outside = (LAMBDA_LOWER - distance).clamp(min=0.0) + (distance - LAMBDA_UPPER).clamp(min=0.0)
        matched = statistics.loss(statistics.running) + (probability - targets).square().mean()
        # Every class has a centre here.
        return matched + outside.sum() / (len(labels) + 1e-6)

    return timed(int(steps), optimised(adam, loss))


def student(folder, steps, form):
    net = load(ResNet20(), f"{folder}/network.safetensors").eval().requires_grad_(False).to(memory_format=form)
    low = load(ResNet20(True), f"{folder}/student.safetensors", ["weight_bounds"]).eval().to(memory_format=form)
    batch = load_file(f"{folder}/student-batch.safetensors")
    x, labels = batch["images"].contiguous(memory_format=form), batch["labels"].long()
    sgd = torch.optim.SGD(low.parameters(), lr=1e-6, momentum=0.9, nesterov=True, weight_decay=1e-4)

    def loss():
        with torch.no_grad():
            wanted = F.softmax(net(x) / TEMPERATURE, 1)
        logits = low(x)
        alike = F.kl_div(F.log_softmax(logits / TEMPERATURE, 1), wanted, reduction="batchmean")
        return F.cross_entropy(logits, labels) + ALPHA * TEMPERATURE**2 * alike

    return timed(int(steps), optimised(sgd, loss))


def generator(folder, steps, form):
    net = load(ResNet20(), f"{folder}/network.safetensors").eval().requires_grad_(False).to(memory_format=form)
    made = load(Generator(), f"{folder}/generator.safetensors").train().to(memory_format=form)
    batch = load_file(f"{folder}/generator-batch.safetensors")
    labels, mixed, single = batch["labels"].long(), batch["latent"].flatten(1), batch["single.latent"].flatten(1)
    of_one = batch["single.class"].long().expand(len(labels))
    statistics = Statistics(net)

    def targets(what):
        names = [name for name in statistics.running if f"{what}.{name}.mean" in batch]
        return {name: (batch[f"{what}.{name}.mean"], batch[f"{what}.{name}.var"]) for name in names}
    centre, distorted = targets("centre"), targets("distorted")
    adam = torch.optim.Adam(made.parameters(), lr=1e-3, betas=(0.5, 0.999))

    def loss():
        total = 0.5 * F.cross_entropy(net(made(mixed, labels)), labels)
        total = total + 0.2 * statistics.loss(statistics.running)
        total = total + 0.5 * F.cross_entropy(net(made(single, of_one)), of_one)
        return total + 0.01 * statistics.loss(centre) + 0.9 * statistics.loss(distorted)

    return timed(int(steps), optimised(adam, loss))


if __name__ == "__main__":
    main({"synthesis": synthesis, "student": student, "generator": generator})
