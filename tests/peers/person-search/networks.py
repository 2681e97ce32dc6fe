"""The networks of person search: rebit's detector of people and its network that tells people apart."""

import torch
from torch import nn
from torch.nn import functional as F

STRIDE, UNIT = 8, 16.0


def conv(inputs, outputs, stride=1):
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


class Trunk(nn.Module):
    """Convolutions with batch norm and ReLU, the first three of stride 2."""

    def __init__(self, widths):
        super().__init__()
        self.count, inputs = len(widths), 3
        for k, width in enumerate(widths, 1):
            setattr(self, f"conv{k}", conv(inputs, width, 2 if k < 4 else 1))
            setattr(self, f"bn{k}", nn.BatchNorm2d(width))
            inputs = width

    def maps(self, x):
        """What comes out of each of them."""
        found = []
        for k in range(1, self.count + 1):
            x = F.relu(getattr(self, f"bn{k}")(getattr(self, f"conv{k}")(x)))
            found.append(x)
        return found


class Detector(Trunk):
    def __init__(self, widths=(16, 32, 64, 64, 64), head=48):
        super().__init__(widths)
        self.score = nn.Conv2d(widths[-1], 1, 3, 1, 1)
        self.conv_box, self.bn_box = conv(widths[-1], head), nn.BatchNorm2d(head)
        self.boxes = nn.Conv2d(head, 4, 3, 1, 1)

    def forward(self, x):
        """Scores `(N, 1, rows, columns)` and distances `(N, 4, rows, columns)`."""
        x = self.maps(x)[-1]
        return self.score(x), self.boxes(F.relu(self.bn_box(self.conv_box(x))))


class Reid(Trunk):
    def __init__(self, identities=300, widths=(24, 48, 64, 96), stripes=4, embedding=48):
        super().__init__(widths)
        self.people, self.stripes = identities, stripes
        self.embed = nn.Conv2d(widths[-1], embedding, 1, bias=False)
        self.embed_bn = nn.BatchNorm2d(embedding)
        self.identities = nn.Conv2d(stripes * embedding, stripes * identities, 1, groups=stripes)

    def forward(self, x):
        """Of each stripe the answers over the people, `(N * stripes, people)`."""
        x = self.maps(x)[-1]
        x = F.avg_pool2d(x, (x.shape[2] // self.stripes, x.shape[3]))
        x = self.embed_bn(self.embed(x)).permute(0, 2, 3, 1).reshape(len(x), -1, 1, 1)
        return self.identities(x).reshape(-1, self.people)


def centres(cells, columns):
    """The centres of cells, by their numbers in a map, as `(x, y)` in pixels."""
    at = torch.stack((cells % columns, cells // columns), -1)
    return (at + 0.5) * STRIDE


def decode(distances, points):
    """Boxes `(x1, y1, x2, y2)` of distances `(..., 4)` from points."""
    reach = UNIT * distances.clamp(max=4.135166556742356).exp()
    return torch.cat((points - reach[..., :2], points + reach[..., 2:]), -1)


def area(boxes):
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0.0).prod(-1)


def overlaps(a, b):
    """Shared area and the area of either, pair by pair."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    both = (high - low).clamp(min=0.0).prod(-1)
    return both, area(a) + area(b) - both


def iou(a, b):
    both, either = overlaps(a, b)
    return torch.where(either > 0.0, both / either, torch.zeros_like(both))


def giou_loss(boxes, targets):
    both, either = overlaps(boxes, targets)
    low, high = torch.minimum(boxes[:, :2], targets[:, :2]), torch.maximum(boxes[:, 2:], targets[:, 2:])
    around = (high - low).prod(-1)
    return (2.0 - both / either - either / around).mean()


def focal(logits, targets, alpha=0.5, gamma=2.0):
    """Of logits and targets of 0 and 1, divided by the number of ones."""
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    wrong = torch.where(targets > 0.0, 1.0 - logits.sigmoid(), logits.sigmoid())
    weight = torch.where(targets > 0.0, alpha, 1.0 - alpha)
    return (weight * wrong**gamma * entropy).sum() / targets.sum().clamp(min=1.0)


class Targets:
    """Which cells of a batch are to see a person, and whose box: rebit's rule, worked out once."""

    def __init__(self, annotated, scenes, rows, columns):
        self.positive = torch.zeros(scenes, rows * columns)
        points = centres(torch.arange(rows * columns), columns)
        scene, cells, boxes = [], [], []
        for k in range(scenes):
            owner = {}
            own = annotated[annotated[:, 0] == k][:, 1:5]
            # The smallest last, so that it keeps its cells.
            for b in sorted(own, key=lambda b: -float(area(b))):
                middle, quarter = (b[:2] + b[2:]) / 2.0, (b[2:] - b[:2]) / 4.0
                within = ((points - middle).abs() <= quarter).all(1).nonzero()[:, 0].tolist()
                if not within:
                    column = min(max(int(middle[0] / STRIDE), 0), columns - 1)
                    within = [min(max(int(middle[1] / STRIDE), 0), rows - 1) * columns + column]
                owner.update((cell, b) for cell in within)
            for cell in sorted(owner):
                scene.append(k)
                cells.append(cell)
                boxes.append(owner[cell])
        self.scene, self.cells, self.boxes = torch.tensor(scene), torch.tensor(cells), torch.stack(boxes)
        self.positive[self.scene, self.cells] = 1.0
        self.points = points[self.cells]

    def loss(self, score, distances):
        boxes = decode(distances.flatten(2)[self.scene, :, self.cells], self.points)
        return focal(score.flatten(1), self.positive) + giou_loss(boxes, self.boxes)
