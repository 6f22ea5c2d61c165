"""Where backbones come from: one provider for each kind of name, one registry of them.

``resnet50`` is in a catalogue; ``onnx:model.onnx#tensor`` names its provider. Third parties add
theirs under the entry point ``bottleneck.backbones``: a module, or any object, that is a
:class:`Provider`; its entry point's name is its prefix.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final, Protocol, cast

from bottleneck.backbones.catalogue import all_backbones, get
from bottleneck.backbones.declared import DeclaredInput
from bottleneck.backbones.network import BackboneSpec, Form, Network, partial_source
from bottleneck.backbones.own import OwnBackbone, find_own
from bottleneck.errors import BackboneError, OptionError, WeightsError
from bottleneck.images import ImageSize
from bottleneck.items import Item
from bottleneck.sources import AS_FOUND, Choice, OtherItemsError, Source, open_source

ENTRY_POINTS: Final = "bottleneck.backbones"

_MODULE: Final = "bottleneck.backbones.providers."

PREFIXED: Final = {
    "onnx": _MODULE + "onnx",
    "keras": _MODULE + "keras_file",
    "python": _MODULE + "python",
    "caffe": _MODULE + "caffe",
    "timm": _MODULE + "timm",
    "hf": _MODULE + "hf",
    "openclip": _MODULE + "openclip",
    "torchvision": _MODULE + "torchvision",
    "torch": _MODULE + "torch_file",
    "keras_hub": _MODULE + "keras_hub",
}
"""Our own providers of names with a prefix."""

CATALOGUES: Final = {
    "lite": _MODULE + "named",
    "keras_applications": _MODULE + "named",
    "early_keras": _MODULE + "named",
    "slim": _MODULE + "named",
    "music": _MODULE + "music",
}
"""Those whose names have none."""

_MOST_NAMED: Final = 6


class Provider(Protocol):
    """What brings backbones. A module may be one."""

    @property
    def FORMS(self) -> tuple[Form, ...]:  # noqa: N802  # a constant of the module
        """What its networks are made of."""
        ...

    @property
    def SYNTAX(self) -> str:  # noqa: N802
        """What follows its prefix, for messages: ``FILE#tensor``."""
        ...

    def canonical(self, name: str) -> str:
        """Return the name that recipes keep; the same for the same file in another folder."""
        ...

    def load(
        self,
        name: str,
        *,
        weights: str | Path | None,
        size: ImageSize | None,
        declared: DeclaredInput | None,
        backend: str | None,
    ) -> Network:
        """Load a network.

        Parameters
        ----------
        name : str
            Without the prefix.
        weights : str or Path, optional
            Which weights; for names that are files, where the file is now.
        size : int or (int, int), optional
            Of the input, pixels; its own by default.
        declared : DeclaredInput, optional
            What was said of its input; needed where the network does not say.
        backend : str, optional
            What Keras has to compute with, for networks of Keras.
        """
        ...


@dataclass(frozen=True)
class Found:
    """A backbone by name, not loaded yet.

    Parameters
    ----------
    provider : Provider
    given : str
        What the provider knows it by.
    name : str
        What recipes keep.
    own : OwnBackbone or None
        What was said of it where its name is one of the user's own.
    """

    provider: Provider
    given: str
    name: str
    own: OwnBackbone | None = None

    @property
    def item(self) -> Item:
        """What it takes: images, unless the catalogue or its provider says otherwise."""
        if ":" not in self.name:
            return get(self.name).item
        return cast(Item, getattr(self.provider, "ITEM", "image"))

    @property
    def file_name(self) -> str:
        """The name as a part of a file's name."""
        name = self.name if self.own is None else self.own.name
        return re.sub(r"[^\w.+-]+", "_", name).strip("_.")


def prefixes() -> tuple[str, ...]:
    """Name the prefixes of all providers, ours first."""
    return tuple(dict.fromkeys((*PREFIXED, *(point.name for point in _points()))))


@cache
def provider(prefix: str) -> Provider:
    """Import a provider.

    Raises
    ------
    BackboneError
        When there is none of that prefix.
    """
    module = {**PREFIXED, **CATALOGUES}.get(prefix)
    if module is not None:
        # A module with the right functions is a Provider; mypy cannot see through the late import.
        return cast(Provider, import_module(module))
    for point in _points():
        if point.name == prefix:
            return cast(Provider, point.load())
    known = ", ".join(f"{one}:{provider(one).SYNTAX}" for one in PREFIXED)
    raise BackboneError(
        f"expected a provider of backbones before the colon, got {prefix!r}",
        hint=f"There are {known}; names without a colon are in `bottleneck backbones`.",
    )


