"""From what people type to a source."""

import errno
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bottleneck.errors import ManifestError, OptionError, SourceError
from bottleneck.location import expand_braces, has_wildcard, is_url, split_part
from bottleneck.manifest import Manifest, natural_sort
from bottleneck.sources.base import Source
from bottleneck.sources.files import FileSource
from bottleneck.sources.folder import NoImagesError, label_by_folder, open_folder
from bottleneck.sources.idx import open_idx
from bottleneck.sources.kinds import CONTAINERS, kind_of, one_kind
from bottleneck.sources.layout import common_folder
from bottleneck.sources.listing import Listing, left_out
from bottleneck.sources.npy import open_npy, open_npz
from bottleneck.sources.parquet import open_parquet
from bottleneck.sources.patterns import match
from bottleneck.sources.several import SeveralSources
from bottleneck.sources.shards import open_shards
from bottleneck.sources.table import open_csv
from bottleneck.sources.tar import open_tar
from bottleneck.sources.tfrecord import open_tfrecord
from bottleneck.sources.together import GivenFolder, together
from bottleneck.sources.urls import fixed_part, list_keys, located, open_url_images, single_files
from bottleneck.sources.zip import open_zip

_HINT = (
    "A source is a folder, a table (.csv, .parquet), images, a pattern ('photos/**/*.jpg'), or "
    f"files of the kinds {', '.join(CONTAINERS)}: here or behind a URL."
)


@dataclass
class _Given:
    """Containers of one kind that were given, perhaps in several pieces."""

    kind: str
    part: str
    texts: list[str] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)


def open_source(given: Sequence[str], targets: Sequence[str] = ()) -> Source:
    """List the images of one or several sources.

    Parameters
    ----------
    given : sequence of str
        Folders, CSV and Parquet tables, image files, patterns (``photos/**/*.jpg``,
        ``shard-{000..009}.tar``), containers of images (tar, zip, HDF5, NPZ, NPY, IDX, Parquet,
        TFRecord), and URLs of all these. ``scans.h5::images,labels`` names arrays, columns or
        features of a container. The image files together make one source, and so do
        containers of one kind. With several sources, keys begin with the last part of their
        source's path (``files`` for the image files).
    targets : sequence of str
        Columns of tables to keep as targets; every source must be a table with them.

    Raises
    ------
    OptionError
        When targets are wanted of what is no table, or a table has no such column.
    SourceError
        When something given does not exist, is of no known kind, or is damaged.
    ManifestError
        When it holds no image, or names one twice.
    RuntimeUnavailableError
        When a package is missing; names the extra that brings it.
    """
    opened, files = _open_all(given, targets)
    folders = together([one for one in opened if isinstance(one, GivenFolder)])
    sources: list[Source] = []
    for one in opened:
        if isinstance(one, _Given):
            sources.append(_open_containers(one, targets))
        elif not isinstance(one, GivenFolder):
            sources.append(one)
        elif folders:  # several as one stand where the first of them stood
            sources.append(folders.pop(0))
    if files:
        sources.append(single_files(files))
    for source in sources if targets else ():
        if not source.manifest.targets:
            raise OptionError(
                f"expected a table for --target, got {source.name}",
                hint="Targets are columns of CSV and Parquet tables.",
            )
    return sources[0] if len(sources) == 1 else SeveralSources(sources)


def _open_all(
    given: Sequence[str], targets: Sequence[str]
) -> tuple[list[Source | GivenFolder | _Given], list[str]]:
    """Open what was given in order, containers of one kind put together; and name the images."""
    opened: list[Source | GivenFolder | _Given] = []
    files: list[str] = []
    waiting = [_without_scheme(text) for text in reversed(given)]
    while waiting:
        found = _open_one(waiting.pop(), targets)
        if isinstance(found, str):
            files.append(found)
        elif isinstance(found, list):  # folders that a pattern stands for
            waiting += reversed(found)
        elif isinstance(found, _Given) and (same := _same_kind(opened, found)):
            same.texts += found.texts
            same.locations += found.locations
        else:
            opened.append(found)
    return opened, files


def _same_kind(opened: Sequence[object], found: _Given) -> _Given | None:
    return next(
        (
            one
            for one in opened
            if isinstance(one, _Given) and (one.kind, one.part) == (found.kind, found.part)
        ),
        None,
    )


def _open_one(text: str, targets: Sequence[str]) -> Source | GivenFolder | _Given | str | list[str]:
    """Open a source; containers are only told, and an image is given back as it is.

    For a pattern that matches folders only, they are given back, as a shell would.
    """
    if re.match(r"(s3|gs|gcs|https?|memory):/[^/]", text):
        raise SourceError(
            f"expected a URL with two slashes, got {text}",
            hint="Give URLs as texts: a Path takes the second slash away.",
        )
    try:
        present = not is_url(text) and Path(text).exists()
        is_folder = present and Path(text).is_dir()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # as a long list in braces is
            raise SourceError(f"cannot look at {text}: {error.strerror}") from error
        present = is_folder = False
    if is_folder:
        return _open_local_folder(text)
    location, part = (text, "") if present else split_part(text)
    if not present:
        names = expand_braces(location)
        if len(names) > 1 or (has_wildcard(location) and not _is_there(location)):
            return _open_pattern(text, names, part)
    kind = kind_of(location)
    if kind == "CSV":
        return open_csv(location, targets)
    if kind in CONTAINERS:
        return _Given(kind or "", part, [text], [location])
    if kind == "image" or present:
        if not is_url(location) and not present:
            raise SourceError(f"there is no file {location}")
        return location
    if is_url(location):
        return _open_remote_folder(location)
    raise SourceError(f"expected images, got {text}, which does not exist", hint=_HINT)


