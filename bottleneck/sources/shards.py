"""Container files that together make one source: the order of their members, labels and splits."""

import posixpath
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError, SourceError
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.manifest import Manifest, natural_order
from bottleneck.packed import PackedStrings
from bottleneck.sources.base import Listing, Tally
from bottleneck.sources.layout import AS_FOUND, Choice, common_folder, find_layout, split_of_name
from bottleneck.sources.random_access import Blob, listing, open_blob
from bottleneck.sources.rules import CONTAINER_ENDINGS, refuse_others

_ASKED_AT_ONCE = 16

_POINTER, _LONGEST_POINTER = b"version https://git-lfs", 1024

_ENDING = re.compile(
    rf"\.({'|'.join(re.escape(one) for ends in CONTAINER_ENDINGS.values() for one in ends)})$", re.I
)


@dataclass(frozen=True)
class Shard:
    """One container.

    Parameters
    ----------
    blob : Blob
        Its bytes.
    prefix : str
        What its keys begin with: its name and a slash where there are several, else nothing.
    split : str
        The split that its name tells, or an empty string.
    """

    blob: Blob
    prefix: str
    split: str


def open_shards(locations: Sequence[str]) -> list[Shard]:
    """Open containers in the order given, and name them relative to what they have in common.

    Raises
    ------
    SourceError
        When one does not exist.
    """
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as executor:  # a thousand URLs are a thousand requests
        blobs = executor.map(open_blob, locations)
        named = list(zip(blobs, relative_names(locations), strict=True))
    shards = []
    for blob, (relative, prefix) in named:
        _refuse_pointer(blob)
        shards.append(Shard(blob, prefix, split_of_name(relative)))
    return shards


def relative_names(locations: Sequence[str]) -> list[tuple[str, str]]:
    """Return what containers are called below what they have in common, and how keys begin.

    Keys of a single one begin with nothing.
    """
    plain = [location.replace("\\", "/") for location in locations]
    # Of a single file only its own name says something: not the folders someone keeps it in.
    common = common_folder([posixpath.dirname(location) for location in plain])
    names = [text.removeprefix(common).lstrip("/") if common else text for text in plain]
    return [(name, f"{_ENDING.sub('', name)}/" if len(plain) > 1 else "") for name in names]


def _refuse_pointer(blob: Blob) -> None:
    """Refuse what Git leaves in the place of a large file that was not fetched."""
    if len(_POINTER) < blob.size < _LONGEST_POINTER:
        with listing():
            start = blob.read(0, len(_POINTER))
        if start == _POINTER:
            raise SourceError(
                f"{blob.name} is a pointer of Git LFS and not the file itself",
                hint="Fetch the files: git lfs pull",
            )


def row_keys(shards: Sequence[Shard], counts: Sequence[int], names: PackedStrings) -> PackedStrings:
    """Return keys of images in containers that need not name them.

    Parameters
    ----------
    shards, counts : sequence
        The containers and the images in each.
    names : PackedStrings, length n
        What the images are called there, empty where they have no name. Where each has one, and
        no two of a container the same, it is in the key; otherwise all are numbered.
    """
    named = _are_names(names, counts)

    def keys() -> Iterator[str]:
        given = iter(names)
        for shard, count in zip(shards, counts, strict=True):
            for row in range(count):
                name = next(given)
                yield f"{shard.prefix}{name if named else row}"

    return PackedStrings.pack(keys())


def _are_names(names: PackedStrings, counts: Sequence[int]) -> bool:
    if np.any(names.offsets[1:] == names.offsets[:-1]):
        return False
    hashes = np.fromiter(map(hash, names), np.int64, count=len(names))
    ends = np.cumsum(counts)
    return all(
        len(np.unique(hashes[end - count : end])) == count
        for end, count in zip(ends, counts, strict=True)
    )


class Stamped(Protocol):
    """Something that can tell whether it changed."""

    def stamp(self) -> str:
        """Return what changes when the content does."""
        ...


