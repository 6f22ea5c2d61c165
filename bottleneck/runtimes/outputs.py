"""What is taken from a network: maps of layers, pooled, several from one forward pass."""

from collections.abc import Sequence
from typing import Any

from bottleneck.backbones.builders import Backbone, layer_output
from bottleneck.backbones.spec import OutputSpec
from bottleneck.errors import BackboneError
from bottleneck.runtimes.pooling import feature_length, pooled


def output_maps(backbone: Backbone, outputs: Sequence[OutputSpec]) -> list[Any]:
    """Find the map of each output, as a Keras tensor.

    Raises
    ------
    BackboneError
        For no or repeated outputs, or a layer that does not exist.
    """
    names = [output.name for output in outputs]
    if not names or len(set(names)) != len(names):
        raise BackboneError(
            f"{backbone.spec.name}: expected one or more different outputs, got {names}"
        )
    return [layer_output(backbone, output.layer) for output in outputs]


def output_dims(maps: Sequence[Any], outputs: Sequence[OutputSpec]) -> dict[str, int]:
    """Return the length of each output's features, by its name."""
    return {
        output.name: feature_length(tuple(one.shape[1:]), output.pool)
        for output, one in zip(outputs, maps, strict=True)
    }


def pooled_outputs(ops: Any, found: Any, outputs: Sequence[OutputSpec]) -> tuple[Any, ...]:
    """Pool what a network returned: a map, or one for each output.

    Parameters
    ----------
    ops : module
        ``keras.ops``.
    found : tensor or sequence of tensors, each of shape (n, h, w, c)
    outputs : sequence of OutputSpec
    """
    maps = found if isinstance(found, list | tuple) else [found]
    return tuple(pooled(ops, one, output.pool) for one, output in zip(maps, outputs, strict=True))
