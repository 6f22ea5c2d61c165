"""The keys of a set, read part by part: no process holds all of them."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from bottleneck.packed import PackedStrings
from bottleneck.sets.parts import joined_strings
from bottleneck.sets.shards import Shards

_MOST_HELD: Final = 4
"""Parts in memory at a time: 23 MB each at 80 bytes a key."""


class SetKeys(PackedStrings):
    """The keys of all rows of a set.

    Rows in order cost a part's memory at a time. All of them in one piece, :attr:`blob` and
    :attr:`offsets`, are put together when they are asked for: for a single file of the set.

    Parameters
    ----------
    shards : Shards
        Whose.
    """

    __slots__ = ("_held", "_lock", "_shards", "_whole")

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._held: OrderedDict[int, PackedStrings] = OrderedDict()
        self._lock = threading.Lock()
        self._whole: PackedStrings | None = None

    def __repr__(self) -> str:
        return f"<SetKeys {len(self)} of {self._shards.place.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (SetKeys, (self._shards,))

    def __len__(self) -> int:
        return self._shards.info.rows

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> PackedStrings: ...

    def __getitem__(self, index: int | slice) -> str | PackedStrings:
        size = self._shards.info.rows_per_shard
        if not isinstance(index, slice):  # also numbers of NumPy
            number, row = divmod(range(len(self))[index], size)
            return self._part(number)[row]
        start, stop, step = index.indices(len(self))
        if step != 1 or stop <= start:
            return PackedStrings.pack(self[row] for row in range(start, stop, step))
        pieces = []
        for number in range(start // size, -(-stop // size)):
            first = number * size
            pieces.append(self._part(number)[max(0, start - first) : stop - first])
        return joined_strings(pieces)

    def __iter__(self) -> Iterator[str]:
        for number in range(len(self._shards)):
            yield from self._part(number)

    def _part(self, number: int) -> PackedStrings:
        with self._lock:
            if number in self._held:
                self._held.move_to_end(number)
                return self._held[number]
        keys = self._shards.manifest(number).keys
        with self._lock:
            self._held[number] = keys
            while len(self._held) > _MOST_HELD:
                self._held.popitem(last=False)
        return keys

    def _all(self) -> PackedStrings:
        if self._whole is None:
            self._whole = joined_strings([self._part(n) for n in range(len(self._shards))])
        return self._whole

    @property
    def blob(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """All keys in UTF-8, one after the other."""
        return self._all().blob

    @property
    def offsets(self) -> NDArray[np.uint64]:  # type: ignore[override]
        """Where each begins."""
        return self._all().offsets