class Sharded:
    """What sources over several containers share: which row is in which.

    Parameters
    ----------
    name : str
        What was given.
    manifest : Manifest
        One row per image.
    parts : sequence
        The containers, each with a stamp.
    counts : sequence of int
        Images in each.
    listing : Listing, optional
        What was left out.
    """

    def __init__(
        self,
        name: str,
        manifest: Manifest,
        parts: Sequence[Stamped],
        counts: Sequence[int],
        listing: Listing | None = None,
    ) -> None:
        self.name = name
        self.manifest = manifest
        self.listing = listing or Listing()
        self._parts = tuple(parts)
        self._starts = [sum(counts[:i]) for i in range(len(counts))]

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {len(self)} images>"

    def locate(self, row: int) -> tuple[int, int]:
        """Return the number of the container a row is in, and the row's number in it."""
        part = bisect_right(self._starts, row) - 1
        return part, row - self._starts[part]

    def stamp(self) -> str:
        """Return a fingerprint of the manifest and of every container's size and time."""
        return fingerprint_parts(
            [
                (self.manifest.sha256 + self.manifest.targets.sha256).encode(),
                *(part.stamp().encode() for part in self._parts),
            ]
        )


def sort_members(
    names: PackedStrings, counts: Sequence[int]
) -> tuple[PackedStrings, NDArray[np.int64] | None]:
    """Put the members of each archive in natural order.

    Parameters
    ----------
    names : PackedStrings, length n
        Paths, archive by archive.
    counts : sequence of int
        Images of each archive.

    Returns
    -------
    names : PackedStrings
        Sorted.
    order : ndarray of int64, shape (n,), or None
        Where each was; None when nothing moved.
    """
    pieces, moved, start = [], False, 0
    for count in counts:
        whole = start == 0 and count == len(names)
        order = natural_order(names if whole else names[start : start + count])
        moved |= order is not None
        pieces.append(start + (np.arange(count) if order is None else order))
        start += count
    if not moved:
        return names, None
    together = np.concatenate(pieces)
    return PackedStrings.pack(names[row] for row in together.tolist()), together


def sorted_rows(odd: Mapping[int, str], order: NDArray[np.int64] | None) -> dict[int, str]:
    """Return what is said of single rows, by their number after they were sorted."""
    if not odd or order is None:
        return dict(odd)
    return {new: odd[old] for new, old in enumerate(order.tolist()) if old in odd}


def archive_manifest(
    name: str,
    shards: Sequence[Shard],
    counts: Sequence[int],
    names: PackedStrings,
    labels: Iterable[str | None] | None,
    *,
    tally: Tally,
    choice: Choice = AS_FOUND,
) -> Manifest:
    """Make the manifest of archives: keys are the members' paths behind their archive's name.

    Parameters
    ----------
    name : str
        The source, for messages.
    shards, counts : sequence
        The archives, and the images in each.
    names : PackedStrings, length n
        Paths of the images in their archives.
    labels : iterable of str or None, optional
        What members beside them say; without any, folders tell the class.
    tally : Tally
        What was left out.
    choice : Choice
        What names the class, whatever those say.

    Raises
    ------
    ManifestError
        When there is no image, or two of one archive have the same path.
    """
    if not len(names):
        refuse_others(choice.rules, name, tally.first.values(), all_of_them=False)
        raise ManifestError(
            f"expected {choice.rules.name}s in {name}, found none",
            hint=choice.rules.hint,
        )
    layout = find_layout(names, name, choice)

    def of_shards() -> Iterator[Shard]:
        for shard, count in zip(shards, counts, strict=True):
            for _ in range(count):
                yield shard

    keys = names
    if any(shard.prefix for shard in shards):
        pairs = zip(of_shards(), names, strict=True)
        keys = PackedStrings.pack(shard.prefix + path for shard, path in pairs)
    splits: Iterator[str] = (
        (layout.split(path) if layout.has_splits else "") or shard.split
        for shard, path in zip(of_shards(), names, strict=True)
    )
    if labels is None or choice.decides:
        labels = map(layout.label, names)
    try:
        return Manifest.build(keys, labels, splits)
    except ManifestError as error:
        raise ManifestError(f"{name}: {error.message}", hint=error.hint) from error


@dataclass(frozen=True)
class Request:
    """Files of one kind that are to be opened as one source.

    Parameters
    ----------
    name : str
        What was given, for messages: the source's name.
    locations : sequence of str
        Paths or URLs of the files in order.
    part : str
        What was named behind ``::``, empty for nothing.
    targets : sequence of str
        Columns to keep as targets.
    choice : Choice
        Where paths and labels are to be looked for.
    """

    name: str
    locations: Sequence[str]
    part: str = ""
    targets: Sequence[str] = ()
    choice: Choice = AS_FOUND

    @property
    def folder(self) -> str:
        """The folder or URL that all files lie in."""
        return common_folder([posixpath.dirname(location) for location in self.locations])

    def shards(self) -> list[Shard]:
        """Open the files.

        Raises
        ------
        SourceError
            When one does not exist.
        """
        return open_shards(self.locations)
