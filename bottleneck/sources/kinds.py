"""The kinds of sources, each registered here: how its files are called, and who opens them.

A package adds kinds of its own by entry points of the group ``bottleneck.sources``, each of which
loads a :class:`Kind`.
"""

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from bottleneck.errors import SourceError
from bottleneck.location import is_url
from bottleneck.sources.base import Source
from bottleneck.sources.formats.idx import IDX_NAME
from bottleneck.sources.rules import CONTAINER_ENDINGS, IMAGES, ItemRules
from bottleneck.sources.shards import Request

ENTRY_POINTS = "bottleneck.sources"


@dataclass(frozen=True)
class Kind:
    """A kind of files that hold images, or name them.

    Parameters
    ----------
    name : str
        ``tar``; what messages call it.
    pattern : str
        A regular expression that the whole name of such a file matches, in any case.
    open : callable
        Makes a source of a :class:`~bottleneck.sources.shards.Request`.
    joined : bool
        Whether several files make one source.
    parts : bool
        Whether something in a file may be named behind ``::``.
    table : bool
        Whether it has columns: targets, and paths or labels that are to be found by name.
    folders : bool
        Whether its images lie in folders that may name their class.
    in_folder : bool
        Whether a folder with such files and no images is a source.
    items : tuple of str
        Which kinds of items it may hold.
    """

    name: str
    pattern: str
    open: Callable[[Request], Source]
    joined: bool = True
    parts: bool = False
    table: bool = False
    folders: bool = False
    in_folder: bool = True
    items: tuple[Literal["image", "sound"], ...] = ("image", "sound")

    @cached_property
    def names(self) -> "re.Pattern[str]":
        """The pattern, compiled."""
        return re.compile(self.pattern, re.IGNORECASE)


def _open_csv(request: Request) -> Source:
    from bottleneck.sources.formats.table import open_csv

    return open_csv(request.name, request.targets, request.choice)


def _open_json_lines(request: Request) -> Source:
    from bottleneck.sources.formats.table import open_json_lines

    return open_json_lines(request.name, request.targets, request.choice)


def _open_tar(request: Request) -> Source:
    from bottleneck.sources.formats.tar import open_tar

    return open_tar(request.name, request.shards(), request.choice)


def _open_zip(request: Request) -> Source:
    from bottleneck.sources.formats.zip import open_zip

    return open_zip(request.name, request.shards(), request.choice)


def _open_hdf5(request: Request) -> Source:
    from bottleneck.sources.formats.hdf5 import open_hdf5

    return open_hdf5(request.name, request.shards(), request.part)


def _open_npz(request: Request) -> Source:
    from bottleneck.sources.formats.npy import open_npz

    return open_npz(request.name, request.shards(), request.part)


def _open_npy(request: Request) -> Source:
    from bottleneck.sources.formats.npy import open_npy

    return open_npy(request.name, request.shards())


def _open_parquet(request: Request) -> Source:
    from bottleneck.sources.formats.parquet import open_parquet

    return open_parquet(request)


def _open_tfrecord(request: Request) -> Source:
    from bottleneck.sources.formats.tfrecord import open_tfrecord

    return open_tfrecord(request.name, request.shards(), request.part, request.choice.rules)


def _open_idx(request: Request) -> Source:
    from bottleneck.sources.formats.idx import open_idx

    return open_idx(request.name, request.shards())


def _ends(kind: str) -> str:
    return rf".*\.({'|'.join(map(re.escape, CONTAINER_ENDINGS[kind]))})"


_OWN = (
    Kind("CSV", _ends("CSV"), _open_csv, joined=False, table=True, folders=True, in_folder=False),
    Kind(
        "JSON lines", _ends("JSON lines"), _open_json_lines, joined=False, table=True,
        folders=True, in_folder=False,
    ),
    Kind("tar", _ends("tar"), _open_tar, folders=True),
    Kind("zip", _ends("zip"), _open_zip, folders=True),
    Kind("HDF5", _ends("HDF5"), _open_hdf5, parts=True, in_folder=False, items=("image",)),
    Kind("NPZ", _ends("NPZ"), _open_npz, parts=True, items=("image",)),
    Kind("NPY", _ends("NPY"), _open_npy, items=("image",)),
    Kind("Parquet", _ends("Parquet"), _open_parquet, parts=True, table=True, folders=True),
    Kind(
        "TFRecord", rf"{_ends('TFRecord')}([-.].*)?|.*-\d{{5}}-of-\d{{5}}", _open_tfrecord,
        parts=True,
    ),
    Kind("IDX", IDX_NAME.pattern, _open_idx, items=("image",)),
)  # fmt: skip

CONTAINERS = {kind.name: kind for kind in _OWN if kind.joined}
"""Kinds of files that hold images; those of other packages are not among them."""


@cache
def kinds() -> dict[str, Kind]:
    """Return all kinds by name: the package's own, then those that others registered.

    Raises
    ------
    SourceError
        When another package's entry point cannot be loaded, or is no :class:`Kind`.
    """
    from importlib.metadata import entry_points  # a tenth of the start of a process that decodes

    found = {kind.name: kind for kind in _OWN}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            kind = point.load()
        except Exception as error:
            raise SourceError(
                f"the kind of source {point.name!r} of {point.value} cannot be loaded: {error}",
                hint="Update or remove the package that registers it.",
            ) from error
        if not isinstance(kind, Kind) or kind.name in found:
            raise SourceError(
                f"expected {point.value} to be a bottleneck.sources.Kind of a name of its own, "
                f"got {kind!r}",
                hint="Update or remove the package that registers it.",
            )
        found[kind.name] = kind
    return found


def kind_of(location: str, rules: ItemRules = IMAGES) -> str | None:
    """Return ``item``, the name of a kind of :func:`kinds`, or None for what is neither."""
    if is_url(location):
        location = location.partition("?")[0]
    name = posixpath.basename(location)
    if rules.is_name(name):
        return "item"
    return next((kind.name for kind in kinds().values() if kind.names.fullmatch(name)), None)


def by_kind(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the tables and containers among some files, by their kind, in the order given."""
    found: dict[str, list[str]] = {}
    for name in names:
        kind = kind_of(name)
        if kind is not None and kind != "item":
            found.setdefault(kind, []).append(name)
    return found
