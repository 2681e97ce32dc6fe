"""The ROI transform in PyTorch: the numbers of the test `pytorch_gives_the_same_values_and_gradients`.

    python3 lib/src/ops/roi_transform/fixture.py

`affine_grid` and `grid_sample` without aligned corners, zeros around the image, in double precision. Every number of the image
is a wave of its index, so that both sides have the same without a file.
"""

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
H, W, OUT = 24, 40, (8, 4)
BOXES = [[3.3, 2.6, 21.1, 20.7], [12.2, 5.3, 37.4, 19.2], [-4.4, 10.1, 9.7, 27.9]]

k = torch.arange(3 * H * W)
c, y, x = k // (H * W), k // W % H, k % W
image = ((0.21 * x + c).sin() + (0.17 * y - 0.05 * x).cos()).reshape(1, 3, H, W)
boxes = torch.tensor(BOXES, requires_grad=True)
x1, y1, x2, y2 = boxes.unbind(1)
zero = torch.zeros_like(x1)
theta = torch.stack(
    [
        torch.stack([(x2 - x1) / W, zero, (x1 + x2) / W - 1], 1),
        torch.stack([zero, (y2 - y1) / H, (y1 + y2) / H - 1], 1),
    ],
    1,
)
grid = F.affine_grid(theta, [len(BOXES), 3, *OUT], align_corners=False)
value = F.grid_sample(image.expand(len(BOXES), -1, -1, -1), grid, padding_mode="zeros", align_corners=False)
weights = ((torch.arange(value.numel()) % 13) - 6.0).reshape(value.shape) / 10
(value * weights).sum().backward()
print("values", [round(v, 7) for v in value.flatten()[::17].tolist()])
print("gradients", [round(v, 7) for v in boxes.grad.flatten().tolist()])
