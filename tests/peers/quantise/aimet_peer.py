"""AIMET's side of `tests/peers/run quantise`: prints one JSON object.

    aimet_peer.py THREADS adaround FOLDER BITS SEED ITERATIONS

AdaRound of the folded ResNet-20 in FOLDER/float.safetensors on the 512 images of FOLDER/calibration-SEED.f32: weights on
2^BITS levels by channel, activations on 256; seconds of the rounding alone and with the activations' ranges, and top-1.
"""

import json
import logging
import pathlib
import sys
import tempfile
import time

import numpy
import torch
from safetensors.torch import load_file
from torch import nn

logging.disable(logging.INFO)

from aimet_torch.adaround.adaround_weight import Adaround, AdaroundParameters  # noqa: E402
from aimet_torch.common.defs import QuantScheme  # noqa: E402
from aimet_torch.nn.modules import custom  # noqa: E402
from aimet_torch.quantsim import QuantizationSimModel  # noqa: E402

SHAPE = (-1, 3, 32, 32)
# Ranges of weights by channel, with a zero point; inputs and outputs of every layer quantised but where a ReLU or a sum follows.
CONFIG = {
    "defaults": {
        "ops": {"is_output_quantized": "True"},
        "params": {"is_quantized": "True", "is_symmetric": "False"},
        "per_channel_quantization": "True",
        "strict_symmetric": "False",
        "unsigned_symmetric": "False",
    },
    "params": {"bias": {"is_quantized": "False"}},
    "op_type": {},
    "supergroups": [{"op_list": ["Conv", "Relu"]}, {"op_list": ["Add", "Relu"]}, {"op_list": ["Gemm", "Relu"]}],
    "model_input": {"is_input_quantized": "True"},
    "model_output": {},
}


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.relu1, self.relu2, self.add = nn.ReLU(), nn.ReLU(), custom.Add()
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride))

    def forward(self, x):
        y = self.conv2(self.relu1(self.conv1(x)))
        return self.relu2(self.add(y, x if self.downsample is None else self.downsample(x)))


class ResNet20(nn.Module):
    """Without batch norms: they are in the weights."""

    def __init__(self):
        super().__init__()
        self.conv1, self.relu = nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU()
        inputs = 16
        for stage, width in enumerate((16, 32, 64)):
            blocks = []
            for block in range(3):
                blocks.append(Block(inputs, width, 2 if stage > 0 and block == 0 else 1))
                inputs = width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.pool, self.flatten, self.fc = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.relu(self.conv1(x)))))
        return self.fc(self.flatten(self.pool(x)))


def images(path):
    return torch.from_numpy(numpy.fromfile(path, "<f4").reshape(SHAPE))


@torch.no_grad()
def top1(model, folder):
    labels = torch.from_numpy(numpy.fromfile(folder / "labels.u8", numpy.uint8).astype(numpy.int64))
    answers = torch.cat([model(part).argmax(1) for part in images(folder / "test.f32").split(250)])
    return float(100 * (answers == labels).float().mean())


def simulated(model, x, bits, config):
    return QuantizationSimModel(model, dummy_input=x[:1], quant_scheme=QuantScheme.post_training_tf_enhanced,
                                default_param_bw=bits, default_output_bw=8, config_file=config)


def adaround(folder, bits, seed, iterations):
    torch.manual_seed(seed)
    numpy.random.seed(seed)
    model = ResNet20().eval()
    model.load_state_dict(load_file(folder / "float.safetensors"))
    x = images(folder / f"calibration-{seed}.f32")
    batches = list(x.split(32))
    ranges = lambda m: [m(part) for part in x.split(64)]  # noqa: E731
    with tempfile.TemporaryDirectory() as scratch:
        config = pathlib.Path(scratch, "config.json")
        config.write_text(json.dumps(CONFIG))
        nearest = simulated(model, x, bits, str(config))
        with torch.no_grad():
            nearest.compute_encodings(ranges)
        before = top1(nearest.model, folder)
        start = time.perf_counter()
        params = AdaroundParameters(batches, len(batches), default_num_iterations=iterations)
        rounded = Adaround.apply_adaround(model, x[:1], params, path=scratch, filename_prefix="rounded", default_param_bw=bits,
                                          default_quant_scheme=QuantScheme.post_training_tf_enhanced, default_config_file=str(config))
        rounding = time.perf_counter() - start
        sim = simulated(rounded, x, bits, str(config))
        sim.set_and_freeze_param_encodings(str(pathlib.Path(scratch, "rounded.encodings")))
        with torch.no_grad():
            sim.compute_encodings(ranges)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "rounding": rounding, "float_top1": top1(model, folder), "nearest": before,
                "top1": top1(sim.model, folder)}


def main():
    import aimet_torch

    threads, what, folder, *rest = sys.argv[1:]
    torch.set_num_threads(int(threads))
    assert what == "adaround", f"{what}: say adaround"
    found = adaround(pathlib.Path(folder), *(int(n) for n in rest))
    found["version"] = getattr(aimet_torch, "__version__", "2.42.0")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