def find(name: str) -> Found:
    """Look a backbone up, without loading anything.

    Parameters
    ----------
    name : str
        A name of the catalogue, one of the user's own, or ``PROVIDER:NAME``.

    Raises
    ------
    BackboneError
        For an unknown name.
    """
    own = find_own(name.strip())
    return _found(name) if own is None else replace(_found(own.backbone), own=own)


def _found(name: str) -> Found:
    prefix, colon, rest = name.strip().partition(":")
    if colon and prefix not in CATALOGUES:
        one = provider(prefix)
        return Found(one, rest, f"{prefix}:{one.canonical(rest)}")
    given = rest if colon else name
    spec = get(given)
    return Found(provider(spec.provider), given, spec.name)


def item_of(names: Sequence[str]) -> Item:
    """Say what some backbones take.

    Raises
    ------
    BackboneError
        For an unknown name, and where they take different things.
    """
    found = {find(name).item: name for name in names}
    if len(found) > 1:
        told = ", ".join(f"{name} takes {item}s" for item, name in found.items())
        raise BackboneError(
            f"expected backbones that take the same, got several: {told}",
            hint="Extract with each kind by itself.",
        )
    return next(iter(found), "image")


def list_items(
    item: Item, given: Sequence[str], targets: Sequence[str] = (), choice: Choice = AS_FOUND
) -> Source:
    """List what a backbone takes of some sources; see :func:`bottleneck.sources.open_source`.

    Raises
    ------
    OtherItemsError
        When they hold items of another kind; names them, and backbones that take those.
    """
    try:
        return open_source(given, targets, replace(choice, item=item))
    except OtherItemsError as error:
        names = [spec.name for spec in all_backbones() if spec.item == error.item]
        more = ", ..." if len(names) > _MOST_NAMED else ""
        error.hint = (
            f"Backbones that take {error.item}s: {', '.join(names[:_MOST_NAMED])}{more} (-b NAME; "
            "`bottleneck backbones` lists all)."
        )
        raise


def load(
    backbone: str | BackboneSpec,
    *,
    weights: str | Path | None = None,
    size: ImageSize | None = None,
    declared: DeclaredInput | None = None,
    backend: str | None = None,
) -> Network:
    """Build a backbone and give it weights.

    Parameters
    ----------
    backbone : str or BackboneSpec
        A name that :func:`find` takes, or a row of the catalogue.
    weights : str or Path, optional
        ``bundled``: from an installed package; ``imagenet``: downloaded by Keras; ``none``:
        random, the same every time; otherwise a file: ``.weights.h5``, an older ``_notop.h5``,
        or ``.keras``. Default: ``bundled`` where there is a package, else ``imagenet``. Of names
        that are files: another place of the same file.
    size : int or (int, int), optional
        Side of the square input, or height and width, pixels. Default: what the network fixes,
        else its own.
    declared : DeclaredInput, optional
        What was said of its input by hand.
    backend : {"tensorflow", "jax", "torch", "openvino"}, optional
        What Keras has to compute with. Default: what it already does, or any that is installed.

    Raises
    ------
    BackboneError
        When the network cannot take images of that size.
    WeightsError
        When the weights cannot be had, are damaged, or belong to another network.
    OptionError
        When nobody has said what its preprocessing is.
    RuntimeUnavailableError
        When Keras, or that backend, is not installed or not to be had in this process.
    """
    found = _found(backbone.name) if isinstance(backbone, BackboneSpec) else find(backbone)
    own = found.own
    if own is not None:
        size = own.size if size is None else size
        if declared is None and own.preprocess is not None:
            declared = DeclaredInput.parse(own.preprocess)
    if partial_source(weights)[1] and not getattr(found.provider, "FILLS_PARTLY", False):
        raise OptionError(
            f"{found.name}: expected all of its weights, got --partial, which is for networks of"
            " the catalogue and of Caffe",
            hint="Fill the network with its own library, and save it.",
        )
    network = found.provider.load(
        found.given,
        weights=own.weights if own is not None and weights is None else weights,
        size=size,
        declared=declared,
        backend=backend,
    )
    if own is not None and weights is None and own.sha256 not in ("", network.weights.sha256):
        raise WeightsError(
            f"{own.name}: expected the weights with which it was added, {own.sha256[:12]}, got"
            f" {network.weights.sha256[:12]}: the file has changed since",
            hint=f"`bottleneck backbones add {own.name} ... --overwrite` takes the new ones.",
        )
    return network


def _points() -> Sequence[EntryPoint]:
    return tuple(entry_points(group=ENTRY_POINTS))
