"""Which layer of a file belongs to which layer of a network, by name and by content.

Names of the same layers elsewhere: networks of Caffe and TF-slim that are Keras's own.

Only where the networks compute the same; where they do not (ResNet), names are not made alike.

By name first; names that Keras numbered by itself (``conv2d_17``) count by their rank among
their kind. By order only in files without names that say of themselves that each layer feeds
the next, or where no other order has the same shapes: equal shapes in another order would be
exchanged unnoticed.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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


HEAD_LAYERS: Final = 3
"""A file may hold this many layers more than the network: the head it was saved with."""

Pairs = list[tuple[Any, Layer]]

_NUMBERED: Final = re.compile(
    r"(?P<kind>conv(?:olution)?2d|depthwise_conv2d|separable_?conv(?:olution)?2d"
    r"|batch_?normalization|dense|normalization|layer_normalization)(?:_(?P<number>\d+))?"
)


class UnpairedError(ValueError):
    """The file does not fit the network; the message says where."""


def pair(model: Any, layers: tuple[Layer, ...], *, chained: bool) -> Pairs:
    """Find the file's layer for every layer of a network that has weights.

    Raises
    ------
    UnpairedError
        When one is missing, more is left over than a head, or only a guess would do.
    """
    wanted = [layer for layer in model.layers if layer.weights]
    by_name = named(wanted, layers)
    if len(by_name) == len(wanted):
        if len(layers) - len(wanted) > HEAD_LAYERS:
            raise UnpairedError(f"{len(layers)} layers with weights, not {len(wanted)}")
        return by_name
    if by_name and len(by_name) * 2 >= len(wanted):
        missing = set(map(id, wanted)) - {id(layer) for layer, _ in by_name}
        first = next(layer.name for layer in wanted if id(layer) in missing)
        raise UnpairedError(f"no layer {first}; {len(missing)} of {len(wanted)} are missing")
    if not 0 <= len(layers) - len(wanted) <= HEAD_LAYERS:
        raise UnpairedError(f"{len(layers)} layers with weights, not {len(wanted)}")
    return _in_order(wanted, layers, chained=chained)


def named(wanted: Iterable[Any], layers: tuple[Layer, ...]) -> Pairs:
    """Pair what has the same name, or the same rank among the names that Keras gave."""
    targets = list(wanted)
    ours = _keys([layer.name for layer in targets])
    theirs = dict(zip(_keys([layer.name for layer in layers]), layers, strict=True))
    return [(t, theirs[key]) for t, key in zip(targets, ours, strict=True) if key in theirs]


def fill(pairs: Pairs) -> None:
    """Put the tensors of a file into the layers of a network.

    Raises
    ------
    UnpairedError
        When a layer's tensors have other shapes; then nothing was changed.
    """
    ready = [(target, _values(target, layer)) for target, layer in pairs]
    for target, values in ready:
        for variable, value in values:
            variable.assign(value)
        if hasattr(target, "finalize_state"):  # Normalization computes from its weights
            target.finalize_state()


def check(pairs: Pairs) -> None:
    """Raise :class:`UnpairedError` where the shapes of a pair differ; change nothing."""
    for target, layer in pairs:
        _values(target, layer)


def _values(target: Any, layer: Layer) -> list[tuple[Any, NDArray[Any]]]:
    # The older layouts put what is trained first, whatever the layer's own order.
    variables = target.trainable_weights + target.non_trainable_weights
    expected = [tuple(variable.shape) for variable in variables]
    roles = [variable.name for variable in variables]
    tensors = layer.tensors
    if sorted(roles) == sorted(tensors):
        received = [tensors[role] for role in roles]
    else:
        received = list(tensors.values())
    shapes = [tuple(value.shape) for value in received]
    if expected != shapes:
        raise UnpairedError(
            f"layer {layer.name} of shapes {shapes}, not {expected} ({target.name})"
        )
    return list(zip(variables, received, strict=True))


def _keys(names: list[str]) -> list[tuple[str, int]]:
    """Make names comparable: a name of its own, or a kind and a rank among those numbered."""
    numbers: dict[str, set[int]] = defaultdict(set)
    parsed: list[tuple[str, int | None]] = []
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is None:
            parsed.append((name, None))
            continue
        kind = match["kind"].replace("convolution", "conv").replace("_", "")
        number = int(match["number"] or 0)
        numbers[kind].add(number)
        parsed.append((kind, number))
    ranks = {
        kind: {number: rank for rank, number in enumerate(sorted(found))}
        for kind, found in numbers.items()
    }
    return [
        (name, -1) if number is None else (name, ranks[name][number]) for name, number in parsed
    ]


def _in_order(wanted: list[Any], layers: tuple[Layer, ...], *, chained: bool) -> Pairs:
    expected = [_signature(v.shape for v in layer.weights) for layer in wanted]
    received = [_signature(v.shape for v in layer.tensors.values()) for layer in layers]
    pairs = list(zip(wanted, layers, strict=False))
    for (target, layer), ours, theirs in zip(pairs, expected, received, strict=False):
        if ours != theirs:
            raise UnpairedError(
                f"layer {layer.name} of shapes {list(theirs)}, not {list(ours)} ({target.name})"
            )
    if not chained:
        repeated = [shape for shape, count in Counter(expected).items() if count > 1]
        if repeated:
            raise UnpairedError(
                f"layers of other names ({layers[0].name}, not {wanted[0].name}), whose order"
                f" shapes do not tell: several are {list(repeated[0])}"
            )
    return pairs


def _signature(shapes: Iterable[Any]) -> tuple[tuple[int, ...], ...]:
    return tuple(sorted(tuple(int(n) for n in np.atleast_1d(shape)) for shape in shapes))
