"""The backbones there are, and the layers of one of them."""

from dataclasses import asdict, dataclass
from typing import Any

from bottleneck import backbones
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
    """

    name: str
    input_size: int
    dim: int
    params: int
    preprocess: str
    weights: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Layer:
    """A layer of a backbone whose map can be pooled.

    Parameters
    ----------
    layer : str
        What ``layers=`` takes.
    height, width, channels : int
        Shape of its map.
    """

    layer: str
    height: int
    width: int
    channels: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def list_backbones(options: BackbonesOptions) -> list[Listed] | list[Layer]:
    """List; see :func:`bottleneck.api.backbones`."""
    name = options.name
    if options.layers:
        return _layers(name, options.size)
    found = backbones.catalogue()
    if name:
        wanted = name.lower()
        fitting = [s for s in found if wanted in s.name or wanted in s.class_name.lower()]
        found = tuple(fitting) or (backbones.get(name),)  # get() explains what there is
    return [
        Listed(
            name=spec.name,
            input_size=spec.input_size,
            dim=spec.dim,
            params=spec.params,
            preprocess=spec.preprocess.name,
            weights=backbones.weights_at_hand(spec),
        )
        for spec in found
    ]


def _layers(name: str | None, size: int | None) -> list[Layer]:
    if name is None:
        raise OptionError("expected the name of one backbone with --layers")
    backbone = backbones.load(backbones.get(name), weights="none", size=size)
    return [Layer(layer, *shape) for layer, shape in backbones.layers(backbone).items()]
