"""What can be taken from a Keras model: its layers, and the tensors they give."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from bottleneck.backbones.network import (
    BackboneSpec,
    Map,
    Network,
    Shape,
    Tokens,
    Vector,
    WeightsInfo,
)
from bottleneck.backbones.weights import fingerprint
from bottleneck.errors import BackboneError
from bottleneck.images import ImageSize, image_shape


def layer_tensors(model: Any) -> dict[str, Any]:
    """Find the tensor that each layer gives in a model, by the layer's name.

    A model inside it has an output of its own besides, which is of no use here: it does not hang
    on this model's input.
    """
    found: dict[str, Any] = {}
    for nodes in getattr(model, "_nodes_by_depth", {}).values():
        for node in nodes:
            layer, outputs = node.operation, node.output_tensors
            if type(layer).__name__ != "InputLayer" and len(outputs) == 1:
                found[layer.name] = outputs[0]
    ordered = [layer.name for layer in model.layers]
    return {name: found[name] for name in ordered if name in found}


def shapes_of(
    model: Any, size: ImageSize, names: Mapping[str, str] | None = None
) -> Callable[[Sequence[str | None]], list[Shape | None]]:
    """Return what says the shapes of layers for images of a size; see :class:`Network`.

    Where the model leaves sizes open, they follow from the input's.
    """
    tensors, called = layer_tensors(model), names or {}

    def shapes(layers: Sequence[str | None]) -> list[Shape | None]:
        wanted = [
            model.output if one is None else tensors.get(called.get(one, one)) for one in layers
        ]
        open_ones = [one for one in wanted if _is_open(one)]
        closed = iter(_closed(model, open_ones, size))
        return [_shape(next(closed) if _is_open(one) else one) for one in wanted]

    return shapes


def tensors(network: Network, layers: Iterable[str | None]) -> list[Any]:
    """Return the Keras tensors of some layers; None is the model's output."""
    known: Mapping[str, Any] = layer_tensors(network.model)
    called = network.names
    return [
        network.model.output if name is None else known[called.get(name, name)] for name in layers
    ]


def _is_open(tensor: Any) -> bool:
    return tensor is not None and None in tuple(getattr(tensor, "shape", ()))[1:]


def _closed(model: Any, tensors: Sequence[Any], size: ImageSize) -> list[Any]:
    if not tensors:
        return []
    import keras

    given = keras.KerasTensor((1, *image_shape(size)), model.input.dtype)
    found = keras.Model(model.input, list(tensors)).compute_output_spec(given)
    return list(found) if isinstance(found, list | tuple) else [found]


def _shape(tensor: Any) -> Shape | None:
    sides = getattr(tensor, "shape", None)
    if sides is None or any(side is None for side in sides[1:]):
        return None
    if len(sides) == 4:
        return Map(*sides[1:])
    if len(sides) == 3:
        return Tokens(*sides[1:])
    return Vector(sides[1]) if len(sides) == 2 else None


def image_size(owner: str, model: Any, asked: ImageSize | None) -> ImageSize:
    """Say how large the images of a model are: what it fixes, else what is asked for.

    Raises
    ------
    BackboneError
        When it does not take images, fixes another size, or nobody says one.
    """
    sides = model.input_shape if hasattr(model, "input_shape") else None
    if not isinstance(sides, tuple) or len(sides) != 4 or sides[3] not in (1, 3):
        raise BackboneError(
            f"{owner}: expected a model of images, (n, height, width, 3), got {sides}"
        )
    fixed = sides[1:3]
    if asked is None and None in fixed:
        raise BackboneError(
            f"{owner}: expected a size, which the model leaves open, got none",
            hint="Say what it was trained with: --size N.",
        )
    height, width, _ = image_shape(fixed if asked is None else asked)
    if fixed[0] not in (None, height) or fixed[1] not in (None, width):
        raise BackboneError(
            f"{owner}: expected images of {fixed[0]} x {fixed[1]} pixels, which the model fixes"
            f", got {height} x {width}",
            hint="Leave --size out.",
        )
    return height if height == width else (height, width)


def network_of(
    spec: BackboneSpec,
    model: Any,
    size: ImageSize,
    *,
    source: str,
    main: str | None = None,
    names: Mapping[str, str] | None = None,
    facts: Mapping[str, Any],
    details: Mapping[str, Any] | None = None,
    derived: Collection[str] = (),
) -> Network:
    """Make a network of any Keras model that takes images.

    Parameters
    ----------
    spec : BackboneSpec
    model : keras.Model
    size : int or (int, int)
    source : str
        Where its weights come from.
    main : str, optional
        The layer that is taken when none is named; the model's output by default.
    names : mapping of str to str, optional
        What its layers are called elsewhere, to what the model calls them; only these are taken.
    facts : mapping
        What decides features besides.
    details : mapping, optional
        What is worth knowing besides.
    derived : collection of str, optional
        Variables that are no weights; see :func:`~bottleneck.backbones.weights.fingerprint`.

    Raises
    ------
    BackboneError
        For a main layer that there is not.
    """
    network = Network(
        spec,
        model,
        size,
        WeightsInfo(source, fingerprint(model, derived)),
        form="keras",
        layers=tuple(layer_tensors(model) if names is None else names),
        shapes=shapes_of(model, size, names),
        main=main,
        names=names or {},
        facts={**facts, **({} if main is None else {"layer": main})},
        details={"parameters": spec.params, "licence": spec.licence, **(details or {})},
    )
    network.shape(None)
    return network
