"""A list of images in blocks, for lists that are too long for one memory; and a part of it again.

Folders and object stores are listed folder by folder, archives one by one. What cannot be taken in
pieces (tables, arrays, several sources of different kinds) is listed whole, and cut.
"""

import itertools
import posixpath
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError, SourceError
from bottleneck.fingerprint import fingerprint
from bottleneck.location import expand_braces, is_url
from bottleneck.manifest import Manifest, natural_key, split_code
from bottleneck.packed import PackedStrings
from bottleneck.sources.base import Listing, Source, Tally
from bottleneck.sources.folder import FileSource, absolute, manifest_in, read_file, walk_images
from bottleneck.sources.kinds import kind_of
from bottleneck.sources.layout import AS_FOUND, Choice, FolderLayout, find_layout, split_of_name
from bottleneck.sources.opening import archives, open_source
from bottleneck.sources.remote import fetch, list_level
from bottleneck.sources.rules import is_hidden
from bottleneck.sources.shards import Request, relative_names
from bottleneck.sources.urls import UrlSource

_END: Final = b"\0"
"""No name of a file has it."""


@dataclass(frozen=True)
class Segment:
    """Rows that one source holds, one behind the other: where their bytes are.

    Parameters
    ----------
    rows : int
        How many.
    base : str, optional
        Folder or URL that their keys are relative to: a file each.
    sources : tuple of str, optional
        Otherwise: what to open, as given to :func:`bottleneck.sources.open_source`.
    first : int
        The first row's number in it.
    prefix : str
        What the keys have in front of those of the source.
    choice : mapping, optional
        Where paths and labels are looked for in ``sources``.
    """

    rows: int
    base: str | None = None
    sources: tuple[str, ...] = ()
    first: int = 0
    prefix: str = ""
    choice: dict[str, Any] | None = None


Block = tuple[Manifest, Segment]
"""Rows one behind the other with their labels, and where they are; the classes are its own."""


def stream_blocks(
    given: Sequence[str],
    targets: Sequence[str] = (),
    choice: Choice = AS_FOUND,
    *,
    rows: int,
) -> Iterator[Block]:
    """List images in blocks, in the order in which ``extract`` lists them.

    A folder, here or behind a URL, takes the memory of its largest folder; archives that of the
    largest archive; everything else is listed whole.

    Parameters
    ----------
    given, targets, choice
        See :func:`bottleneck.sources.open_source`.
    rows : int
        Rows of a block at most.

    Raises
    ------
    SourceError, ManifestError, OptionError
        As :func:`bottleneck.sources.open_source`.
    """
    streamed: Iterator[Block] | None = None
    if not targets:
        if len(given) == 1 and _is_folder(given[0], choice):
            streamed = _folder_blocks(given[0], choice, rows)
        if streamed is None:
            streamed = _archive_blocks(given, choice)
    if streamed is None:
        streamed = _whole(open_source(given, targets, choice), given, choice)
    for manifest, segment in streamed:
        for start in range(0, len(manifest), rows):
            stop = min(start + rows, len(manifest))
            first = segment.first + start
            yield cut(manifest, start, stop), replace(segment, rows=stop - start, first=first)


def cut(manifest: Manifest, start: int, stop: int) -> Manifest:
    """Take rows ``start`` to ``stop`` out of a manifest, with the groups that they have."""
    if (start, stop) == (0, len(manifest)):
        return manifest
    groups = manifest.groups[start:stop]
    names, codes = np.unique(groups, return_inverse=True)
    kept = names[names >= 0]
    return replace(
        manifest,
        keys=manifest.keys[start:stop],
        labels=manifest.labels[start:stop],
        splits=manifest.splits[start:stop],
        groups=(codes - np.count_nonzero(names < 0)).astype(np.int32),
        group_names=PackedStrings.pack(manifest.group_names[int(name)] for name in kept),
        targets=manifest.targets.take(np.arange(start, stop)),
    )


def _is_folder(text: str, choice: Choice) -> bool:
    """Whether it is a folder that holds items, and not archives of them or a pattern."""
    if is_url(text):
        name = text.rstrip("/")
        if len(expand_braces(text)) > 1 or "*" in text or "[" in text or kind_of(name):
            return False
    elif not Path(text).is_dir():
        return False
    return any(_listed(text, choice, Tally()))


def _listed(text: str, choice: Choice, tally: Tally) -> Iterator[list[str]]:
    if is_url(text):
        return _walk_url(text.rstrip("/"), choice, tally)
    return walk_images(text, tally, choice.rules.is_name)


def _walk_url(url: str, choice: Choice, tally: Tally) -> Iterator[list[str]]:
    """Yield keys below a URL in natural order, a level at a time."""
    stack = [""]
    while stack:
        prefix = stack.pop()
        if prefix and not prefix.endswith("/"):
            yield [prefix]
            continue
        found = list_level(f"{url}/{prefix}".rstrip("/"))
        names = [prefix + name + "/" * is_folder for name, is_folder in found]
        kept = []
        for name in names:
            if name.endswith("/"):
                if not is_hidden(name.rstrip("/")):
                    kept.append(name)
            elif choice.rules.is_key(name):
                kept.append(name)
            else:
                tally.leave_out(name)
        kept.sort(reverse=True)
        kept.sort(key=natural_key, reverse=True)
        if not any(name.endswith("/") for name in kept):
            kept.reverse()
            yield kept
        else:
            stack += kept


