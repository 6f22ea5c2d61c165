"""A head as an ONNX model, made by the package ``onnx`` (an extra).

From features (float32, rows x length) the model computes ``scores``, ``label`` (index of the
class) and, for heads that have them, ``probabilities``; products are float64, as here. Of heads
of labels there is no ``label``: those of a probability above a half hold. The ``scores`` of
heads of numbers are the numbers. Names and the recipe of the features are in the model's
metadata.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bottleneck import __version__
from bottleneck.errors import HeadError, not_importable
from bottleneck.heads.dense import dense_form
from bottleneck.heads.head import Head
from bottleneck.writing import written_whole

if TYPE_CHECKING:
    from onnx import ModelProto

_IR_VERSION, _OPSET = 8, 13


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
    RuntimeUnavailableError
        Without the package ``onnx``.
    """
    content = onnx_model(head).SerializeToString()
    try:
        with written_whole(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise HeadError(f"cannot write {path}: {error.strerror or error}") from error


def onnx_model(head: Head) -> "ModelProto":
    """Return the ONNX model of a head.

    Raises
    ------
    HeadError
        For a head that is not of the catalogue.
    RuntimeUnavailableError
        Without the package ``onnx``.
    """
    helper, numpy_helper, kinds = _onnx()
    form = dense_form(head)
    *hidden, (coef, intercept) = form.layers
    node, value = helper.make_node, helper.make_tensor_value_info
    constants = {"coef": coef, "intercept": intercept}
    nodes, last = [node("Cast", ["features"], ["wide"], to=kinds.DOUBLE)], "wide"
    for i, (weights, bias) in enumerate(hidden):
        constants |= {f"hidden_coef_{i}": weights, f"hidden_intercept_{i}": bias}
        nodes += [
            node("MatMul", [last, f"hidden_coef_{i}"], [f"hidden_products_{i}"]),
            node("Add", [f"hidden_products_{i}", f"hidden_intercept_{i}"], [f"hidden_sums_{i}"]),
            node("Relu", [f"hidden_sums_{i}"], [f"hidden_{i}"]),
        ]
        last = f"hidden_{i}"
    nodes += [
        node("MatMul", [last, "coef"], ["products"]),
        node("Add", ["products", "intercept"], ["sums"]),
        node("Cast", ["sums"], ["scores"], to=kinds.FLOAT),
    ]
    classes = len(head.classes)
    outputs = [value("scores", kinds.FLOAT, ["rows", classes])]
    factor = None
    if head.task == "classes":
        nodes.append(node("ArgMax", ["sums"], ["label"], axis=1, keepdims=0))
        outputs.insert(0, value("label", kinds.INT64, ["rows"]))
        factor = form.factor if form.answer == "softmax" else None
    elif head.task == "labels":
        nodes += [
            node("Sigmoid", ["sums"], ["each"]),
            node("Cast", ["each"], ["probabilities"], to=kinds.FLOAT),
        ]
        outputs.append(value("probabilities", kinds.FLOAT, ["rows", classes]))
    if factor is not None:
        constants["factor"] = np.array(factor, np.float64)
        nodes += [
            node("Mul", ["sums", "factor"], ["logits"]),
            node("Softmax", ["logits"], ["shares"], axis=1),
            node("Cast", ["shares"], ["probabilities"], to=kinds.FLOAT),
        ]
        outputs.append(value("probabilities", kinds.FLOAT, ["rows", classes]))
    graph = helper.make_graph(
        nodes,
        f"bottleneck {head.kind}",
        [value("features", kinds.FLOAT, ["rows", head.dim])],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph,
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        producer_name="bottleneck",
        producer_version=__version__,
    )
    about = {
        "task": head.task,
        "classes": json.dumps(list(head.classes), ensure_ascii=False),
        "recipe": head.recipe.to_json(),
        "output": head.output,
    }
    # Names of files that are no UTF-8 are written with their bytes as escapes.
    texts = {k: v.encode("utf-8", "backslashreplace").decode() for k, v in about.items()}
    helper.set_model_props(model, texts)
    return model


def _onnx() -> tuple[Any, Any, Any]:
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise not_importable("the package onnx", "onnx", error) from error
    return helper, numpy_helper, TensorProto
