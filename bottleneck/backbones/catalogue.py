"""Which backbones there are, by name, and whether their weights are at hand."""

import difflib
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from bottleneck.backbones.spec import BackboneSpec
from bottleneck.backbones.table import TABLE
from bottleneck.errors import BackboneError

DEFAULT: Final = "efficientnet_lite0"
"""The backbone used when none is named: its weights come as a package."""

_SIZED: Final = {"mobilenet": (128, 160, 192), "mobilenet_v2": (96, 128, 160, 192)}
"""Families of which Keras has other weights for other sizes."""

AtHand = Literal["bundled", "cached", "extra", "download"]


def catalogue() -> tuple[BackboneSpec, ...]:
    """Return every backbone, the bundled ones first."""
    return TABLE


def get(name: str) -> BackboneSpec:
    """Look a backbone up.

    Parameters
    ----------
    name : str
        ``mobilenet_v2`` or its class name ``MobileNetV2``; case does not matter.

    Raises
    ------
    BackboneError
        For an unknown name; lists the nearest ones.
    """
    known = _by_name()
    spec = known.get(_folded(name))
    if spec is None:
        near = difflib.get_close_matches(_folded(name), known, n=6, cutoff=0.5)
        names = list(dict.fromkeys(known[match].name for match in near))[:3]
        raise BackboneError(
            f"expected the name of a backbone, got {name!r}",
            hint=(f"Nearest: {', '.join(names)}. " if names else "")
            + "`bottleneck backbones` lists all of them.",
        )
    return spec


def weights_at_hand(spec: BackboneSpec) -> AtHand:
    """Say where the pretrained weights of a backbone would come from, without loading anything.

    Returns
    -------
    {"bundled", "cached", "extra", "download"}
        An installed package has them; Keras's cache folder has them; a package that is not
        installed would bring them; Keras would have to download them.
    """
    if spec.bundled is not None:
        return "bundled" if find_spec(spec.bundled) is not None else "extra"
    return "cached" if cached_file(spec) is not None else "download"


def weights_file(spec: BackboneSpec, size: int | None = None) -> str | None:
    """Name the file of ImageNet weights that Keras would look for, for images of a size."""
    name = spec.weights_file
    if name is not None and spec.family in _SIZED and size in _SIZED[spec.family]:
        return name.replace("_224_", f"_{size}_")
    return name


def cached_file(spec: BackboneSpec, size: int | None = None) -> Path | None:
    """Find that file where Keras keeps what it has downloaded, if it is there."""
    name = weights_file(spec, size)
    if name is None:
        return None
    # Where it cannot write, Keras uses a folder of its own.
    folders = (cache_folder(), Path("/tmp/.keras/models"))
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def bundled_names() -> tuple[str, ...]:
    """Name the backbones whose weights are installed as packages."""
    return tuple(spec.name for spec in TABLE if weights_at_hand(spec) == "bundled")


def cache_folder() -> Path:
    """Return the folder in which Keras keeps downloaded weights."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser() / "models"


def _folded(name: str) -> str:
    # "MobileNetV2", "mobilenet-v2" and "mobilenet_v2" are the same wish.
    return name.strip().lower().replace("-", "_").replace(" ", "_")


@cache
def _by_name() -> dict[str, BackboneSpec]:
    return {alias.lower(): spec for spec in TABLE for alias in (spec.name, spec.class_name)}
