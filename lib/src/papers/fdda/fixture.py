"""FDDA's generator and its loss in PyTorch: the numbers of the test `pytorch_gives_the_same_losses_and_gradients`.

    python3 lib/src/papers/fdda/fixture.py

Written from the formulas of the paper and the constants of the authors' code; every number is a wave of its index, so
that both sides have the same without a file.
"""

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
LATENT, WIDTHS, CLASSES, SIZE, BATCH = 5, (4, 3), 3, 8, 4


def wave(shape, phase, scale, shift=0.0):
    k = torch.arange(torch.Size(shape).numel())
    # The library computes in f32 from these.
    values = (shift + scale * torch.sin(0.37 * k + phase)).float().double()
    return values.reshape(shape)


def leaf(values):
    return values.clone().requires_grad_()


start = SIZE // 4
G = {
    "linear.weight": leaf(wave((WIDTHS[0] * start * start, LATENT), 0.1, 0.4)),
    "linear.bias": leaf(wave((WIDTHS[0] * start * start,), 0.2, 0.2)),
    "conv1.weight": leaf(wave((WIDTHS[0], WIDTHS[0], 3, 3), 0.3, 0.3)),
    "conv1.bias": leaf(wave((WIDTHS[0],), 0.4, 0.1)),
    "conv2.weight": leaf(wave((WIDTHS[1], WIDTHS[0], 3, 3), 0.5, 0.3)),
    "conv2.bias": leaf(wave((WIDTHS[1],), 0.6, 0.1)),
    "conv3.weight": leaf(wave((3, WIDTHS[1], 3, 3), 0.7, 0.3)),
    "conv3.bias": leaf(wave((3,), 0.8, 0.1)),
}
for i, width in enumerate((WIDTHS[0], *WIDTHS)):
    G[f"norm{i}.scale.weight"] = leaf(wave((CLASSES, width), 1.0 + i, 0.3, 1.0))
    G[f"norm{i}.shift.weight"] = leaf(wave((CLASSES, width), 2.0 + i, 0.3))


def conditional(x, y, i, eps):
    x = F.batch_norm(x, None, None, training=True, eps=eps)
    scale, shift = G[f"norm{i}.scale.weight"][y], G[f"norm{i}.shift.weight"][y]
    return scale[:, :, None, None] * x + shift[:, :, None, None]


def generate(z, y):
    x = F.linear(z, G["linear.weight"], G["linear.bias"]).reshape(-1, WIDTHS[0], start, start)
    x = conditional(x, y, 0, 1e-5)
    for i in (1, 2):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = F.conv2d(x, G[f"conv{i}.weight"], G[f"conv{i}.bias"], padding=1)
        x = F.leaky_relu(conditional(x, y, i, 0.8), 0.2)
    x = torch.tanh(F.conv2d(x, G["conv3.weight"], G["conv3.bias"], padding=1))
    return F.batch_norm(x, None, None, training=True, eps=1e-5)


T = {
    "a": wave((4, 3, 3, 3), 0.9, 0.3),
    "b": wave((5, 4, 3, 3), 1.1, 0.3),
    "fc": wave((CLASSES, 5), 1.3, 0.8),
}
NORMS = [
    dict(mean=wave((c,), 3.0 + i, 0.2), var=wave((c,), 3.5 + i, 0.3, 1.0), weight=wave((c,), 4.0 + i, 0.3, 1.0),
         bias=wave((c,), 4.5 + i, 0.2))
    for i, c in enumerate((4, 5))
]


def network(x):
    seen = []
    for name, stride, norm in (("a", 1, NORMS[0]), ("b", 2, NORMS[1])):
        x = F.conv2d(x, T[name], padding=1, stride=stride)
        seen.append((x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)))
        x = F.relu(F.batch_norm(x, norm["mean"], norm["var"], norm["weight"], norm["bias"], eps=1e-5))
    return F.linear(x.mean((2, 3)), T["fc"]), seen


def distance(seen, targets):
    return sum(F.mse_loss(m, tm) + F.mse_loss(v, tv) for (m, v), (tm, tv) in zip(seen, targets)) / len(targets)


y, c = torch.tensor([0, 2, 1, 2]), torch.full((BATCH,), 1)
z, z_only = wave((BATCH, LATENT), 5.0, 1.5), wave((BATCH, LATENT), 5.7, 1.5)
centre = network(wave((1, 3, SIZE, SIZE), 6.0, 1.2))[1]
moved = [(m + wave(m.shape, 7.0 + i, 0.5), v + wave(v.shape, 7.5 + i, 1.0)) for i, (m, v) in enumerate(centre)]

logits, seen = network(generate(z, y))
ce, bns = F.cross_entropy(logits, y), distance(seen, [(n["mean"], n["var"]) for n in NORMS])
logits, seen = network(generate(z_only, c))
ce_only, l_c, l_d = F.cross_entropy(logits, c), distance(seen, centre), distance(seen, moved)
loss = 0.5 * ce + 0.5 * ce_only + 0.2 * bns + 0.01 * l_c + 0.9 * l_d
loss.backward()

print("losses", [round(float(v.detach()), 6) for v in (ce, ce_only, bns, l_c, l_d, loss)])
for name in ("linear.weight", "norm1.scale.weight", "norm2.shift.weight", "conv2.weight", "conv3.bias"):
    grad = G[name].grad.flatten()
    print(name, [round(float(v), 7) for v in grad[:4]], "absolute sum", round(float(grad.abs().sum()), 6))
