"""The seam between where images are kept and the rest of the package; several sources as one."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import PurePath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError
from bottleneck.fingerprint import fingerprint
from bottleneck.location import readable
from bottleneck.manifest import Manifest, concatenate
from bottleneck.sources.rules import LABEL_SUFFIXES, is_hidden, suffix

_MOST_SHOWN = 8
_LONGEST_ENDING = 10
"""Longer ones are parts of names, each its own: they are counted together."""


@dataclass(frozen=True)
class Listing:
    """Counts of what a source left out, and what it did with what it found.

    Parameters
    ----------
    endings : mapping of str to int
        Files that are no images by their ending, ``.svg``; the empty text stands for none.
    reasons : mapping of str to int
        Everything else that was left out, with how often: ``hidden``, ``label without an image``.
    notes : tuple of str
        What was understood in a way that one may want to know.
    """

    endings: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return what to tell people, a line for each kind; none where nothing was left out."""
        found = []
        if self.endings:
            by_count = sorted(
                self.endings.items(), key=lambda item: (not item[0], -item[1], item[0])
            )
            shown = [f"{name or 'no ending'} {count}" for name, count in by_count[:_MOST_SHOWN]]
            if rest := by_count[_MOST_SHOWN:]:
                shown.append(f"others {sum(count for _, count in rest)}")
            found.append(f"left out by ending: {', '.join(shown)}")
        if self.reasons:
            ordered = sorted(self.reasons.items())
            found.append(f"left out: {', '.join(f'{name} {count}' for name, count in ordered)}")
        return [*found, *self.notes]


class Tally:
    """Counts what is left out while images are listed."""

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.notes: list[str] = []
        self.first: dict[str, str] = {}
        """The first file of each ending."""

    def leave_out(self, path: str) -> None:
        """Count a file that is no image, by why it is none."""
        if is_hidden(path):
            self.reasons["hidden"] += 1
            return
        ending = suffix(path.rpartition("/")[2])
        if len(ending) > _LONGEST_ENDING:
            ending = "longer endings"
        self.endings[ending] += 1
        self.first.setdefault(ending, path)

    def finish(self) -> Listing:
        """Return the counts as they are now."""
        return Listing(dict(self.endings), dict(self.reasons), tuple(self.notes))


def left_out(paths: Iterable[str], *, labels: bool = False) -> Listing:
    """Count paths that are no images; with ``labels``, files that hold labels do not count."""
    tally = Tally()
    for path in paths:
        if not (labels and suffix(path) in LABEL_SUFFIXES):
            tally.leave_out(path)
    return tally.finish()


def not_used(what: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the note on columns, features or arrays that no images or labels were taken from."""
    listed = [*dict.fromkeys(map(readable, names))]
    more = [f"and {len(listed) - _MOST_SHOWN} more"] if len(listed) > _MOST_SHOWN else []
    return (f"{what} not used: {', '.join(listed[:_MOST_SHOWN] + more)}",) if listed else ()


def join(listings: Iterable[Listing]) -> Listing:
    """Add up what several sources left out."""
    tally = Tally()
    for listing in listings:
        tally.endings.update(listing.endings)
        tally.reasons.update(listing.reasons)
        tally.notes += [note for note in listing.notes if note not in tally.notes]
    return tally.finish()


class Source(Protocol):
    """A finite, ordered set of images that can be read by row, from any thread.

    A source travels to other processes by pickle, and small: what it keeps open stays behind and
    is opened again where it arrives.

    Attributes
    ----------
    name : str
        What people call it: the path or URL that was given.
    manifest : Manifest
        One row per image.
    listing : Listing
        What was left out when the images were listed.
    """

    name: str
    manifest: Manifest
    listing: Listing

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def read(self, row: int) -> bytes | NDArray[np.uint8] | NDArray[np.uint16]:
        """Return a row's encoded bytes, or its pixels where the source keeps pixels.

        Raises
        ------
        ImageError
            When this one image cannot be read; its reason is the row's status.
        """
        ...

    def stamp(self) -> str:
        """Return a fingerprint that changes when an image or the list changes.

        It is made from names, sizes and times of change, without reading the images.
        """
        ...


class SeveralSources:
    """The rows of several sources in order; keys begin with the name of their source.

    Parameters
    ----------
    sources : sequence of Source
        Two or more.

    Raises
    ------
    ManifestError
        When two sources have the same name, so that keys could not tell them apart.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.name = f"{len(sources)} sources"
        self.sources = tuple(sources)
        prefixes = [f"{PurePath(source.name).name}/" for source in sources]
        if len(set(prefixes)) < len(prefixes):
            raise ManifestError(
                f"expected sources of different names, got {', '.join(s.name for s in sources)}",
                hint="Keys begin with the last part of a source's path; rename one, "
                "or list all images in one CSV.",
            )
        self.manifest = concatenate([source.manifest for source in sources], prefixes)
        self.listing = join(source.listing for source in sources)
        self._ends = list(accumulate(len(source.manifest) for source in sources))

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        return f"<SeveralSources {', '.join(s.name for s in self.sources)}: {len(self)} images>"

    def read(self, row: int) -> bytes | NDArray[np.uint8] | NDArray[np.uint16]:
        """Return what the row's own source returns for it."""
        which = bisect_right(self._ends, row)
        return self.sources[which].read(row - (self._ends[which - 1] if which else 0))

    def stamp(self) -> str:
        """Return the fingerprint of all sources' stamps."""
        return fingerprint([source.stamp() for source in self.sources])
