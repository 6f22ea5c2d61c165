"""Rows of a set, shard by shard: each is opened when it is read, and only some at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck.errors import HeadError
from bottleneck.fingerprint import fingerprint
from bottleneck.heads.matrix import FloatArray, Layout, Rows, ShardedRows
from bottleneck.heads.stored import rows_of_file, shape_of_maps
from bottleneck.location import is_url
from bottleneck.sets import Shards, open_shards
from bottleneck.sets.view import SetRows

_MOST_OPEN = 256
"""Shards that this process has open at a time: each is a descriptor."""


@dataclass(frozen=True)
class StoredShard:
    """Says where the rows of a shard are; it can be sent.

    Parameters
    ----------
    location : str
        Folder or URL of the set.
    number : int
        The shard.
    output : str
        Which features.
    listed : str
        Fingerprint of the shards that were there when the set was opened: one that was opened
        later, in the same process, has new shards and corrections.
    """

    location: str
    number: int
    output: str
    listed: str

    def open(self) -> Rows:
        """Open its rows.

        Raises
        ------
        HeadError
            When nobody has published the shard.
        """
        store = _shards(self.location, self.listed).store(self.number)
        if store is None:
            raise HeadError(
                f"{self.location} has no shard {self.number} yet",
                hint="Run `bottleneck extract --set` to make it, then train again.",
            )
        return rows_of_file(store, self.output)


@lru_cache(8)
def _shards(location: str, listed: str) -> Shards:
    return open_shards(location)


@lru_cache(_MOST_OPEN)
def _opened(shard: StoredShard) -> Rows:
    return shard.open()


class ShardRows:
    """Rows of one shard, opened when they are read: thousands of them need few descriptors.

    Parameters
    ----------
    shard : StoredShard
        Where they are.
    shape, dtype
        As of :class:`~bottleneck.heads.rows.Rows`.
    """

    layout: Layout | None = None

    def __init__(self, shard: StoredShard, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._shard = shard
        self.shape, self.dtype = shape, dtype

    def read(self, start: int, stop: int, scratch: dict[str, FloatArray]) -> FloatArray:
        """Return rows ``start`` to ``stop``."""
        return _opened(self._shard).read(start, stop, scratch)


def sources_of_set(features: SetRows) -> Mapping[int, StoredShard]:
    """Return where the rows of every shard of a set are, published or not."""
    name = features.shards.place.name
    location = name if is_url(name) else str(Path(name).resolve())  # the same wherever it is sent
    info = features.shards.info
    listed = fingerprint([info.id, sorted(features.shards.newest.items())])
    return {
        number: StoredShard(location, number, features.output, listed)
        for number in range(info.n_ranges)
    }


def rows_of_set(features: SetRows, workers: Any = None) -> ShardedRows:
    """Return all rows of a set; those of shards that are missing cannot be read.

    Parameters
    ----------
    features : SetRows
        Of one output.
    workers : object, optional
        See :class:`~bottleneck.heads.rows.Layout`.
    """
    info = features.shards.info
    wide = np.dtype(np.float32 if features.dtype.itemsize <= 4 else np.float64)
    found: dict[int, Rows] = {}
    for number, shard in sources_of_set(features).items():
        start, stop = info.range(number)
        found[number] = ShardRows(shard, (stop - start, features.shape[1]), wide)
    together = ShardedRows(found, workers)
    together.map_shape = shape_of_maps(info.recipe, features.output)
    return together
