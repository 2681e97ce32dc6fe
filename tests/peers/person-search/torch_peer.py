"""The PyTorch side of the comparison of person search.

    torch_peer.py THREADS roi FOLDER each|stacked STEPS
    torch_peer.py THREADS detector|reid|joint FOLDER STEPS [--channels-last]

Written from the formulas in rebit's documentation: what it computes is compared with rebit's. Prints one JSON object: the
losses, the seconds of each step, and the peak memory of the process.
"""

import os
import sys

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "training"))
from networks import Detector, Reid, Targets, centres, decode, iou  # noqa: E402
from torch_side import load, main, optimised, timed  # noqa: E402

CROP = 64, 32
LOOKED_AT, PER_SCENE, PER_PERSON, OVERLAP, LEAST, CLIP, LAMBDA = 60, 6, 2, 0.5, 4.0, 3.0, 1.0


def grids(boxes, height, width):
    """Where each box reads an image of this size, for `grid_sample`: half-pixel centres, places from -1 to 1."""
    x1, y1, x2, y2 = boxes.unbind(1)
    none = torch.zeros_like(x1)
    across = torch.stack(((x2 - x1) / width, none, (x1 + x2) / width - 1.0), 1)
    down = torch.stack((none, (y2 - y1) / height, (y1 + y2) / height - 1.0), 1)
    return F.affine_grid(torch.stack((across, down), 1), (len(boxes), 3, *CROP), align_corners=False)


def cut_out(images, boxes):
    """Boxes, each of an image of its own."""
    return F.grid_sample(images, grids(boxes, *images.shape[2:]), align_corners=False)


def roi(folder, how, steps, _):
    found = load_file(f"{folder}/roi.safetensors")
    images, weights = found["images"], found["weights"]
    boxes = found["boxes"].requires_grad_()
    each = len(boxes) // len(images)
    of = torch.arange(len(boxes)) // each

    def step():
        boxes.grad = None
        if how == "each":
            cut = cut_out(images[of], boxes)
        else:
            # As many boxes of each image: one below the other, so that no image is copied.
            grid = grids(boxes, *images.shape[2:]).view(len(images), each * CROP[0], CROP[1], 2)
            cut = F.grid_sample(images, grid, align_corners=False)
            cut = cut.view(len(images), 3, each, *CROP).transpose(1, 2).reshape(-1, 3, *CROP)
        (cut * weights).sum().backward()
        return float((boxes.detach() * boxes.grad).sum())

    return timed(int(steps), step)


def scenes_of(folder, form):
    found = load_file(f"{folder}/scenes.safetensors")
    pixels = found["scenes"].to(torch.uint8).permute(0, 3, 1, 2)
    return pixels.contiguous(memory_format=form), found["annotated"]


def seen(pixels):
    """Bytes as the networks see them."""
    return (pixels.float() / 255.0 - 0.5) / 0.25


def targets_of(annotated, images):
    return Targets(annotated, len(images), images.shape[2] // 8, images.shape[3] // 8)


def detector(folder, steps, form):
    net = load(Detector(), f"{folder}/detector.safetensors").train().to(memory_format=form)
    pixels, annotated = scenes_of(folder, form)
    images, targets = seen(pixels), targets_of(annotated, pixels)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)

    return timed(int(steps), optimised(adam, lambda: targets.loss(*net(images))))


def reid(folder, steps, form):
    net = load(Reid(), f"{folder}/reid.safetensors").train().to(memory_format=form)
    found = load_file(f"{folder}/crops.safetensors")
    images = found["images"].contiguous(memory_format=form)
    labels = found["labels"].long().repeat_interleave(net.stripes)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)

    return timed(int(steps), optimised(adam, lambda: F.cross_entropy(net(images), labels)))


class Clipped(torch.autograd.Function):
    """The same boxes; a gradient is cut, box by box, in units of the box's width and height."""

    @staticmethod
    def forward(ctx, boxes, most):
        ctx.most = most
        ctx.save_for_backward(boxes)
        return boxes.clone()

    @staticmethod
    def backward(ctx, grad):
        boxes, = ctx.saved_tensors
        length = (grad * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)).norm(dim=1, keepdim=True)
        return grad * (ctx.most / length).clamp(max=1.0), None


class People:
    """The annotated people of scenes, as many rows for each scene."""

    def __init__(self, annotated, scenes):
        own = [annotated[annotated[:, 0] == k] for k in range(scenes)]
        most = max(map(len, own))
        self.boxes = torch.zeros(scenes, most, 4)
        self.identities = []
        for k, rows in enumerate(own):
            self.boxes[k, :len(rows)] = rows[:, 1:5]
            self.identities.append([int(i) for i in rows[:, 5]])


@torch.no_grad()
def proposals(score, distances, people, size):
    """The surest cells of each scene whose box is on somebody: scenes, cells, labels."""
    height, width = size
    top = score.flatten(1).topk(LOOKED_AT, 1).indices
    own = distances.flatten(2).gather(2, top[:, None].expand(-1, 4, -1)).transpose(1, 2)
    boxes = decode(own, centres(top, distances.shape[3]))
    inside = torch.minimum(boxes.clamp(min=0.0), torch.tensor([width, height, width, height]))
    fits = ((inside[..., 2:] - inside[..., :2]) >= LEAST).all(-1)
    best, person = iou(boxes[:, :, None], people.boxes[:, None]).max(2)
    fits &= best >= OVERLAP
    scenes, cells, labels = [], [], []
    for k, (top, person, fits) in enumerate(zip(top.tolist(), person.tolist(), fits.tolist())):
        taken, count = {}, 0
        for cell, person, fit in zip(top, person, fits):
            if count == PER_SCENE:
                break
            label = people.identities[k][person] if fit else -1
            if label < 0 or taken.get(person, 0) == PER_PERSON:
                continue
            taken[person] = taken.get(person, 0) + 1
            count += 1
            scenes.append(k)
            cells.append(cell)
            labels.append(label)
    return torch.tensor(scenes), torch.tensor(cells), torch.tensor(labels)


def joint(folder, steps, form):
    net = load(Detector(), f"{folder}/trained-detector.safetensors").eval().to(memory_format=form)
    reader = load(Reid(), f"{folder}/trained-reid.safetensors").eval().requires_grad_(False).to(memory_format=form)
    pixels, annotated = scenes_of(folder, form)
    targets, people = targets_of(annotated, pixels), People(annotated, len(pixels))
    adam = torch.optim.Adam(net.parameters(), lr=2e-4)
    told = {"detection": [], "identity": [], "boxes": []}

    def loss():
        images = seen(pixels)
        score, distances = net(images)
        detection = targets.loss(score, distances)
        scene, cells, labels = proposals(score, distances, people, images.shape[2:])
        boxes = decode(distances.flatten(2)[scene, :, cells], centres(cells, distances.shape[3]))
        boxes = Clipped.apply(boxes, LAMBDA * CLIP / len(cells))
        crops = cut_out(images[scene], boxes).contiguous(memory_format=form)
        identity = F.cross_entropy(reader(crops), labels.repeat_interleave(reader.stripes))
        for name, value in ("detection", detection), ("identity", identity):
            told[name].append(value.item())
        told["boxes"].append(len(cells))
        return detection + LAMBDA * identity

    return timed(int(steps), optimised(adam, loss)) | told


if __name__ == "__main__":
    main({"roi": roi, "detector": detector, "reid": reid, "joint": joint})
