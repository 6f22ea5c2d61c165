"""Names of the same layers elsewhere: networks of Caffe and TF-slim that are Keras's own.

Only where the networks compute the same; where they do not (ResNet), names are not made alike.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from bottleneck.weights.layout import Layer, Weights

_SLIM_BATCH_NORM: Final = "/BatchNorm"


def _vgg(layer: Layer) -> Layer:
    match = re.fullmatch(r"(?:.*/)?conv(\d)_(\d)", layer.name)
    if match is None:
        return layer
    tensors = dict(layer.tensors)
    if "/" in layer.name and match.groups() == ("1", "1") and "kernel" in tensors:
        # Slim's takes red first, Keras's takes blue first: the same function of an image.
        tensors["kernel"] = np.ascontiguousarray(tensors["kernel"][:, :, ::-1])
    return replace(layer, name=f"block{match[1]}_conv{match[2]}", tensors=tensors)


def _mobilenet(layer: Layer) -> Layer:
    name = layer.name.removesuffix(_SLIM_BATCH_NORM)
    match = re.fullmatch(r"(?:.*/)?Conv2d_(\d+)(?:_(depthwise|pointwise))?", name)
    if match is None:
        return layer
    kind = {"depthwise": f"conv_dw_{match[1]}", "pointwise": f"conv_pw_{match[1]}", None: "conv1"}
    ending = "_bn" if layer.name.endswith(_SLIM_BATCH_NORM) else ""
    return replace(layer, name=kind[match[2]] + ending)


_RULES: Final[dict[str, Callable[[Layer], Layer]]] = {
    "vgg16": _vgg,
    "vgg19": _vgg,
    "mobilenet": _mobilenet,
}

_FORMATS: Final = ("caffe", "tensorflow")


def as_keras_names(found: Weights, family: str) -> tuple[Layer, ...]:
    """Return a file's layers under the names that Keras gives them."""
    rule = _RULES.get(family)
    if rule is None or not found.format.startswith(_FORMATS):
        return found.layers
    return tuple(rule(layer) for layer in found.layers)