def _folder_blocks(text: str, choice: Choice, rows: int) -> Iterator[Block]:
    """List into a scratch file, then read labels off the paths: all folders tell the layout."""
    folders: dict[str, None] = {}
    count = 0
    with tempfile.TemporaryFile() as scratch:
        for keys in _listed(text, choice, Tally()):
            for key in keys:
                folder = key.rpartition("/")[0]
                if folder not in folders:
                    folders[folder] = None
                scratch.write(key.encode("utf-8", "surrogateescape") + _END)
            count += len(keys)
        layout = _layout_of(folders, text, choice)
        scratch.seek(0)
        base = text.rstrip("/") if is_url(text) else absolute(text)
        for keys in _batches(_names(scratch), rows):
            manifest = manifest_in(keys, layout, text, choice)
            yield manifest, Segment(len(manifest), base=base)


def _layout_of(folders: Iterable[str], name: str, choice: Choice) -> FolderLayout:
    return find_layout([f"{folder}/x" if folder else "x" for folder in folders], name, choice)


def _names(stream: IO[bytes]) -> Iterator[str]:
    rest = b""
    while block := stream.read(1 << 22):
        *whole, rest = (rest + block).split(_END)
        yield from (name.decode("utf-8", "surrogateescape") for name in whole)


def _batches(names: Iterator[str], rows: int) -> Iterator[list[str]]:
    while batch := list(itertools.islice(names, rows)):
        yield batch


def _archive_blocks(given: Sequence[str], choice: Choice) -> Iterator[Block] | None:
    """List archives of one kind one by one; None where something else is given."""
    found = archives(given, choice)
    if found is None:
        return None
    kind, locations = found
    told = _choice_json(choice)

    def blocks() -> Iterator[Block]:
        known: tuple[FolderLayout, str] | None = None
        for location, (relative, prefix) in zip(locations, relative_names(locations), strict=True):
            manifest = kind.open(Request(location, [location], choice=choice)).manifest
            folders = {key.rpartition("/")[0] for key in manifest.keys} - {""}
            if folders:
                layout = _layout_of(folders, location, choice)
                if known is not None and known[0] != layout:
                    raise ManifestError(
                        f"expected archives whose folders mean the same, got {known[1]} and "
                        f"{location}, of which one has folders of splits or around everything",
                        hint="Say which folder is the class: --depth N, --label-from parent.",
                    )
                known = known or (layout, location)
            code = split_code(split_of_name(relative)) or 0
            if code:
                splits = np.where(manifest.splits == 0, code, manifest.splits).astype(np.uint8)
                manifest = replace(manifest, splits=splits)
            if prefix:
                keys = PackedStrings.pack(prefix + key for key in manifest.keys)
                manifest = replace(manifest, keys=keys)
            where = location if is_url(location) else absolute(location)
            yield manifest, Segment(len(manifest), sources=(where,), prefix=prefix, choice=told)

    return blocks()


def _whole(source: Source, given: Sequence[str], choice: Choice) -> Iterator[Block]:
    n = len(source.manifest)
    if isinstance(source, FileSource):
        yield source.manifest, Segment(n, base=absolute(str(source.base)))
    elif isinstance(source, UrlSource):
        base = source.base if is_url(source.base) else absolute(source.base)
        yield source.manifest, Segment(n, base=base)
    else:
        texts = tuple(
            text if is_url(text) or text.startswith("/") else absolute(text) for text in given
        )
        yield source.manifest, Segment(n, sources=texts, choice=_choice_json(choice))


def _choice_json(choice: Choice) -> dict[str, Any]:
    return {name: value for name, value in asdict(choice).items() if value is not None}


class PartSource:
    """Rows of a list that was streamed: what a worker reads of it.

    Parameters
    ----------
    name : str
        What people call it.
    manifest : Manifest
        The rows.
    segments : sequence of Segment
        Where they are, in order.

    Raises
    ------
    SourceError
        When a source holds other images than it did when it was listed.
    """

    def __init__(self, name: str, manifest: Manifest, segments: Sequence[Segment]) -> None:
        self.name = name
        self.manifest = manifest
        self.listing = Listing()
        self._segments = tuple(segments)
        self._ends = list(accumulate(one.rows for one in segments))
        opened: dict[str, Source] = {}
        self._sources: list[Source | None] = []
        for one, end in zip(segments, self._ends, strict=True):
            if one.base is not None:
                self._sources.append(None)
                continue
            key = fingerprint([one.sources, one.choice])
            if key not in opened:
                opened[key] = open_source(one.sources, choice=Choice(**(one.choice or {})))
            self._refuse_changed(one, opened[key], end - one.rows)
            self._sources.append(opened[key])

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        return f"<PartSource {self.name} {len(self)} images>"

    def read(self, row: int) -> bytes | NDArray[np.uint8] | NDArray[np.uint16]:
        """See :meth:`bottleneck.sources.Source.read`."""
        which = bisect_right(self._ends, row)
        segment, source = self._segments[which], self._sources[which]
        if source is not None:
            return source.read(segment.first + row - self._ends[which] + segment.rows)
        key = self.manifest.keys[row].removeprefix(segment.prefix)
        location = key if is_url(key) else posixpath.join(segment.base or "", key)
        return fetch(location) if is_url(location) else read_file(Path(location))

    def stamp(self) -> str:
        """Return the fingerprint of the list: the images are looked at when they are read."""
        return fingerprint([self.manifest.sha256])

    def _refuse_changed(self, segment: Segment, source: Source, start: int) -> None:
        there = source.manifest.keys
        for i in range(segment.rows):
            row = segment.first + i
            key = segment.prefix + there[row] if row < len(there) else None
            if key != self.manifest.keys[start + i]:
                raise SourceError(
                    f"{', '.join(segment.sources)} changed since the set was planned: row {row} "
                    f"was {self.manifest.keys[start + i]!r}, is {key!r} now",
                    hint="Plan a new set of the new images; extract --reuse takes features over.",
                )
