"""What is taken from a network: what layers give, pooled, several from one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bottleneck.backbones.keras_network import tensors
from bottleneck.backbones.network import Form, Network, Shape
from bottleneck.backbones.spec import OutputSpec
from bottleneck.errors import BackboneError
from bottleneck.runtimes.pooling import feature_length, pooled


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
