"""A head as an ONNX model, written byte by byte: no package of ONNX is needed.

From features (float32, rows x length) the model computes ``scores``, ``label`` (index of the
class) and, for heads that have them, ``probabilities``; products are float64, as here. Of heads
of labels there is no ``label``: those of a probability above a half hold. The ``scores`` of
heads of numbers are the numbers. Names and the recipe of the features are in the model's
metadata.

Field numbers are of ``onnx.proto`` (https://github.com/onnx/onnx), the encoding is that of
protocol buffers (https://protobuf.dev/programming-guides/encoding).
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck import __version__
from bottleneck.errors import HeadError
from bottleneck.heads.head import Head
from bottleneck.heads.registry import head_kind
from bottleneck.writing import written_whole

_IR_VERSION, _OPSET = 8, 13
_FLOAT, _INT64, _DOUBLE = 1, 7, 11
_ATTRIBUTE_INT = 2


def write_onnx(head: Head, path: Path) -> None:
    """Write a head as an ONNX model (IR version 8, operator set 13).

    Parameters
    ----------
    head : Head
        A head of the catalogue.
    path : Path
        Where to; an existing file is replaced.

    Raises
    ------
    HeadError
        When it cannot be written.
    """
    content = onnx_model(head)
    try:
        with written_whole(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise HeadError(f"cannot write {path}: {error.strerror or error}") from error


def onnx_model(head: Head) -> bytes:
    """Return the bytes of the ONNX model of a head.

    Raises
    ------
    HeadError
        For a head that is not of the catalogue.
    """
    layers = [
        (np.asarray(weights, np.float64), np.asarray(bias, np.float64))
        for weights, bias in head_kind(head.kind).layers(head.estimator)
    ]
    if not layers:
        raise HeadError(
            f"expected a head of dense layers, which ONNX can hold, got {head.kind}",
            hint="The linear heads and mlp are; skl2onnx converts classifiers of scikit-learn.",
        )
    *hidden, (coef, intercept) = layers
    two = head.task == "classes" and coef.shape[1] == 1
    if two:  # the columns of Head.scores
        coef = np.concatenate([-coef, coef], axis=1)
        intercept = np.concatenate([-intercept, intercept])
    tensors = [_tensor("coef", np.ascontiguousarray(coef)), _tensor("intercept", intercept)]
    nodes, last = [_node("Cast", ["features"], ["wide"], to=_DOUBLE)], "wide"
    for i, (weights, bias) in enumerate(hidden):
        tensors += [_tensor(f"hidden_coef_{i}", weights), _tensor(f"hidden_intercept_{i}", bias)]
        nodes += [
            _node("MatMul", [last, f"hidden_coef_{i}"], [f"hidden_products_{i}"]),
            _node("Add", [f"hidden_products_{i}", f"hidden_intercept_{i}"], [f"hidden_sums_{i}"]),
            _node("Relu", [f"hidden_sums_{i}"], [f"hidden_{i}"]),
        ]
        last = f"hidden_{i}"
    nodes += [
        _node("MatMul", [last, "coef"], ["products"]),
        _node("Add", ["products", "intercept"], ["sums"]),
        _node("Cast", ["sums"], ["scores"], to=_FLOAT),
    ]
    classes = len(head.classes)
    outputs = [_value("scores", _FLOAT, ["rows", classes])]
    factor = None
    if head.task == "classes":
        nodes.append(_node("ArgMax", ["sums"], ["label"], axis=1, keepdims=0))
        outputs.insert(0, _value("label", _INT64, ["rows"]))
        factor = _factor(head, two)
    elif head.task == "labels":
        nodes += [
            _node("Sigmoid", ["sums"], ["each"]),
            _node("Cast", ["each"], ["probabilities"], to=_FLOAT),
        ]
        outputs.append(_value("probabilities", _FLOAT, ["rows", classes]))
    if factor is not None:
        tensors.append(_tensor("factor", np.array(factor, np.float64)))
        nodes += [
            _node("Mul", ["sums", "factor"], ["logits"]),
            _node("Softmax", ["logits"], ["shares"], axis=1),
            _node("Cast", ["shares"], ["probabilities"], to=_FLOAT),
        ]
        outputs.append(_value("probabilities", _FLOAT, ["rows", classes]))
    graph = b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, f"bottleneck {head.kind}".encode()),
            *(_field(5, tensor) for tensor in tensors),
            _field(11, _value("features", _FLOAT, ["rows", head.dim])),
            *(_field(12, output) for output in outputs),
        ]
    )
    about = {
        "task": head.task,
        "classes": json.dumps(list(head.classes), ensure_ascii=False),
        "recipe": head.recipe.to_json(),
        "output": head.output,
    }
    return b"".join(
        [
            _number(1, _IR_VERSION),
            _field(2, b"bottleneck"),
            _field(3, __version__.encode()),
            _field(7, graph),
            _field(8, _number(2, _OPSET)),
            *(
                _field(14, _text(1, key) + _text(2, value))
                for key, value in about.items()
            ),
        ]
    )  # fmt: skip


def _factor(head: Head, two: bool) -> float | None:
    """Return what makes logits of scores; None where there are no probabilities."""
    temperature = head.report.get("temperature")
    if temperature is not None:
        return 1 / float(temperature)
    if not hasattr(head.estimator, "predict_proba"):
        return None
    return 0.5 if two else 1.0  # softmax(-z / 2, z / 2) is the logistic function of z


def _node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **integers: int) -> bytes:
    attributes = (
        _text(1, name) + _number(3, value) + _number(20, _ATTRIBUTE_INT)
        for name, value in integers.items()
    )
    return b"".join(
        [
            *(_text(1, name) for name in inputs),
            *(_text(2, name) for name in outputs),
            _text(4, kind),
            *(_field(5, attribute) for attribute in attributes),
        ]
    )


def _tensor(name: str, array: NDArray[np.float64]) -> bytes:
    dims = b"".join(_number(1, size) for size in array.shape)
    return dims + _number(2, _DOUBLE) + _text(8, name) + _field(9, array.astype("<f8").tobytes())


def _value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    dims = (_text(2, size) if isinstance(size, str) else _number(1, size) for size in shape)
    tensor = _number(1, kind) + _field(2, b"".join(_field(1, dim) for dim in dims))
    return _text(1, name) + _field(2, _field(1, tensor))


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode("utf-8", "backslashreplace"))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    """Encode seven bits a byte, the lowest first; all but the last have the eighth bit set."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
