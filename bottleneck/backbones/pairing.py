"""Which layer of a file belongs to which layer of a network, by name and by content.

By name first, those of Caffe and TF-slim under the names that we build by; names that Keras
numbered by itself (``conv2d_17``) count by their rank among their kind. By order only in files
without names that say of themselves that each layer feeds the next, or where no other order has
the same shapes: equal shapes in another order would be exchanged unnoticed.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.network import BackboneSpec
from bottleneck.weights.layout import Layer, Weights

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


@dataclass(frozen=True)
class Partly:
    """What a file filled of a network.

    Parameters
    ----------
    filled, random : tuple of str
        Layers of the network that it has weights for, and the others.
    left_over : tuple of str
        Layers of the file that the network has no place for.
    """

    filled: tuple[str, ...]
    random: tuple[str, ...]
    left_over: tuple[str, ...]


def fill_partly(model: Any, layers: tuple[Layer, ...]) -> Partly:
    """Fill the layers of a network that a file has by name and shape; the others stay.

    Raises
    ------
    UnpairedError
        When it has none of them.
    """
    wanted = [layer for layer in model.layers if layer.weights]
    fitting = []
    for target, layer in named(wanted, layers):
        try:
            check([(target, layer)])
        except UnpairedError:
            continue
        fitting.append((target, layer))
    if not fitting:
        raise UnpairedError("no layer whose name and shapes agree")
    fill(fitting)
    filled = {target.name for target, _ in fitting}
    used = {id(layer) for _, layer in fitting}
    return Partly(
        tuple(layer.name for layer in wanted if layer.name in filled),
        tuple(layer.name for layer in wanted if layer.name not in filled),
        tuple(layer.name for layer in layers if id(layer) not in used),
    )


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


_SLIM: Final = re.compile(
    r"(?:.*/)?(?P<network>InceptionV[1-4]|MobilenetV[12]|resnet_v[12]_(?:50|101|152)|vgg_1[69])"
    r"/(?P<layer>.+)"
)
"""A layer of TF-slim: everything is in a scope that is called like its network."""

_HEAD: Final = re.compile(r"(AuxLogits|Logits|logits|fc[678]|[Pp]redictions)(/.*)?")

_BATCH_NORM: Final = "/BatchNorm"


@dataclass(frozen=True)
class Named:
    """The layers of a file under our names.

    Parameters
    ----------
    layers : tuple of Layer
        Those that can belong to the headless network.
    heads : tuple of Layer
        Those that the names say are classifiers.
    """

    layers: tuple[Layer, ...]
    heads: tuple[Layer, ...] = ()


def slim_row(found: Weights) -> str | None:
    """Name the row that a file of TF-slim says it belongs to, by the scope of its layers."""
    if not found.format.startswith("tensorflow"):
        return None
    scopes = {match["network"] for layer in found.layers if (match := _SLIM.fullmatch(layer.name))}
    if len(scopes) != 1:
        return None
    (scope,) = scopes
    family = re.fullmatch(r"(Inception|Mobilenet)(V\d)", scope)
    return f"slim_{scope}" if family is None else f"slim_{family[1]}_{family[2]}".lower()


def as_our_names(found: Weights, spec: BackboneSpec) -> Named:
    """Return a file's layers under the names that they have in a network that is built for them."""
    if found.format.startswith("tensorflow"):
        return _of_slim(found, spec)
    rule = _CAFFE.get(spec.family)
    if rule is None or not found.format.startswith("caffe"):
        return Named(found.layers)
    return Named(tuple(rule(layer) for layer in found.layers))


def _of_slim(found: Weights, spec: BackboneSpec) -> Named:
    # Both orders of colours are the same function of an image; Keras's VGG takes blue first.
    exchanged = spec.family in {"vgg16", "vgg19"} and spec.preprocess.channels == "bgr"
    rename = _SLIM_RULES.get(spec.family, _plain)
    layers, heads = [], []
    for layer in found.layers:
        match = _SLIM.fullmatch(layer.name)
        if match is None:
            layers.append(layer)
        elif _HEAD.fullmatch(match["layer"]):
            heads.append(layer)
        else:
            tensors = layer.tensors
            if exchanged and match["layer"] == "conv1/conv1_1" and "kernel" in tensors:
                kernel = np.ascontiguousarray(tensors["kernel"][:, :, ::-1])
                tensors = {**tensors, "kernel": kernel}
            layers.append(replace(layer, name=rename(match["layer"]), tensors=tensors))
    return Named(tuple(layers), tuple(heads))


def _plain(name: str) -> str:
    """Name a layer of a network of ours by the place that slim has it at."""
    name = re.sub(r"bottleneck_v[12]/", "", name)
    if name.endswith(_BATCH_NORM):
        name = f"{name.removesuffix(_BATCH_NORM)}_bn"
    return name.replace("/", "_")


def _vgg(name: str) -> str:
    match = re.fullmatch(r"(?:.*/)?conv(\d)_(\d)", name)
    return name if match is None else f"block{match[1]}_conv{match[2]}"


def _mobilenet(name: str) -> str:
    match = re.fullmatch(r"Conv2d_(\d+)(?:_(depthwise|pointwise))?(/BatchNorm)?", name)
    if match is None:
        return name
    kind = {"depthwise": f"conv_dw_{match[1]}", "pointwise": f"conv_pw_{match[1]}", None: "conv1"}
    return kind[match[2]] + ("_bn" if match[3] else "")


def _mobilenet_v2(name: str) -> str:
    place, normal = name.removesuffix(_BATCH_NORM), name.endswith(_BATCH_NORM)
    if place == "Conv":
        return "bn_Conv1" if normal else "Conv1"
    if place == "Conv_1":
        return "Conv_1_bn" if normal else "Conv_1"
    match = re.fullmatch(r"expanded_conv(?:_(\d+))?/(expand|depthwise|project)", place)
    if match is None:
        return name
    block = f"block_{match[1]}" if match[1] else "expanded_conv"
    return f"{block}_{match[2]}" + ("_BN" if normal else "")


_SLIM_RULES: Final[dict[str, Callable[[str], str]]] = {
    "vgg16": _vgg,
    "vgg19": _vgg,
    "mobilenet": _mobilenet,
    "mobilenet_v2": _mobilenet_v2,
}

_CAFFE: Final[dict[str, Callable[[Layer], Layer]]] = {
    "vgg16": lambda layer: replace(layer, name=_vgg(layer.name)),
    "vgg19": lambda layer: replace(layer, name=_vgg(layer.name)),
}
