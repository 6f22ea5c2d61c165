"""Which rows of a file are still to be computed, and whether the file may be continued."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError, OptionError, RecipeMismatchError
from bottleneck.extraction.reuse import MUST_AGREE
from bottleneck.manifest import Manifest
from bottleneck.recipe import Recipe, mismatch_message
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore
from bottleneck.store.outdated import require_one_decoding
from bottleneck.targets import Targets

_BLOCK_ROWS = 1 << 20
"""Rows planned at once."""

_LEAST_SHARE = 4
"""Rows of a batch that are not worth dividing further."""

_OVERWRITE_HINT = "Give another -o, or --overwrite to replace the file and its finished rows."

_REUSE_HINT = (
    "Give another -o; with --reuse and this file, only new images are computed. "
    "Or --overwrite to replace the file and its finished rows."
)


@dataclass(frozen=True)
class MaxFailed:
    """How many images may fail before a finished run counts as a failure.

    Parameters
    ----------
    count : int or None
        An absolute number, or
    share : float or None
        a share of all rows, 0 to 1.
    """

    count: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``25`` or ``10%``.

        Raises
        ------
        OptionError
            For anything else.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
        if match and match[2] and float(match[1]) <= 100:
            return cls(share=float(match[1]) / 100)
        if match and not match[2] and "." not in match[1]:
            return cls(count=int(match[1]))
        raise OptionError(f"expected a number or a percentage for --max-failed, got {text!r}")

    def exceeded(self, failed: int, rows: int) -> bool:
        """Whether that many failures are too many."""
        return failed > (self.count if self.count is not None else (self.share or 0.0) * rows)

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{(self.share or 0) * 100:g}%"


@dataclass(frozen=True)
class Part:
    """The images of a list that one of several machines does.

    Parameters
    ----------
    number, of : int
        Part ``number``, counted from 1, of so many: neighbours in the list, so that each machine
        reads its own stretch of an archive.
    ranges : tuple of (int, int), optional
        Instead: images ``first`` up to ``behind``, counted from 0, ``behind`` not among them.
    """

    number: int = 1
    of: int = 1
    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, part: str | None, ranges: str | None) -> Self:
        """Read ``--part 2/8`` or ``--ranges 0-5000,9000-9500``; everything where neither is given.

        Raises
        ------
        OptionError
            For anything else, or both.
        """
        if part is not None and ranges is not None:
            raise OptionError("expected --part or --ranges, got both")
        if part is not None:
            match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", part)
            if not match or not 1 <= int(match[1]) <= int(match[2]):
                raise OptionError(
                    f"expected --part as 1/8 to 8/8, got {part!r}",
                    hint="Parts count from 1; where tasks count from 0, add 1 to their number.",
                )
            return cls(int(match[1]), int(match[2]))
        if ranges is None:
            return cls()
        found = []
        for text in ranges.split(","):
            match = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", text)
            if not match or int(match[1]) >= int(match[2]):
                raise OptionError(
                    f"expected --ranges as 0-5000 or 0-5000,9000-9500, got {ranges!r}",
                    hint="Images count from 0; the second number is not in the range.",
                )
            found.append((int(match[1]), int(match[2])))
        return cls(ranges=tuple(found))

    def rows(self, images: int, views: int = 1) -> NDArray[np.bool_]:
        """Tell which rows are in it: bool, shape (images * views,).

        Raises
        ------
        OptionError
            For a range behind the last image.
        """
        mine = np.zeros(images * views, bool)
        share = (images * (self.number - 1) // self.of, images * self.number // self.of)
        for first, behind in self.ranges or (share,):
            if behind > images:
                raise OptionError(f"expected ranges within {images}, got {first}-{behind}")
            mine[first * views : behind * views] = True
        return mine


WHOLE = Part()
"""All images of the list."""


def require_same_manifest(store: FeatureStore, manifest: Manifest) -> None:
    """Refuse to continue a file over other images.

    Raises
    ------
    ManifestError
        Naming the first difference and both fingerprints.
    """
    if store.manifest_sha256 != manifest.sha256:
        raise ManifestError(
            f"{store.location} was made for another list of images: "
            f"{manifest.describe_difference(store.manifest)} "
            f"(manifest {manifest.sha256[:12]} now, {store.manifest_sha256[:12]} in the file)",
            hint=_REUSE_HINT,
        )
    if manifest.targets and store.targets_sha256 != manifest.targets.sha256:
        raise ManifestError(
            f"{store.location} was made with {_named(store.manifest.targets)}, "
            f"now there are {_named(manifest.targets)}{_changed(store.manifest, manifest)}",
            hint="Targets are written once: --overwrite starts over, --reuse with another output "
            "takes over the features.",
        )


def _named(targets: Targets) -> str:
    columns = dict.fromkeys(name.partition("/")[0] for name in targets.names)
    if not columns:
        return "no targets"
    return f"targets {', '.join(columns)} (fingerprint {targets.sha256[:12]})"


def _changed(before: Manifest, now: Manifest) -> str:
    """Say which values differ where the columns are the same."""
    if before.targets.names != now.targets.names:
        return ""
    for name in now.targets.names:
        old, new = before.targets.columns([name]), now.targets.columns([name])
        rows = np.flatnonzero(~np.isclose(old, new, rtol=0, atol=0, equal_nan=True))
        if len(rows):
            first = now.keys[int(rows[0])]
            return f": {len(rows)} values of {name!r} differ, first of {first!r}"
    return ""


def require_same_recipe(store: FeatureStore, recipe: Recipe) -> list[str]:
    """Refuse to continue a file with another recipe.

    Returns
    -------
    list of str
        Differences that are allowed but worth a note.

    Raises
    ------
    RecipeMismatchError
        Naming every field that differs, with both values.
    """
    execution = recipe.execution_differences(store.recipe)
    fatal = recipe.identity_differences(store.recipe)
    fatal += [d for d in execution if d.field in MUST_AGREE]
    if fatal:
        raise RecipeMismatchError(
            mismatch_message("this run", store.location, fatal), hint=_OVERWRITE_HINT
        )
    require_one_decoding(store, recipe)
    return [
        f"continuing with another {d.field}: {d.ours} now, {d.theirs} before" for d in execution
    ]


def waiting(status: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which rows are to be computed: bool, shape (n,)."""
    return np.equal(status, RowStatus.PENDING)


