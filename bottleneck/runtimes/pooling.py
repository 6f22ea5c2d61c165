"""From pixels to the network's input, and from a feature map to a vector; always in float32.

Written in Keras's own operations, so every framework computes the same.
"""

from typing import Any, Final

from bottleneck.backbones.spec import Pool, Preprocess

GEM_POWER: Final = 3.0
"""Exponent of the generalised mean, as Radenović et al. (2018) start it."""

GEM_FLOOR: Final = 1e-6
"""Values below are raised to it first: a cube root needs positive numbers."""


def pooled(ops: Any, maps: Any, pool: Pool) -> Any:
    """Pool a map.

    Parameters
    ----------
    ops : module
        ``keras.ops``.
    maps : tensor, shape (n, h, w, c)
    pool : {"avg", "max", "avgmax", "gem", "none"}

    Returns
    -------
    tensor of float32
        (n, c); (n, 2c) for ``avgmax``, means first; (n, h * w * c) for ``none``.
    """
    maps = ops.cast(maps, "float32")
    if pool == "avg":
        return ops.mean(maps, (1, 2))
    if pool == "max":
        return ops.max(maps, (1, 2))
    if pool == "avgmax":
        return ops.concatenate([ops.mean(maps, (1, 2)), ops.max(maps, (1, 2))], axis=-1)
    if pool == "gem":
        powers = ops.maximum(maps, GEM_FLOOR) ** GEM_POWER
        return ops.mean(powers, (1, 2)) ** (1.0 / GEM_POWER)
    return ops.reshape(maps, (-1, feature_length(tuple(maps.shape[1:]), "none")))


def feature_length(shape: tuple[int, ...], pool: Pool) -> int:
    """Return the length of a feature pooled from a map of shape (h, w, c)."""
    height, width, channels = shape
    return {"avgmax": 2 * channels, "none": height * width * channels}.get(pool, channels)


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
