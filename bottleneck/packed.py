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
