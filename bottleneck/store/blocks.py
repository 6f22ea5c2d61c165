"""Rows of a two-dimensional array that cannot be mapped: read by block slices, on demand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import StoreError
from bottleneck.store.damage import damage_explained

Selection = int | np.integer[Any] | slice | NDArray[np.integer[Any]] | NDArray[np.bool_]

_BLOCK_BYTES = 4 << 20
"""Bytes read at once when rows are picked: a few chunks, so that each is unpacked once."""


class Array2D(Protocol):
    """What features are: a memory map, or something that is read like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and length."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, selection: Any, /) -> Any: ...


class DatasetRows:
    """A dataset of an HDF5 file, compressed or chunked in any way.

    Rows are read in slices and picked in memory; HDF5's own selection of single rows is some
    twenty times slower.

    Parameters
    ----------
    path : Path
        The file.
    dataset : str
        Name of the dataset in it, two-dimensional.
    """

    def __init__(self, path: Path, dataset: str) -> None:
        self._path = path
        self._name = dataset
        with h5py.File(path, "r") as file, damage_explained(path):
            self.shape: tuple[int, ...] = file[dataset].shape
            self.dtype: np.dtype[Any] = file[dataset].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<DatasetRows {self._path}:{self._name} {self.shape} {self.dtype}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        """Return rows as a new array: by number, by slice, by row numbers or by mask."""
        if isinstance(selection, int | np.integer):
            row = range(len(self))[selection]
            return np.asarray(self[row : row + 1][0])
        if isinstance(selection, slice) and selection.step in (None, 1):
            with h5py.File(self._path, "r") as file, damage_explained(self._path):
                return np.asarray(file[self._name][selection])
        rows = np.arange(len(self))[selection]
        with h5py.File(self._path, "r") as file, damage_explained(self._path):
            return self._pick(file[self._name], rows)

    def _pick(self, dataset: h5py.Dataset, rows: NDArray[np.integer[Any]]) -> NDArray[Any]:
        picked = np.empty((len(rows), *self.shape[1:]), self.dtype)
        row_bytes = max(1, self.dtype.itemsize * int(np.prod(self.shape[1:])))
        block = max(1, _BLOCK_BYTES // row_bytes)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        if not len(rows):
            return picked
        for start in range(int(ordered[0]), int(ordered[-1]) + 1, block):
            low, high = np.searchsorted(ordered, (start, start + block))
            if low < high:
                # Only as far as rows are wanted.
                first, last = int(ordered[low]), int(ordered[high - 1])
                picked[order[low:high]] = dataset[first : last + 1][ordered[low:high] - first]
        return picked


class StackedRows:
    """Several arrays of equal length per row, one behind the other.

    Parameters
    ----------
    parts : sequence of ndarray, shape (n_i, dim)
        The arrays, usually memory maps.

    Raises
    ------
    StoreError
        When one has rows of another length: NumPy would repeat a single number.
    """

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        for number, part in enumerate(parts):
            if part.ndim != 2 or part.shape[1:] != parts[0].shape[1:] or part.dtype.kind != "f":
                raise StoreError(
                    f"expected parts of shape (rows, {', '.join(map(str, parts[0].shape[1:]))}) "
                    f"and a float type, got {part.dtype} {part.shape} in part {number}",
                    hint="All parts must come from one network.",
                )
        self._parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape: tuple[int, ...] = (int(self._ends[-1]), *parts[0].shape[1:])
        self.dtype: np.dtype[Any] = np.result_type(*parts)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<StackedRows {self.shape} {self.dtype} in {len(self._parts)} parts>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def __getitem__(self, selection: Selection) -> NDArray[Any]:
        """Return rows as a new array: by number, by slice, by row numbers or by mask."""
        if isinstance(selection, int | np.integer):
            return np.asarray(self[np.array([range(len(self))[selection]])][0])
        rows = np.arange(len(self))[selection]
        picked = np.empty((len(rows), *self.shape[1:]), self.dtype)
        which = np.searchsorted(self._ends, rows, side="right")
        for i, part in enumerate(self._parts):
            here = which == i
            if here.any():
                start = int(self._ends[i]) - len(part)
                picked[here] = part[rows[here] - start]
        return picked
