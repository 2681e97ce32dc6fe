"""What we export is ONNX to its own checker, and onnxruntime gives our answers; what others wrote, we read."""

import json
import os
import pathlib
import subprocess

import numpy
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

PROGRAM = os.environ["ORACLE_ONNX"]
FOLDER = pathlib.Path(os.environ["ORACLE_FOLDER"])
LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "on": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


@pytest.fixture(scope="session")
def exchange():
    subprocess.run([PROGRAM, "export", FOLDER, os.environ.get("ORACLE_IMAGES", str(ALL))], check=True)
    return {work["name"]: work for work in json.loads((FOLDER / "works.json").read_text())}


def session(path, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def answers(path, level, images):
    run = session(path, level)
    name = run.get_inputs()[0].name
    parts = [run.run(None, {name: images[i : i + 250]})[0] for i in range(0, len(images), 250)]
    return numpy.concatenate(parts)


def numbers(name, shape):
    return numpy.fromfile(FOLDER / name, "<f4", count=int(numpy.prod(shape))).reshape(shape)


def of(work, level):
    """Our answers and onnxruntime's."""
    theirs = answers(FOLDER / f"{work['name']}.onnx", level, numbers(f"{work['images']}.f32", work["shape"]))
    return numbers(f"{work['name']}.answers.f32", theirs.shape), theirs


FLOAT = ["float", "folded", "option_a", "edsr", "srresnet"]
QUANTISED = ["w8a8", "w7a8", "w4a4", "w4", "w8a8_per_tensor"]
# Written as whole numbers: as exact in floating point as IntegerNet.
WHOLE = ["w8a8", "w4a4"]
# Fewer images give no verdict on top-1: a tenth of a point is one image of a thousand.
ALL = 10_000


@pytest.mark.parametrize("name", FLOAT + QUANTISED)
def test_the_checker_takes_it(exchange, name):
    model = onnx.load(FOLDER / f"{exchange[name]['name']}.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 13


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FLOAT)
def test_networks_at_full_precision(exchange, name, level):
    ours, theirs = of(exchange[name], level)
    assert numpy.abs(ours - theirs).max() <= 1e-4 * numpy.abs(ours).max()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_networks(exchange, name, level):
    ours, theirs = of(exchange[name], level)
    same = (ours.argmax(1) == theirs.argmax(1)).mean()
    labels = numpy.fromfile(FOLDER / "labels.u8", numpy.uint8)
    if len(labels) == 0:
        pytest.skip("CIFAR-10 is not here: noise has no answer")
    top = [100 * (side.argmax(1) == labels).mean() for side in (ours, theirs)]
    print(f"{name}, optimisations {level}: {100 * same:.2f} % equal answers, top-1 {top[0]:.2f} and {top[1]:.2f} %")
    assert same >= 0.995
    assert len(labels) < ALL or abs(top[0] - top[1]) <= 0.1
    if exchange[name]["integer"]:
        whole = numbers(f"{name}.integer.f32", ours.shape)
        share = (whole == theirs).all(1).mean()
        print(f"  IntegerNet's answers: {100 * (whole.argmax(1) == theirs.argmax(1)).mean():.2f} % equal, to the bit "
              f"{100 * share:.2f} %; to those of predict {100 * (whole.argmax(1) == ours.argmax(1)).mean():.2f} % equal")
        # A mean over pixels may be summed in another order.
        assert name not in WHOLE or share >= 0.999


def ours_of(path, images, shape, tmp_path):
    images.astype("<f4").tofile(tmp_path / "x.f32")
    command = [PROGRAM, "import", path, tmp_path / "x.f32", *map(str, images.shape), tmp_path / "y.f32"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return numpy.fromfile(tmp_path / "y.f32", "<f4").reshape(shape)


def plain_network(path):
    """A small network in the layout of PyTorch's exporter: folded batch norms, `/module/Op` nodes, Constant nodes."""
    random = numpy.random.default_rng(7)
    constants, nodes = [], []

    def constant(name, *shape):
        value = (random.standard_normal(shape) * 0.3).astype(numpy.float32)
        constants.append(numpy_helper.from_array(value, name))
        return name

    def node(kind, inputs, output, **attributes):
        name = output.removesuffix("_output_0")
        nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    window = {"dilations": [1, 1], "group": 1, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
    x = node("Conv", ["input.1", constant("features.0.weight", 8, 3, 3, 3), constant("features.0.bias", 8)],
             "/features/0/Conv_output_0", **window)
    x = node("Relu", [x], "/features/1/Relu_output_0")
    y = node("MaxPool", [x], "/features/2/MaxPool_output_0", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0)
    w = node("Conv", [y, constant("features.3.weight", 8, 1, 3, 3)], "/features/3/Conv_output_0", **(window | {"group": 8}))
    variance = numpy_helper.from_array(random.random(8).astype(numpy.float32) + 0.5, "features.4.running_var")
    constants.append(variance)
    norm = [constant(f"features.4.{what}", 8) for what in ("weight", "bias", "running_mean")]
    w = node("BatchNormalization", [w, *norm, "features.4.running_var"], "/features/4/BatchNormalization_output_0",
             epsilon=1e-5, momentum=0.9)
    lowest, highest = (numpy_helper.from_array(numpy.float32(v)) for v in (0, 6))
    low = node("Constant", [], "/features/5/Constant_output_0", value=lowest)
    high = node("Constant", [], "/features/5/Constant_1_output_0", value=highest)
    w = node("Clip", [w, low, high], "/features/5/Clip_output_0")
    y = node("Add", [w, y], "/Add_output_0")
    z = node("Concat", [y, w], "/Concat_output_0", axis=1)
    z = node("AveragePool", [z], "/pool/AveragePool_output_0", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0])
    z = node("Flatten", [z], "/Flatten_output_0", axis=1)
    z = node("Gemm", [z, constant("fc.weight", 5, 16 * 16), constant("fc.bias", 5)], "logits", alpha=1.0, beta=1.0, transB=1)
    graph = helper.make_graph(
        nodes, "main_graph",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def test_a_network_of_another_program_is_read(tmp_path):
    path = tmp_path / "theirs.onnx"
    plain_network(path)
    images = numpy.random.default_rng(1).standard_normal((5, 3, 16, 16)).astype(numpy.float32)
    theirs = answers(path, "on", images)
    ours = ours_of(path, images, theirs.shape, tmp_path)
    assert numpy.abs(ours - theirs).max() <= 1e-4 * numpy.abs(theirs).max()


def test_a_network_that_onnxruntime_quantised_is_read(exchange, tmp_path):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    images = numbers("images.f32", exchange["folded"]["shape"])[:64]

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rest = iter([{"input": images[:32]}])

        def get_next(self):
            return next(self.rest, None)

    path = tmp_path / "int8.onnx"
    quantize_static(
        FOLDER / "folded.onnx", path, Reader(), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8, per_channel=True,
        op_types_to_quantize=["Conv", "Gemm"],
    )
    theirs = answers(path, "off", images)
    ours = ours_of(path, images, theirs.shape, tmp_path)
    assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.98


def test_a_missing_operator_is_named_with_its_node(tmp_path):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node("LRN", ["x"], ["y"], name="/norm/LRN", size=3)
    model = helper.make_model(helper.make_graph([node], "g", [value], [out]), opset_imports=[helper.make_opsetid("", 13)])
    onnx.save(model, tmp_path / "lrn.onnx")
    numpy.zeros((1, 3, 4, 4), "<f4").tofile(tmp_path / "x.f32")
    command = [PROGRAM, "import", tmp_path / "lrn.onnx", tmp_path / "x.f32", "1", "3", "4", "4", tmp_path / "y.f32"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode != 0 and "/norm/LRN" in done.stderr and "LRN" in done.stderr
