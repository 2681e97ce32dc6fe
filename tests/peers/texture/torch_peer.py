"""The PyTorch side of the comparison of texture generation.

    torch_peer.py THREADS render FOLDER coo|csr|gather STEPS
    torch_peer.py THREADS training|unet FOLDER STEPS [--channels-last]

Written from the formulas in rebit's documentation: what it computes is compared with rebit's. Prints one JSON object: the
losses, the seconds of each step, and the peak memory of the process.
"""

import os
import sys
import warnings

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, "..", part) for part in ("training", "person-search")]
from networks import Reid  # noqa: E402
from torch_side import load, main, optimised, timed  # noqa: E402


class Double(nn.Module):
    """Twice a 3x3 convolution, batch norm and ReLU."""

    def __init__(self, inputs, width):
        super().__init__()
        self.conv0, self.bn0 = nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(self.bn1(self.conv1(F.relu(self.bn0(self.conv0(x))))))


class UNet(nn.Module):
    def __init__(self, down, up, window=None, doubled=0, halved=None):
        super().__init__()
        self.window, self.doubled, self.halved = window, doubled, halved
        inputs = 3
        for k, width in enumerate(down):
            setattr(self, f"down{k}", Double(inputs, width))
            inputs = width
        for k, (width, skip) in enumerate(zip(up, down[-2::-1])):
            setattr(self, f"up{k}", Double(inputs + skip, width))
            inputs = width
        self.sizes, self.out = len(down), nn.Conv2d(inputs, 3, 1)

    def forward(self, x):
        if self.window:
            x = F.avg_pool2d(x, self.window)
        kept = []
        for k in range(self.sizes):
            if k > 0:
                kept.append(x)
                x = F.max_pool2d(x, 2)
            x = getattr(self, f"down{k}")(x)
        for k in range(self.sizes - 1):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = getattr(self, f"up{k}")(torch.cat((kept.pop(), x), 1))
        x = torch.tanh(self.out(x))
        if self.halved:
            x = F.avg_pool2d(x, self.halved)
        for _ in range(self.doubled):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return x


def small():
    """Pictures of 64x32 at 32x32, textures of 64x64."""
    return UNet((8, 16, 24, 32, 48), (32, 24, 16, 8), window=(2, 1), doubled=1)


def paper():
    """Pictures of 128x64, textures of 64x64."""
    return UNet((64, 128, 256, 512, 512), (256, 128, 64, 64), halved=(2, 1))


def gathered(textures, texel, weight):
    """Pixels that read a texel each: `(N, C, pixels)` out of textures `(N, C, texels)`."""
    return textures.gather(2, texel) * weight[:, None]


def of_channels(texel):
    """The texel of each pixel, for each of three channels."""
    return texel.long()[:, None].expand(-1, 3, -1).contiguous()


def render(folder, how, steps, _):
    found = load_file(f"{folder}/render.safetensors")
    texel, weight = found["texel"].long(), found["weight"]
    count, pixels = texel.shape
    of_each = of_channels(texel)
    texels = found["textures"].shape[2] * found["textures"].shape[3]
    if how == "gather":
        textures = found["textures"].flatten(2).requires_grad_()
    else:
        # A sparse matrix for each picture, pixels by texels, as the authors have it; colours in columns.
        textures = found["textures"].flatten(2).transpose(1, 2).contiguous().requires_grad_()
        matrices = []
        for k in range(count):
            seen = weight[k].nonzero()[:, 0]
            places = torch.stack((seen, texel[k, seen]))
            values = weight[k, seen]
            matrix = torch.sparse_coo_tensor(places, values, (pixels, texels), check_invariants=False).coalesce()
            matrices.append(matrix.to_sparse_csr() if how == "csr" else matrix)

    def step():
        textures.grad = None
        if how == "gather":
            images = gathered(textures, of_each, weight)
        else:
            images = torch.stack([torch.sparse.mm(m, t) for m, t in zip(matrices, textures)])
        images.backward(images.detach())
        return float(textures.grad.square().sum())

    return timed(int(steps), step)


def seen(reid, pictures):
    """Of pictures from -1 to 1 the directions of the layers, a row a picture."""
    return [F.normalize(m.flatten(1), dim=1) for m in reid.maps(2.0 * pictures)]


def training(folder, steps, form):
    net = load(small(), f"{folder}/small.safetensors").train().to(memory_format=form)
    reid = load(Reid(), f"{folder}/reid.safetensors").eval().requires_grad_(False).to(memory_format=form)
    found = load_file(f"{folder}/training.safetensors")
    pictures, around = (found[name].contiguous(memory_format=form) for name in ("pictures", "around"))
    texel, weight = of_channels(found["texel"]), found["weight"]
    real, structure, layers = found["real"], found["structure"], found["layers"].tolist()
    mask = (weight > 0.0).float().view(len(pictures), 1, *pictures.shape[2:])
    with torch.no_grad():
        targets = seen(reid, pictures)
    adam = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-5)

    def loss():
        made = net(pictures)
        total = 2.0 * ((made - real) * structure).square().mean()
        person = gathered((0.5 * made + 0.5).flatten(2), texel, weight).view_as(pictures)
        shown = mask * (2.0 * person - 1.0) + (1.0 - mask) * around
        for share, found, target in zip(layers, seen(reid, shown.contiguous(memory_format=form)), targets):
            total = total + share * (1.0 - (found * target).sum(1)).mean()
        return total

    return timed(int(steps), optimised(adam, loss))


def unet(folder, steps, form):
    net = load(paper(), f"{folder}/paper.safetensors").train().to(memory_format=form)
    found = load_file(f"{folder}/unet.safetensors")
    pictures, target = (found[name].contiguous(memory_format=form) for name in ("pictures", "target"))
    adam = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=1e-5)

    return timed(int(steps), optimised(adam, lambda: F.l1_loss(net(pictures), target)))


if __name__ == "__main__":
    # PyTorch calls its sparse rows a beta.
    warnings.filterwarnings("ignore", message="Sparse CSR")
    main({"render": render, "training": training, "unet": unet})
