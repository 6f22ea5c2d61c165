"""Many strings in two arrays: a UTF-8 blob and its offsets.

A million keys cost their own bytes plus eight each, instead of some sixty more as Python
strings, and the two arrays go to and from the feature file unchanged.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

# Names of files need not be UTF-8; this keeps their bytes and gives them back unchanged.
_ERRORS = "surrogateescape"

_PICKED_AT_ONCE = 1 << 16
"""Row numbers that are plain numbers of Python at a time."""


class PackedStrings(Sequence[str]):
    """An immutable sequence of strings.

    Parameters
    ----------
    blob : ndarray of uint8, shape (bytes,)
        The strings in UTF-8, one after the other.
    offsets : ndarray of uint64, shape (n + 1,)
        String ``i`` is ``blob[offsets[i]:offsets[i + 1]]``.
    """

    __slots__ = ("blob", "offsets")

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.uint64]) -> None:
        self.blob = blob
        self.offsets = offsets

    @classmethod
    def pack(cls, strings: Iterable[str]) -> "PackedStrings":
        """Pack strings, consuming the iterable once."""
        builder = PackedBuilder()
        for string in strings:
            builder.append(string)
        packed = builder.finish()
        return cls(packed.blob, packed.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "PackedStrings": ...

    def __getitem__(self, index: int | slice) -> "str | PackedStrings":
        if isinstance(index, slice) and index.step in (None, 1):
            start, stop, _ = index.indices(len(self))
            offsets = self.offsets[start : max(start, stop) + 1]
            return PackedStrings(
                self.blob[int(offsets[0]) : int(offsets[-1])], offsets - offsets[0]
            )
        if isinstance(index, slice):
            return PackedStrings.pack(self[i] for i in range(*index.indices(len(self))))
        position = range(len(self))[index]
        start, stop = int(self.offsets[position]), int(self.offsets[position + 1])
        return self.blob[start:stop].tobytes().decode("utf-8", _ERRORS)

    def __iter__(self) -> Iterator[str]:
        view = np.ascontiguousarray(self.blob).data
        start = 0
        for stop in self.offsets[1:]:
            end = int(stop)
            yield bytes(view[start:end]).decode("utf-8", _ERRORS)
            start = end

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PackedStrings):
            return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.blob, other.blob)

    __hash__ = None  # type: ignore[assignment]  # arrays are mutable

    def __repr__(self) -> str:
        return f"<PackedStrings {len(self)} strings, {self.blob.nbytes} bytes>"


class PickedStrings(Sequence[str]):
    """Some of many strings, each made when it is asked for.

    Parameters
    ----------
    strings : sequence of str
        The many.
    rows : ndarray of int64, shape (n,)
        Which of them.
    """

    def __init__(self, strings: Sequence[str], rows: NDArray[np.int64]) -> None:
        self._strings: Sequence[str] = strings
        self._rows: NDArray[np.int64] = rows
        if isinstance(strings, PickedStrings):
            self._strings, self._rows = strings._strings, strings._rows[rows]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "PickedStrings": ...

    def __getitem__(self, index: int | slice) -> "str | PickedStrings":
        if isinstance(index, slice):
            return PickedStrings(self._strings, self._rows[index])
        return self._strings[int(self._rows[index])]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._rows), _PICKED_AT_ONCE):
            for row in self._rows[start : start + _PICKED_AT_ONCE].tolist():
                yield self._strings[row]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<PickedStrings {len(self)} of {len(self._strings)}>"


class PackedBuilder:
    """Packs strings as they come, so that a long list never exists as Python strings."""

    def __init__(self) -> None:
        self._blob = bytearray()
        self._offsets = array("Q", [0])

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> str:
        start, stop = self._offsets[row], self._offsets[row + 1]
        return self._blob[start:stop].decode("utf-8", _ERRORS)

    def append(self, string: str) -> None:
        """Add a string behind the others."""
        self._blob += string.encode("utf-8", _ERRORS)
        self._offsets.append(len(self._blob))

    def finish(self) -> PackedStrings:
        """Return the strings; nothing may be added afterwards."""
        return PackedStrings(
            np.frombuffer(self._blob, np.uint8), np.frombuffer(self._offsets, np.uint64)
        )
