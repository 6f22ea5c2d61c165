"""A set as one feature store: rows are found by their range, what nobody made yet is pending."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from bottleneck.fingerprint import fingerprint_parts
from bottleneck.manifest import Manifest
from bottleneck.packed import PackedStrings
from bottleneck.sets.description import read_info
from bottleneck.sets.keys import SetKeys
from bottleneck.sets.parts import stacked
from bottleneck.sets.shards import Shards
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore
from bottleneck.store.contents import Contents, LazyRows
from bottleneck.store.format import DIGEST_BYTES, FEATURE_DTYPES

_T = TypeVar("_T")

_AT_ONCE: Final = 8
"""Shards that are asked for a column at the same time."""


def open_shards(location: str | Path) -> Shards:
    """List the shards of a set, a folder or a URL, to go through them one by one.

    Raises
    ------
    StoreError
        When there is no set.
    """
    return Shards(*read_info(location))


def open_set(location: str) -> Contents:
    """Open a set for :meth:`bottleneck.store.FeatureStore.open`; no shard is opened yet.

    The columns (status, keys, labels, checksums) are read whole when they are asked for; features
    are read shard by shard. Those that are not there are NaN.

    Raises
    ------
    StoreError
        When there is no set, or it is damaged.
    """
    shards = open_shards(location)
    info = shards.info

    def column(
        empty: Any, dtype: Any, shape: tuple[int, ...], read: Callable[[FeatureStore], NDArray[Any]]
    ) -> NDArray[Any]:
        values = np.full((info.rows, *shape), empty, dtype)
        for number, found in _read_all(shards, read):
            values[slice(*info.range(number))] = found
        return values

    # A part's fingerprint ends with that of its targets, where it has any.
    targets = [part[64:] for part in info.parts]
    return Contents(
        path=Path(location),
        creator="bottleneck",
        recipe=info.recipe,
        identity_sha256=info.recipe.identity_sha256,
        manifest_sha256=info.manifest_sha256,
        features={name: SetRows(shards, name) for name in info.outputs},
        read_status=lambda: column(RowStatus.PENDING, np.uint8, (), lambda one: one.status),
        read_manifest=lambda: _manifest(shards),
        read_digests=lambda: column(0, np.uint8, (DIGEST_BYTES,), lambda one: one.digests),
        read_checksums=lambda name: column(0, np.uint32, (), lambda one: one.checksums(name)),
        layout=None,
        why_read_only="it is a set, whose shards are written once: extract --set adds to it",
        targets_sha256=fingerprint_parts(map(str.encode, targets)) if any(targets) else "",
    )


def _manifest(shards: Shards) -> Manifest:
    """Put the columns of all parts together, but for the keys, which are read when asked for."""

    def without_keys(number: int) -> Manifest:
        return replace(shards.manifest(number), keys=PackedStrings.pack(()))

    parts = [one for _, one in some_at_a_time(range(len(shards)), without_keys)]
    return replace(stacked(parts, shards.info.classes), keys=SetKeys(shards))


def _read_all(
    shards: Shards, read: Callable[[FeatureStore], NDArray[Any]]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Read something of every shard that is there."""

    def one(number: int) -> NDArray[Any]:
        store = shards.store(number)
        assert store is not None
        return read(store)

    return some_at_a_time(sorted(shards.newest), one)


def some_at_a_time(numbers: Sequence[int], read: Callable[[int], _T]) -> Iterator[tuple[int, _T]]:
    """Read something for every number, a few at the same time and no more in memory.

    Yields
    ------
    number : int
        In the order given.
    found : object
        What was read for it.
    """
    with ThreadPoolExecutor(_AT_ONCE) as executor:
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            yield from zip(some, executor.map(read, some), strict=True)


class SetRows(LazyRows):
    """The features of one output of a set, read like an array of all its rows.

    Parameters
    ----------
    shards : Shards
        Where they are.
    output : str
        Which output.
    """

    def __init__(self, shards: Shards, output: str) -> None:
        self.shards, self.output = shards, output
        info = shards.info
        self.shape = (info.rows, info.outputs[output])
        self.dtype = FEATURE_DTYPES[info.dtype]

    def __repr__(self) -> str:
        return f"<SetRows {self.shards.place.name} {self.shape} {self.dtype}>"

    def _run(self, start: int, stop: int) -> NDArray[Any]:
        return self._filled(stop - start, self._pieces_of_run(start, stop))

    def _picked(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        return self._filled(len(rows), self._pieces_of_rows(rows))

    def _pieces_of_run(self, start: int, stop: int) -> Iterator[tuple[int, Any, Any]]:
        size = self.shards.info.rows_per_shard
        at = 0
        while start < stop:
            number, first = divmod(start, size)
            count = min(stop - start, size - first)
            yield number, slice(at, at + count), slice(first, first + count)
            start, at = start + count, at + count

    def _pieces_of_rows(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Any, Any]]:
        numbers, inside = np.divmod(rows, self.shards.info.rows_per_shard)
        order = np.argsort(numbers, kind="stable")
        edges = np.flatnonzero(np.diff(numbers[order])) + 1
        for where in np.split(order, edges) if len(order) else ():
            yield int(numbers[where[0]]), where, inside[where]

    def _filled(self, count: int, pieces: Iterable[tuple[int, Any, Any]]) -> NDArray[Any]:
        values = np.empty((count, *self.shape[1:]), self.dtype)
        for number, where, inside in pieces:
            store = self.shards.store(number)
            values[where] = np.nan if store is None else store.features(self.output)[inside]
        return values
