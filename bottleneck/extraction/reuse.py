"""Images whose features are at hand already: in the file itself, or in an older one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode.fill import row_keys
from bottleneck.errors import RecipeMismatchError
from bottleneck.recipe import Recipe, mismatch_message
from bottleneck.store import FeatureStore
from bottleneck.store.format import Layout, row_checksums
from bottleneck.store.outdated import outdated_rows

_BLOCK_ROWS = 1 << 16
_NONE = -1

MUST_AGREE = ("precision", "dtype", "calibration_sha256")
"""Fields of the execution that rows of one file must share; the others may change midway."""

Features = dict[str, NDArray[np.floating[Any]]]


def is_sound(features: Mapping[str, Any], checksums: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Tell which rows match their CRC-32, in every output: bool, shape (n,)."""
    sound: NDArray[np.bool_] = np.logical_and.reduce(
        [row_checksums(block) == checksums[name] for name, block in features.items()]
    )
    return sound


@dataclass(frozen=True, eq=False)
class OldFile:
    """Finished, sound rows of an older file of the same recipe.

    Parameters
    ----------
    store : FeatureStore
        The file.
    keys : ndarray of S16, shape (k,)
        What its rows show, sorted; see :func:`~bottleneck.decode.fill.row_keys`.
    rows : ndarray of int64, shape (k,)
        The row of each key.
    """

    store: FeatureStore
    keys: NDArray[np.bytes_]
    rows: NDArray[np.int64]

    @classmethod
    def read(cls, store: FeatureStore, views: int) -> "OldFile":
        """Check every finished row of a file against its checksum and index the sound ones.

        Rows of files that may be decoded to something else today are left out.
        """
        done = np.setdiff1d(np.flatnonzero(store.done), outdated_rows(store))
        checksums = {name: store.checksums(name) for name in store.outputs}
        sound = [np.empty(0, np.int64)]
        for start in range(0, len(done), _BLOCK_ROWS):
            rows = done[start : start + _BLOCK_ROWS]
            features = {name: store.features(name)[rows] for name in store.outputs}
            expected = {name: checksums[name][rows] for name in store.outputs}
            sound.append(rows[is_sound(features, expected)])
        rows = np.concatenate(sound)
        keys, first = np.unique(row_keys(store.digests[rows], rows, views), return_index=True)
        return cls(store, keys, rows[first])

    def __repr__(self) -> str:
        return f"<OldFile {self.store.path} {len(self.keys)} images>"

    def find(self, keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Return the row that shows each key, -1 for none."""
        if not len(self.keys):
            return np.full(len(keys), _NONE, np.int64)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.rows[place], _NONE)

    def take(self, rows: NDArray[np.int64]) -> Features:
        """Read features of some rows, in any order."""
        return {name: np.asarray(self.store.features(name)[rows]) for name in self.store.outputs}


def matching(olds: list[FeatureStore], recipe: Recipe) -> FeatureStore | None:
    """Find the older file that was made by a recipe, or return None."""
    return next((old for old in olds if not _differences(old, recipe)), None)


def require_matches(olds: list[FeatureStore], recipes: list[Recipe]) -> None:
    """Refuse an older file that was made by none of the recipes of this run.

    Raises
    ------
    RecipeMismatchError
        Naming what differs, with both values.
    """
    for old in olds:
        if all(_differences(old, recipe) for recipe in recipes):
            nearest = min((_differences(old, recipe) for recipe in recipes), key=len)
            raise RecipeMismatchError(
                mismatch_message("this run", str(old.path), nearest),
                hint="--reuse takes a file that was made by the recipe of this run.",
            )


def _differences(old: FeatureStore, recipe: Recipe) -> list[Any]:
    execution = recipe.execution_differences(old.recipe)
    return [
        *recipe.identity_differences(old.recipe),
        *(difference for difference in execution if difference.field in MUST_AGREE),
    ]


class OwnRows:
    """Finished rows of the file that is being written, by what they show.

    A hash table with open addressing over row numbers, 12 to 24 bytes a row; the keys
    themselves are read back from the file.

    Parameters
    ----------
    path : Path
        The file.
    layout : Layout
        Where its rows lie.
    views : int
        Rows per image.
    """

    def __init__(self, path: Path, layout: Layout, views: int) -> None:
        self._digests: Any = layout.digest.map(path)
        self._features: dict[str, Any] = {n: e.map(path) for n, e in layout.features.items()}
        self._checksums: dict[str, Any] = {n: e.map(path) for n, e in layout.crc32.items()}
        self._views = views
        # Zero is no row, so that memory nobody has touched is an empty table.
        self._table = np.zeros(1 << (3 * layout.n_rows // 2).bit_length(), np.int64)

    def add_finished(self, done: NDArray[np.bool_]) -> None:
        """Add rows that were finished before: bool, shape (n,)."""
        for start in range(0, len(done), _BLOCK_ROWS):
            rows = start + np.flatnonzero(done[start : start + _BLOCK_ROWS])
            keys = self._keys_of(rows)
            new = self.find(keys) == _NONE
            _, first = np.unique(keys[new], return_index=True)
            self.add(rows[new][first], keys[new][first])

    def add(self, rows: NDArray[np.int64], keys: NDArray[np.bytes_]) -> None:
        """Add rows whose digests are written and whose keys are new and different."""
        places = self._first_place(keys)
        waiting = np.arange(len(rows))
        while len(waiting):
            at, numbers = places[waiting], rows[waiting] + 1
            empty = self._table[at] == 0
            self._table[at[empty]] = numbers[empty]
            waiting = waiting[self._table[at] != numbers]  # two may have wanted one place
            places[waiting] = (places[waiting] + 1) % len(self._table)

    def find(self, keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Return a row that shows each key, -1 for none."""
        found = np.full(len(keys), _NONE, np.int64)
        places = self._first_place(keys)
        open_ = np.arange(len(keys))
        while len(open_):
            rows = self._table[places[open_]] - 1
            open_, rows = open_[rows >= 0], rows[rows >= 0]
            equal = self._keys_of(rows) == keys[open_]
            found[open_[equal]] = rows[equal]
            open_ = open_[~equal]
            places[open_] = (places[open_] + 1) % len(self._table)
        return found

    def take(self, rows: NDArray[np.int64]) -> tuple[Features, NDArray[np.bool_]]:
        """Read features of some rows, and whether they match their checksums."""
        features = {name: np.asarray(array[rows]) for name, array in self._features.items()}
        return features, is_sound(features, {n: c[rows] for n, c in self._checksums.items()})

    def _keys_of(self, rows: NDArray[np.int64]) -> NDArray[np.bytes_]:
        return row_keys(self._digests[rows], rows, self._views)

    def _first_place(self, keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
        number = np.ascontiguousarray(keys).view("<u8")[::2]  # a hash is as good as random
        return (number % np.uint64(len(self._table))).astype(np.int64)


@dataclass(frozen=True, eq=False)
class FeatureCache:
    """The features that need not be computed: of an older file, and of the one being written.

    Parameters
    ----------
    old : OldFile, optional
        An older file of the same recipe.
    own : OwnRows, optional
        The rows of the file that is being written; without one nothing is remembered.
    views : int
        Rows per image.
    """

    old: OldFile | None = None
    own: OwnRows | None = None
    views: int = 1

    @property
    def old_keys(self) -> NDArray[np.bytes_] | None:
        """The images of the older file, sorted: decoders need not draw them."""
        return None if self.old is None else self.old.keys

    def keys(self, digests: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.bytes_]:
        """Name what each row shows.

        Where nothing is remembered every row is an image of its own: arrays in memory may have
        the same bytes in another shape.
        """
        if self.own is None:
            return rows.astype("S20")
        return row_keys(digests, rows, self.views)

    def from_old(self, keys: NDArray[np.bytes_], features: Features) -> NDArray[np.int64]:
        """Copy from the older file; return the positions that are still missing."""
        if self.old is None:
            return np.arange(len(keys))
        found = self.old.find(keys)
        have = np.flatnonzero(found != _NONE)
        for name, block in self.old.take(found[have]).items():
            features[name][have] = block
        return np.flatnonzero(found == _NONE)

    def from_own(
        self, keys: NDArray[np.bytes_], features: Features, missing: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Copy from rows of this file; return the positions that are still missing."""
        if self.own is None:
            return missing
        found = self.own.find(keys[missing])
        have = found != _NONE
        if not have.any():
            return missing
        copies, sound = self.own.take(found[have])
        places = missing[have]
        for name, block in copies.items():
            features[name][places[sound]] = block[sound]
        return np.sort(np.concatenate([missing[~have], places[~sound]]))

    def remember(self, rows: NDArray[np.int64], digests: NDArray[np.uint8]) -> None:
        """Take note of rows that are written now, so that equal ones can be copied from them."""
        if self.own is None:
            return
        keys, first = np.unique(row_keys(digests, rows, self.views), return_index=True)
        new = self.own.find(keys) == _NONE
        self.own.add(rows[first[new]], keys[new])
