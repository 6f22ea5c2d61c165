"""From pixels to a network's input, and from what its layers give to pooled outputs.

From pixels to the network's input, and from what it gives to a vector; always in float32.

Written in Keras's own operations, so every framework computes the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bottleneck.backbones.keras_network import tensors
from bottleneck.backbones.network import (
    GREY,
    Form,
    Map,
    Network,
    OutputSpec,
    Pool,
    Preprocess,
    Shape,
    Tokens,
    Vector,
)
from bottleneck.errors import BackboneError

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
    """Turn decoded items, RGB images mostly, into what the network wants, as float32."""
    x = ops.cast(images, "float32")
    scale: tuple[float, ...] = preprocess.scale
    offset: tuple[float, ...] = preprocess.offset
    if preprocess.channels == "bgr":
        x = ops.flip(x, axis=-1)
    elif preprocess.channels == "grey":
        x = ops.sum(x * ops.convert_to_tensor(GREY, "float32"), axis=-1, keepdims=True)
        scale, offset = scale[:1], offset[:1]
    if any(one != 1 for one in scale):
        x = x * ops.convert_to_tensor(scale, "float32")
    if any(offset):
        x = x + ops.convert_to_tensor(offset, "float32")
    return x


@dataclass(frozen=True)
class Taken:
    """Outputs of a network, and what each is pooled from.

    Parameters
    ----------
    outputs : sequence of OutputSpec
    shapes : sequence of Shape
    """

    outputs: Sequence[OutputSpec]
    shapes: Sequence[Shape]

    @property
    def dims(self) -> dict[str, int]:
        """Length of each output's features, by its name."""
        return {
            output.name: feature_length(shape, output.pool)
            for output, shape in zip(self.outputs, self.shapes, strict=True)
        }

    def pooled(self, ops: Any, found: Any) -> tuple[Any, ...]:
        """Pool what a network returned: one tensor, or one for each output.

        Parameters
        ----------
        ops : module
            ``keras.ops``, or what has the same functions.
        found : tensor or sequence of tensors
        """
        each = found if isinstance(found, list | tuple) else [found]
        return tuple(
            pooled(ops, one, output.pool, shape)
            for one, output, shape in zip(each, self.outputs, self.shapes, strict=True)
        )


def taken(backbone: Network, outputs: Sequence[OutputSpec], *forms: Form) -> Taken:
    """Find what outputs are pooled from, in a network that a runtime compiles.

    Parameters
    ----------
    backbone : Network
    outputs : sequence of OutputSpec
    *forms : {"keras", "torch", "graph"}
        What the runtime compiles.

    Raises
    ------
    BackboneError
        For no or repeated outputs, a layer that does not exist, a pool it does not have, or a
        network of another form.
    """
    if backbone.form not in forms:
        raise BackboneError(
            f"{backbone.spec.name}: expected a network of the form {' or '.join(forms)} for this"
            f" runtime, got {backbone.form}",
            hint="Without --runtime one is taken that compiles it.",
        )
    pairs = backbone.taken(outputs)
    return Taken([output for output, _ in pairs], [shape for _, shape in pairs])


def keras_tensors(backbone: Network, take: Taken) -> list[Any]:
    """Return the Keras tensor that each output is pooled from."""
    return tensors(backbone, (backbone.source(output) for output in take.outputs))
