"""onnxruntime's side of `tests/peers/run quantise`: prints one JSON object.

    onnx_peer.py THREADS calibrate FOLDER             quantize_static on the float network: seconds, top-1
    onnx_peer.py THREADS run FOLDER FILE BATCH ROUNDS seconds of a batch
"""

import json
import pathlib
import sys
import time

import numpy
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

SHAPE = (-1, 3, 32, 32)


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Reader(CalibrationDataReader):
    """Calibration images, a batch at a time."""

    def __init__(self, images):
        self.rest = iter([{"input": images[i : i + 64]} for i in range(0, len(images), 64)])

    def get_next(self):
        return next(self.rest, None)


def top1(path, folder, threads):
    run = session(path, threads)
    images = numpy.fromfile(folder / "test.f32", "<f4").reshape(SHAPE)
    labels = numpy.fromfile(folder / "labels.u8", numpy.uint8)
    parts = [run.run(None, {"input": images[i : i + 250]})[0].argmax(1) for i in range(0, len(images), 250)]
    return float(100 * (numpy.concatenate(parts) == labels).mean())


def calibrate(folder, threads):
    images = numpy.fromfile(folder / "calibration.f32", "<f4").reshape(SHAPE)
    path, seconds = folder / "peer.onnx", []
    for _ in range(3):
        start = time.perf_counter()
        quantize_static(folder / "float.onnx", path, Reader(images), quant_format=QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
        seconds.append(time.perf_counter() - start)
    files = {name: top1(folder / f"{name}.onnx", folder, threads) for name in ("float", "peer", "w8a8", "w7a8")}
    return {"seconds": seconds, "top1": files}


def run(folder, name, batch, rounds, threads):
    engine = session(folder / f"{name}.onnx", threads)
    images = numpy.fromfile(folder / "test.f32", "<f4", count=batch * 3072).reshape(SHAPE)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        engine.run(None, {"input": images})
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def main():
    threads, what, folder, *rest = sys.argv[1:]
    threads, folder = int(threads), pathlib.Path(folder)
    if what == "calibrate":
        found = calibrate(folder, threads)
    else:
        found = run(folder, rest[0], int(rest[1]), int(rest[2]), threads)
    found["version"] = onnxruntime.__version__
    print(json.dumps(found))


if __name__ == "__main__":
    main()