def _without_scheme(text: str) -> str:
    return unquote(text.removeprefix("file://")) if text.startswith("file://") else text


def _is_there(location: str) -> bool:
    # A question mark in a URL begins a query more often than it stands for a letter.
    return is_url(location) and not any(letter in location for letter in "*[")


def _open_pattern(text: str, names: list[str], part: str) -> Source | _Given | list[str]:
    folders: list[str] = []
    if is_url(text):
        if len(names) == 1 and kind_of(names[0]) == "image":
            return open_url_images(names[0], pattern=True)
        found = [
            f"{fixed_part(name)}/{key}"
            for name in names if has_wildcard(name)
            for key in list_keys(name, pattern=True)
        ]  # fmt: skip
        found += [name for name in names if not has_wildcard(name)]
    else:
        found = []
        for name in names:
            if has_wildcard(name):
                inside, below = match(name)
                found += inside
                folders += below
            else:
                (folders if Path(name).is_dir() else found).append(name)
    if any(map(has_wildcard, names)):
        found = list(dict.fromkeys(found))
        natural_sort(found)
    images = [name for name in found if kind_of(name) == "image"]
    if images:
        reasons = {"folder beside the images": len(folders)} if "**" not in text and folders else {}
        others = left_out(name for name in found if kind_of(name) != "image")
        listing = Listing(others.endings, {**others.reasons, **reasons})
        return _open_images(images, list(map(fixed_part, names)), text, listing)
    kind = one_kind(found)
    if kind is not None:
        of_kind = [name for name in found if kind_of(name) == kind]
        return _Given(kind, part, [text], of_kind)
    if folders and "**" not in text:
        return list(dict.fromkeys(folders))
    if found:
        kinds = sorted({str(kind_of(name) or "unknown") for name in found})
        raise SourceError(
            f"expected {text} to match images or containers of one kind, got {', '.join(kinds)}",
            hint="Match one kind; several patterns may be given.",
        )
    raise ManifestError(
        f"nothing matches {text}",
        hint="** stands for folders of any depth, as in 'photos/**/*.jpg'; quote it, so that "
        "the shell leaves it alone.",
    )


def _open_images(images: list[str], folders: list[str], text: str, listing: Listing) -> Source:
    """Make a source of images that a pattern names; folders tell classes as in a folder."""
    base = common_folder(folders) if len(set(folders)) > 1 else folders[0]
    keys = [name.removeprefix(base).lstrip("/") if base else name for name in images]
    manifest = label_by_folder(keys, text, base)
    if is_url(text):
        return located(text, base, manifest, listing)
    for name in images:
        if not Path(name).exists() and not Path(name).is_symlink():
            raise SourceError(f"there is no file {name}")
    return FileSource(base or "files", Path(base), manifest, listing)


def _open_local_folder(path: str) -> GivenFolder | _Given:
    """Open a folder of images, or else of containers of one kind."""
    try:
        return GivenFolder(path, open_folder(path))
    except NoImagesError:
        names = [file.name for file in Path(path).iterdir() if not file.name.startswith(".")]
        kind = one_kind(names)
        if kind is None or kind == "HDF5":
            raise
        natural_sort(names)
        inside = [posixpath.join(path, name) for name in names if kind_of(name) == kind]
        return _Given(kind, "", [path], inside)


def _open_remote_folder(url: str) -> GivenFolder | _Given:
    try:
        return GivenFolder(url, open_url_images(url))
    except NoImagesError:
        names = [key for key in list_keys(url) if "/" not in key]
        kind = one_kind(names)
        if kind is None:
            raise
        natural_sort(names)
        base = url.rstrip("/")
        inside = [f"{base}/{name}" for name in names if kind_of(name) == kind]
        return _Given(kind, "", [url], inside)


def _open_containers(given: _Given, targets: Sequence[str]) -> Source:
    name = given.texts[0] if len(given.texts) == 1 else f"{given.kind} files"
    if len(set(given.locations)) < len(given.locations):
        twice = next(one for one in given.locations if given.locations.count(one) > 1)
        raise ManifestError(f"{twice} is given twice", hint="Give every file once.")
    shards = open_shards(given.locations)
    named_parts: dict[str, Any] = {
        "HDF5": _open_hdf5,
        "NPZ": open_npz,
        "TFRecord": open_tfrecord,
    }
    if given.kind in named_parts:
        source: Source = named_parts[given.kind](name, shards, given.part)
        return source
    if given.kind == "Parquet":

        def of_paths(manifest: Manifest, listing: Listing) -> Source:
            folder = common_folder(list(map(posixpath.dirname, given.locations)))
            return located(name, folder, manifest, listing)

        return open_parquet(name, shards, given.part, of_paths, targets)
    if given.part:
        raise SourceError(
            f"expected nothing behind :: for {given.kind} files, got {given.part!r}",
            hint="Only HDF5, NPZ, Parquet and TFRecord files have named parts.",
        )
    plain: dict[str, Any] = {"tar": open_tar, "zip": open_zip, "NPY": open_npy, "IDX": open_idx}
    opened: Source = plain[given.kind](name, shards)
    return opened


def _open_hdf5(name: str, shards: Any, part: str) -> Source:
    from bottleneck.sources.hdf5 import open_hdf5

    return open_hdf5(name, shards, part)
