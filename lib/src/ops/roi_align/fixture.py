"""ROI-Align in torchvision: the numbers of the test `torchvision_gives_the_same_values_and_gradients`.

    python3 lib/src/ops/roi_align/fixture.py      # torch and torchvision

In double precision. Every number of the features is a wave of its index, so that both sides have the same without a file.
"""

import torch
from torchvision.ops import roi_align

torch.set_default_dtype(torch.float64)
H, W, OUT, SCALE = 12, 20, (4, 3), 0.125
BOXES = [[3.3, 2.6, 21.1, 20.7], [60.2, 20.3, 170.4, 99.2], [-14.4, 40.1, 37.7, 115.9], [0.0, 0.0, 160.0, 96.0]]

k = torch.arange(3 * H * W)
c, y, x = k // (H * W), k // W % H, k % W
features = ((0.41 * x + c).sin() + (0.37 * y - 0.15 * x).cos()).reshape(1, 3, H, W).requires_grad_()
for sampling in (1, 2, 3):
    value = roi_align(features, [torch.tensor(BOXES)], OUT, SCALE, sampling, aligned=True)
    weights = ((torch.arange(value.numel()) % 13) - 6.0).reshape(value.shape) / 10
    (slope,) = torch.autograd.grad((value * weights).sum(), features)
    print(sampling, "values", [round(v, 6) for v in value.flatten()[::11].tolist()])
    print(sampling, "gradients", [round(v, 6) for v in slope.flatten()[::53].tolist()])
