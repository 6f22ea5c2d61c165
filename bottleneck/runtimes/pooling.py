"""From pixels to the network's input, and from what it gives to a vector; always in float32.

Written in Keras's own operations, so every framework computes the same.
"""

from typing import Any, Final

from bottleneck.backbones.network import Map, Shape, Tokens, Vector
from bottleneck.backbones.spec import Pool, Preprocess

GEM_POWER: Final = 3.0
"""Exponent of the generalised mean, as Radenović et al. (2018) start it."""

GEM_FLOOR: Final = 1e-6
"""Values below are raised to it first: a cube root needs positive numbers."""


def pooled(ops: Any, values: Any, pool: Pool | None, shape: Shape) -> Any:
    """Pool what a layer gave.

    Parameters
    ----------
    ops : module
        ``keras.ops``, or what has the same functions.
    values : tensor, shape (n, ...)
    pool : Pool
        One of :data:`bottleneck.backbones.network.POOLS`.
    shape : Shape
        What ``values`` is.

    Returns
    -------
    tensor of float32, shape (n, length)
        ``avgmax``: means first; ``clsavg``: the class token first.
    """
    values = ops.cast(values, "float32")
    if isinstance(shape, Vector):
        return values
    if pool in ("none", "tokens"):
        if isinstance(shape, Map) and shape.channels_first:
            values = ops.transpose(values, (0, 2, 3, 1))
        return ops.reshape(values, (-1, feature_length(shape, pool)))
    if isinstance(shape, Tokens):
        prefix = shape.prefix or 0
        if pool == "cls":
            return values[:, 0]
        patches = values[:, prefix:] if prefix else values
        if pool == "clsavg":
            return ops.concatenate([values[:, 0], ops.mean(patches, 1)], axis=-1)
        return _over(ops, patches, pool, (1,))
    return _over(ops, values, pool, (2, 3) if shape.channels_first else (1, 2))


def _over(ops: Any, values: Any, pool: Pool | None, axes: tuple[int, ...]) -> Any:
    """Pool over places: the axes of a map, or the patches of tokens."""
    if pool == "avg":
        return ops.mean(values, axes)
    if pool == "max":
        return ops.max(values, axes)
    if pool == "avgmax":
        return ops.concatenate([ops.mean(values, axes), ops.max(values, axes)], axis=-1)
    powers = ops.maximum(values, GEM_FLOOR) ** GEM_POWER
    return ops.mean(powers, axes) ** (1.0 / GEM_POWER)


def feature_length(shape: Shape, pool: Pool | None) -> int:
    """Return the length of a feature pooled from what a layer gives."""
    if isinstance(shape, Map) and pool == "none":
        return shape.height * shape.width * shape.channels
    if isinstance(shape, Tokens) and pool == "tokens":
        return shape.count * shape.channels
    return shape.channels * (2 if pool in ("avgmax", "clsavg") else 1)


def preprocessed(ops: Any, images: Any, preprocess: Preprocess) -> Any:
    """Turn uint8 RGB images into what the network wants, as float32."""
    x = ops.cast(images, "float32")
    if preprocess.channels == "bgr":
        x = ops.flip(x, axis=-1)
    if preprocess.scale != (1.0, 1.0, 1.0):
        x = x * ops.convert_to_tensor(preprocess.scale, "float32")
    if preprocess.offset != (0.0, 0.0, 0.0):
        x = x + ops.convert_to_tensor(preprocess.offset, "float32")
    return x
