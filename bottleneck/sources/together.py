"""Folders given one by one, as a shell writes ``photos/*`` out: read as what holds them."""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bottleneck.location import is_url
from bottleneck.manifest import split_code
from bottleneck.sources.base import Source
from bottleneck.sources.choice import AS_FOUND, Choice
from bottleneck.sources.files import FileSource
from bottleneck.sources.folder import absolute, label_by_folder
from bottleneck.sources.layout import common_folder
from bottleneck.sources.listing import Listing, join
from bottleneck.sources.urls import UrlSource, located


@dataclass(frozen=True)
class GivenFolder:
    """A folder of images as it was given.

    Parameters
    ----------
    path : str
        Its path or URL, as given.
    keys : sequence of str
        Its images, relative to it.
    listing : Listing
        What was left out of it.
    """

    path: str
    keys: Sequence[str]
    listing: Listing


def together(folders: Sequence[GivenFolder], choice: Choice = AS_FOUND) -> list[Source]:
    """Return folders as one source where their names say something of the images in them.

    So they do where they are splits (``d/train d/test``) or folders in splits
    (``d/train/cat d/test/cat``), and where folders beside one another hold images themselves, with
    no class folder between (``photos/cat photos/dog``). Then keys, labels and splits are those of
    the folder that holds them. Otherwise each is a source of its own.
    """
    if len(folders) > 1:
        paths = [f.path.rstrip("/") if is_url(f.path) else absolute(f.path) for f in folders]
        holder = common_folder([posixpath.dirname(path) for path in paths])
        names = [path[len(holder) :].lstrip("/") for path in paths]
        if len(set(names)) == len(names) and (
            all(split_code(name.partition("/")[0]) for name in names)
            or all(
                "/" not in name and _is_flat(folder)
                for name, folder in zip(names, folders, strict=True)
            )
        ):
            keys = [f"{name}/{key}" for name, key in _keys(names, folders)]
            manifest = label_by_folder(keys, holder, holder, choice)
            listing = join(folder.listing for folder in folders)
            return [located(holder, holder, manifest, listing)]
    return [_alone(folder, choice) for folder in folders]


def _alone(folder: GivenFolder, choice: Choice) -> Source:
    path, listing = folder.path, folder.listing
    base = path.rstrip("/") if is_url(path) else path
    manifest = label_by_folder(folder.keys, path, base, choice)
    if is_url(path):
        return UrlSource(path, base, manifest, (path, False), listing)
    return FileSource(path, Path(path), manifest, listing)


def _keys(names: Sequence[str], folders: Sequence[GivenFolder]) -> Iterator[tuple[str, str]]:
    for name, folder in zip(names, folders, strict=True):
        for key in folder.keys:
            yield name, key


def _is_flat(folder: GivenFolder) -> bool:
    return any("/" not in key for key in folder.keys)
