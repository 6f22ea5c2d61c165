"""The backbones there are, and the layers of one of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bottleneck import backbones
from bottleneck.declare import listed
from bottleneck.errors import OptionError
from bottleneck.options import BackbonesOptions


@dataclass(frozen=True)
class Listed:
    """A backbone of the catalogue.

    Parameters
    ----------
    name : str
        What ``backbone=`` takes.
    input_size : int
        Side of its input, pixels.
    dim : int
        Length of its features.
    params : int
        Its parameters.
    preprocess : str
        How pixels are scaled.
    weights : str
        Where they are: ``bundled``, ``cached``, ``extra`` or ``download``.
    provider : str
        Who brings it: ``lite`` or ``keras_applications``.
    license : str or None
        Of the weights, where their package says one.
    """

    name: str
    input_size: int
    dim: int
    params: int
    preprocess: str
    weights: str
    provider: str
    license: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Layer:
    """What can be taken from a backbone: a map, tokens, or (by channels alone) a vector.

    Parameters
    ----------
    layer : str
        What ``layers=`` takes.
    channels : int
    height, width : int or None
        Of a map.
    tokens : int or None
        How many there are.
    """

    layer: str
    channels: int
    height: int | None = None
    width: int | None = None
    tokens: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields that it has as JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def list_backbones(options: BackbonesOptions) -> list[Listed] | list[Layer]:
    """List; see :func:`bottleneck.api.backbones`."""
    words = listed(options.name)
    if options.layers:
        return _layers(words, options.size)
    found = backbones.catalogue()
    if words:
        wanted = [word.lower() for word in words]
        fitting = [
            spec
            for spec in found
            if all(word in spec.name or word in spec.class_name.lower() for word in wanted)
        ]
        # What there is instead, find() explains.
        found = tuple(fitting) or (backbones.get(backbones.find("_".join(words)).name),)
    most = None if options.max_params is None else _count(options.max_params)
    return [
        Listed(
            name=spec.name,
            input_size=spec.input_size,
            dim=spec.dim,
            params=spec.params,
            preprocess=spec.preprocess.name,
            weights=backbones.weights_at_hand(spec),
            provider=spec.provider,
            license=spec.licence,
        )
        for spec in found
        if options.provider in (None, spec.provider)
        and (most is None or spec.params <= most)
        and (options.license is None or options.license.lower() in (spec.licence or "").lower())
    ]


def _count(text: str) -> float:
    unit = {"k": 1e3, "m": 1e6, "g": 1e9}.get(text[-1:].lower())
    try:
        return float(text) if unit is None else float(text[:-1]) * unit
    except ValueError:
        raise OptionError(f"expected a number for --max-params, as 25M, got {text!r}") from None


def _layers(names: Sequence[str], size: int | None) -> list[Layer]:
    if len(names) != 1:
        raise OptionError("expected the name of one backbone with --layers")
    (name,) = names
    if ":" in name:
        # Shapes do not depend on what is done to pixels.
        backbone = backbones.load(name, size=size, declared=backbones.DeclaredInput.parse("none"))
    else:
        backbone = backbones.load(name, weights="none", size=size)
    shapes = zip(backbone.layers, backbone.shapes(backbone.layers), strict=True)
    return [_layer(name, shape) for name, shape in shapes if shape is not None]


def _layer(name: str, shape: backbones.Shape) -> Layer:
    if isinstance(shape, backbones.Map):
        return Layer(name, shape.channels, shape.height, shape.width)
    if isinstance(shape, backbones.Tokens):
        return Layer(name, shape.channels, tokens=shape.count)
    return Layer(name, shape.channels)