class Plan:
    """The rows to compute, in order; only ever a block of their numbers is in memory.

    Parameters
    ----------
    status : ndarray of uint8, shape (n,)
        Status codes.
    limit : int, optional
        At most this many, spread evenly over those that wait, so that a short trial sees
        every class.
    """

    def __init__(self, status: NDArray[np.uint8], *, limit: int | None = None) -> None:
        self._status = status
        self._waiting = sum(len(rows) for rows in self._blocks())
        self._limit = self._waiting if limit is None else min(limit, self._waiting)

    def __len__(self) -> int:
        return self._limit

    def __repr__(self) -> str:
        return f"<Plan {len(self)} of {len(self._status)} rows>"

    def batches(self, size: int, workers: int = 1) -> Iterator[NDArray[np.int64]]:
        """Yield ascending row numbers, ``size`` at a time.

        Few rows are divided among the workers that decode, so that none is without work while
        another has all of it.
        """
        size = min(size, max(_LEAST_SHARE, -(-len(self) // workers)))
        rest = np.empty(0, np.int64)
        for rows in self._chosen():
            rest = np.concatenate([rest, rows])
            whole = len(rest) // size * size
            yield from rest[:whole].reshape(-1, size)
            rest = rest[whole:]
        if len(rest):
            yield rest

    def _chosen(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rows to do: of those that wait, numbers ``i * waiting // limit``."""
        seen = taken = 0
        for rows in self._blocks():
            # The first chosen number that lies behind this block.
            upto = -(-(seen + len(rows)) * self._limit // self._waiting) if len(rows) else taken
            numbers = np.arange(taken, min(upto, self._limit)) * self._waiting // self._limit
            yield rows[numbers - seen]
            seen, taken = seen + len(rows), max(taken, min(upto, self._limit))

    def _blocks(self) -> Iterator[NDArray[np.int64]]:
        for start in range(0, len(self._status), _BLOCK_ROWS):
            block = self._status[start : start + _BLOCK_ROWS]
            yield start + np.flatnonzero(waiting(block))
