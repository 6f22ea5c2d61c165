"""Weights of Caffe: ``.caffemodel``, with layers of both versions and blobs old and new.

Field numbers from ``caffe.proto`` (BVLC/caffe). Kernels are stored (out, in, height, width) and
correlated; a BatchNorm's statistics are stored times a factor that has to be divided out.
"""

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import WeightsError
from bottleneck.weights.caffe_net import V1_TYPES
from bottleneck.weights.layout import MAX_LAYERS, Layer, Weights, damaged
from bottleneck.weights.wire import Message, Reader, WireError, ints, numbers, one

SCHEMA: Final = {
    "Net": {1: ("name", "str"), 2: ("v1", "V1"), 100: ("layer", "Layer")},
    "Layer": {1: ("name", "str"), 2: ("type", "str"), 7: ("blobs", "Blob")},
    "V1": {4: ("name", "str"), 5: ("type", "int"), 6: ("blobs", "Blob")},
    "Blob": {
        1: ("num", "int"),
        2: ("channels", "int"),
        3: ("height", "int"),
        4: ("width", "int"),
        5: ("data", "float"),
        7: ("shape", "Shape"),
        8: ("double_data", "double"),
    },
    "Shape": {1: ("dim", "int")},
}

_ROLES: Final = {
    "BatchNorm": ("moving_mean", "moving_variance"),
    "Scale": ("gamma", "beta"),
    "Bias": ("beta",),
    "PReLU": ("alpha",),
}


def read_caffe(path: Path, data: memoryview) -> Weights:
    """Read a ``.caffemodel``.

    Raises
    ------
    WeightsError
        When it is damaged or holds no layer.
    """
    try:
        net = Reader(SCHEMA).decode(data, "Net")
        old = net.get("v1", [])
        entries = [*old, *net.get("layer", [])]
        if not entries or len(entries) > MAX_LAYERS:
            raise WireError(f"{len(entries)} layers")
        layers, listed = [], []
        for entry in entries:
            kind = one(entry, "type", "")
            kind = V1_TYPES.get(kind, ("", str(kind)))[1] if isinstance(kind, int) else str(kind)
            name = str(one(entry, "name", ""))
            listed.append(name)
            blobs = [_blob(blob) for blob in entry.get("blobs", [])]
            if blobs:
                layers.append(Layer(name, _tensors(kind, blobs), kind))
    except (WireError, TypeError, ValueError) as error:
        raise damaged(path, f"a damaged caffemodel ({error})") from error
    return Weights(
        path,
        "caffe",
        f"Caffe, layers of version {1 if old else 2}",
        None,
        tuple(layers),
        remarks=("Kernels were stored (out, in, height, width).",),
        listed=tuple(listed),
    )


def read_mean(path: Path) -> NDArray[Any]:
    """Read a mean image of Caffe (``.binaryproto``): the mean of each channel, in its order.

    Caffe subtracts the image, or, as its own examples for Python do, what its pixels are on
    average, which fits any size.

    Raises
    ------
    WeightsError
        When it is not there, damaged, or no image of one channel or three.
    """
    try:
        blob = _blob(Reader(SCHEMA).decode(memoryview(path.read_bytes()), "Blob"))
    except OSError as error:
        raise WeightsError(
            f"{path}: expected a mean image of Caffe, got {error.strerror or error}"
        ) from error
    except (WireError, TypeError, ValueError) as error:
        raise damaged(path, f"a damaged mean image ({error})") from error
    sides = blob.shape[-3:]
    if blob.size == 0 or blob.size != math.prod(sides) or sides[0] not in (1, 3):
        raise WeightsError(
            f"{path}: expected a mean image of 1 or 3 channels, got an array of {blob.shape}"
        )
    means: NDArray[Any] = blob.reshape(sides).mean((1, 2), dtype=np.float64)
    if not np.isfinite(means).all():
        raise damaged(path, "a mean image that is not of finite numbers")
    return means


def _blob(blob: Message) -> NDArray[Any]:
    shape = one(blob, "shape")
    sides = (
        ints(shape, "dim")
        if shape is not None
        else [int(one(blob, name, 0)) for name in ("num", "channels", "height", "width")]
    )
    values = numbers(blob, "data" if "data" in blob else "double_data")
    if any(side < 0 for side in sides) or math.prod(sides) != values.size:
        raise WireError(f"a blob of shape {sides} with {values.size} values")
    return values.reshape(sides)


def _tensors(kind: str, blobs: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    if kind == "BatchNorm" and len(blobs) == 3:
        factor = float(blobs[2].ravel()[0]) if blobs[2].size else 0.0
        with np.errstate(all="ignore"):  # the numbers of a damaged file are not ours to judge
            scale = np.float32(1 / factor if factor else 0.0)
            blobs = [blob.ravel() * scale for blob in blobs[:2]]
    elif kind in {"Convolution", "Deconvolution", "InnerProduct"}:
        first = blobs[0]
        if kind == "InnerProduct":
            # The old kind of blob has axes of length one in front.
            first = first.reshape(first.shape[-2:]).T if first.ndim >= 2 else first
        elif first.ndim == 4:
            first = first.transpose(2, 3, 1, 0)
        blobs = [first, *(blob.ravel() for blob in blobs[1:])]
    else:
        blobs = [blob.ravel() for blob in blobs]
    roles = _ROLES.get(kind, ("kernel", "bias"))
    return {
        roles[i] if i < len(roles) else f"blob_{i}": np.ascontiguousarray(blob)
        for i, blob in enumerate(blobs)
    }
