"""Small ONNX files of every kind, and what they compute, by NumPy."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, PATCH, CHANNELS, REGISTERS = 32, 8, 6, 2
GRID = SIDE // PATCH

rng = np.random.default_rng(5)
KERNEL = rng.normal(0, 0.2, (CHANNELS, 3, PATCH, PATCH)).astype(np.float32)
BIAS = rng.normal(0, 1, CHANNELS).astype(np.float32)
PREFIX = rng.normal(0, 1, (1, 1 + REGISTERS, CHANNELS)).astype(np.float32)
MIX = rng.normal(0, 0.2, (CHANNELS, CHANNELS)).astype(np.float32)


def patches(x):
    """Convolve without overlap: (n, 3, h, w) to (n, channels, h / 8, w / 8)."""
    n, _, h, w = x.shape
    cut = x.reshape(n, 3, h // PATCH, PATCH, w // PATCH, PATCH)
    return np.einsum("nchiwj,dcij->ndhw", cut, KERNEL) + BIAS[:, None, None]


def tokens(x):
    """The class token, two registers and the patches; the first knows of the others."""
    maps = patches(x)
    flat = maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1)
    whole = np.concatenate([np.repeat(PREFIX, len(x), 0), flat], 1)
    return whole + whole.mean(1, keepdims=True) @ MIX


def constant(name, value):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))


def save(path, nodes, given, outputs, stored=(), *, external=False):
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in dict(stored).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if external:
        onnx.save(
            model,
            path,
            save_as_external_data=True,
            location=f"{path.stem}.weights",
            size_threshold=0,
        )
    else:
        onnx.save(model, path)
    return path


def convolution(given="images"):
    return helper.make_node(
        "Conv", [given, "kernel", "bias"], ["patches"], strides=[PATCH, PATCH], name="cut"
    )


WEIGHTS = {"kernel": KERNEL, "bias": BIAS}


def maps(path, **options):
    """A map and its mean; input (n, 3, 32, 32)."""
    nodes = [
        convolution(),
        helper.make_node("Relu", ["patches"], ["/map/relu"]),
        helper.make_node("GlobalAveragePool", ["/map/relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["vector"]),
    ]
    return save(path, nodes, ["n", 3, SIDE, SIDE], ["vector"], WEIGHTS, **options)


def maps_in_constants(path, prefix="w"):
    """The same with its weights in nodes, under other names."""
    nodes = [
        constant(f"{prefix}1", BIAS),
        constant(f"{prefix}0", KERNEL),
        helper.make_node(
            "Conv", ["images", f"{prefix}0", f"{prefix}1"], ["a"], strides=[PATCH, PATCH]
        ),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
    ]
    return save(path, nodes, ["n", 3, SIDE, SIDE], ["d"])


def nhwc(path):
    """Channels last, and means of blue, green and red to be taken off before."""
    nodes = [
        helper.make_node("Transpose", ["images"], ["first"], perm=[0, 3, 1, 2]),
        convolution("first"),
        helper.make_node("Transpose", ["patches"], ["last"], perm=[0, 2, 3, 1]),
    ]
    return save(path, nodes, ["n", SIDE, SIDE, 3], ["last"], WEIGHTS)


def transformer(path, batch="n", side=SIDE):
    """Tokens: a class token, two registers, patches."""
    nodes = [
        convolution(),
        helper.make_node("Shape", ["patches"], ["all"]),
        helper.make_node("Gather", ["all", "zero"], ["n"]),
        helper.make_node("Reshape", ["patches", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Concat", ["n", "two"], ["times"], axis=0),
        helper.make_node("Expand", ["prefix", "times"], ["before"]),
        helper.make_node("Concat", ["before", "rows"], ["whole"], axis=1),
        helper.make_node("ReduceMean", ["whole"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("MatMul", ["mean", "mix"], ["mixed"]),
        helper.make_node("Add", ["whole", "mixed"], ["/block/tokens"]),
    ]
    stored = {
        **WEIGHTS,
        "prefix": PREFIX,
        "mix": MIX,
        "zero": np.array([0], np.int64),
        "flat": np.array([0, CHANNELS, -1], np.int64),
        "two": np.array([1 + REGISTERS, CHANNELS], np.int64),
    }
    return save(path, nodes, [batch, 3, side, side], ["/block/tokens"], stored)


def random(path):
    """A network that drops at random, as one left in training mode does."""
    nodes = [
        convolution(),
        helper.make_node("RandomUniformLike", ["patches"], ["noise"]),
        helper.make_node("Mul", ["patches", "noise"], ["out"]),
    ]
    return save(path, nodes, ["n", 3, SIDE, SIDE], ["out"], WEIGHTS)


def normalised_over_the_batch(path):
    """A network that looks at the other images, as batch normalisation in training does."""
    nodes = [
        convolution(),
        helper.make_node("ReduceMean", ["patches"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["patches", "mean"], ["out"]),
    ]
    return save(path, nodes, ["n", 3, SIDE, SIDE], ["out"], WEIGHTS)


def blind(path):
    """A network that gives the same for every picture."""
    nodes = [
        convolution(),
        helper.make_node("Mul", ["patches", "nothing"], ["none"]),
        helper.make_node("Add", ["none", "one"], ["out"]),
    ]
    stored = {**WEIGHTS, "nothing": np.zeros(1, np.float32), "one": np.ones(1, np.float32)}
    return save(path, nodes, ["n", 3, SIDE, SIDE], ["out"], stored)


def not_finite(path):
    nodes = [convolution(), helper.make_node("Log", ["patches"], ["out"])]
    return save(path, nodes, ["n", 3, SIDE, SIDE], ["out"], WEIGHTS)
