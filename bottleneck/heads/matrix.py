"""Matrices of feature rows: where they lie, and how a pass reads them in blocks.

A pass asks for a run of rows at a time. An array in memory hands out a view; a file is read
into a buffer that its thread uses again, never mapped: a mapped file counts as memory (and
against ``ulimit -v``) as far as it was touched.
"""

import itertools
import math
import os
import threading
import time
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError, StoreError

FloatArray: TypeAlias = NDArray[np.floating[Any]]

_SECONDS_BETWEEN_WORDS = 0.25
"""Often enough that people see it move."""


class Rows(Protocol):
    """A matrix that can be read by runs of rows, from several threads at once.

    Attributes
    ----------
    shape : tuple of int
        Rows and features.
    dtype : dtype
        What :meth:`read` returns: float64 for float64 (and integer) data, else float32.
    layout : Layout or None
        The shards they are made of; None for rows that lie in one place.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def layout(self) -> "Layout | None":
        """Return the shards."""
        ...

    def read(self, start: int, stop: int, scratch: dict[str, FloatArray]) -> FloatArray:
        """Return rows ``start`` to ``stop``.

        Parameters
        ----------
        start, stop : int
            The run.
        scratch : dict
            Buffers of the calling thread, kept from call to call; the result may be one of
            them, so it is valid until the next call with the same ``scratch``.

        Returns
        -------
        ndarray of :attr:`dtype`, shape (stop - start, features)
            Not to be written to.
        """
        ...


@dataclass(frozen=True)
class Shard:
    """A run of rows that are summed up apart from all others.

    Parameters
    ----------
    number : int
        Its number in the set, which is its leaf of the tree that sums are added by.
    start, stop : int
        Its rows in the matrix.
    """

    number: int
    start: int
    stop: int


_tokens = itertools.count()


def next_token() -> int:
    """Return a number that was never returned before, in this process."""
    return next(_tokens)


@dataclass(frozen=True, eq=False)
class Layout:
    """The shards of a matrix, and who computes with them.

    Parameters
    ----------
    shards : tuple of Shard
        In the order of the rows; those without a row are left out.
    workers : object, optional
        Who holds the shards and answers questions about them, see
        :class:`~bottleneck.heads.solver.question.Workers`; by default the threads of this
        process do.
    taken : mapping of int to ndarray of int64, optional
        By a shard's number, which of the rows that are held of it; by default all.
    """

    shards: tuple[Shard, ...]
    workers: Any = None
    taken: dict[int, NDArray[np.int64]] | None = None

    @cached_property
    def token(self) -> int:
        """A number that no other layout of this process has."""
        return next_token()

    def of(self, at: NDArray[np.int64]) -> "Layout":
        """Return the layout of some of the rows, ascending."""
        shards, taken = [], {}
        for shard in self.shards:
            low, high = (int(i) for i in np.searchsorted(at, (shard.start, shard.stop)))
            if low == high:
                continue
            own = at[low:high] - shard.start
            shards.append(Shard(shard.number, low, high))
            taken[shard.number] = own if self.taken is None else self.taken[shard.number][own]
        return Layout(tuple(shards), self.workers, taken)


MapShape: TypeAlias = tuple[int, ...]
"""Height, width and channels of a map, all of whose numbers a row holds."""


def map_shape(rows: Rows) -> MapShape | None:
    """Say of which map rows hold the numbers; None where nobody knows, or of pooled features."""
    return getattr(rows, "map_shape", None)


class WatchedRows:
    """Rows that tell how often they were gone through: what fitting them takes, whatever the head.

    Parameters
    ----------
    rows : Rows
        The matrix.
    tell : callable
        Is told now and then, in words; from any thread, but not from two at once.
    """

    def __init__(self, rows: Rows, tell: Callable[[str], None]) -> None:
        self._inner = rows
        self._tell: Callable[[str], None] | None = tell
        self._read = 0
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self.shape = rows.shape
        self.dtype = rows.dtype
        self.layout = rows.layout
        self.depth = _depth(rows)
        self.map_shape = map_shape(rows)

    def end(self) -> None:
        """Tell nothing more: a head may keep its rows."""
        with self._lock:
            self._tell = None

    def read(self, start: int, stop: int, scratch: dict[str, FloatArray]) -> FloatArray:
        """Return rows ``start`` to ``stop``, and count them."""
        block = self._inner.read(start, stop, scratch)
        if self._tell is None:
            return block
        with self._lock:
            self._read += stop - start
            if self._tell is not None and time.monotonic() - self._last > _SECONDS_BETWEEN_WORDS:
                self._last = time.monotonic()
                passes, rest = divmod(self._read, self.shape[0])
                self._tell(f"pass {passes + 1} over the rows, {rest / self.shape[0]:.0%}")
        return block


class ArrayRows:
    """Rows of an array, or of something that is read like one.

    Parameters
    ----------
    array : ndarray, h5py.Dataset or what a store's features are, shape (n, d)
        Read in place.
    rows : ndarray of int, optional
        Which rows, in which order; all by default. Not for datasets of h5py.
    """

    layout: Layout | None = None
    map_shape: MapShape | None = None

    def __init__(self, array: Any, rows: NDArray[np.int64] | None = None) -> None:
        self._array = array
        self._rows = rows
        n = int(array.shape[0]) if rows is None else len(rows)
        self.shape = (n, int(array.shape[1]))
        narrow = np.dtype(array.dtype) in (np.float16, np.float32)
        self.dtype = np.dtype(np.float32 if narrow else np.float64)

    def read(self, start: int, stop: int, scratch: dict[str, FloatArray]) -> FloatArray:
        """Return rows ``start`` to ``stop``: a view where that is possible."""
        block = self._array[self._selection(start, stop)]
        if block.dtype == self.dtype and block.flags.c_contiguous:
            return np.asarray(block)
        wide = buffer(scratch, "wide", block.shape, self.dtype)
        np.copyto(wide, block)
        return wide

    @property
    def stored_bytes(self) -> int:
        """Bytes of all rows as they are stored."""
        itemsize: int = np.dtype(self._array.dtype).itemsize
        return self.shape[0] * self.shape[1] * itemsize

    def in_memory(self) -> "ArrayRows":
        """Read all rows, as they are stored."""
        return ArrayRows(np.array(self._array[self._selection(0, self.shape[0])]))

    def _selection(self, start: int, stop: int) -> slice | NDArray[np.int64]:
        """Return the rows to take: a slice where they lie side by side, which costs less."""
        if self._rows is None:
            return slice(start, stop)
        rows = self._rows[start:stop]
        if len(rows) and np.all(np.diff(rows) == 1):
            return slice(int(rows[0]), int(rows[-1]) + 1)
        return rows


class FileRows:
    """Rows of a matrix that lies in a file in one unbroken run.

    Parameters
    ----------
    path : Path
        The file.
    offset : int
        Byte at which row 0 begins.
    shape : tuple of int
        Rows and features in the file.
    dtype : dtype
        float16 or float32, as in the file.
    rows : ndarray of int, optional
        Which rows; all by default.
    """

    layout: Layout | None = None

    def __init__(
        self,
        path: Path,
        offset: int,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._offset = offset
        self._stored = dtype
        self._rows = rows
        self.shape = (shape[0] if rows is None else len(rows), shape[1])
        self.dtype = np.dtype(np.float32)
        self.map_shape: MapShape | None = None

    def read(self, start: int, stop: int, scratch: dict[str, FloatArray]) -> FloatArray:
        """Return rows ``start`` to ``stop``, in a buffer of the caller."""
        block = self._stored_rows(start, stop, scratch)
        if self._stored == self.dtype:
            return block
        wide = buffer(scratch, "wide", block.shape, self.dtype)
        np.copyto(wide, block)
        return wide

    def _stored_rows(self, start: int, stop: int, scratch: dict[str, FloatArray]) -> FloatArray:
        block = buffer(scratch, "stored", (stop - start, self.shape[1]), self._stored)
        view = memoryview(block.data).cast("B")
        row_bytes = self._stored.itemsize * self.shape[1]
        for at, first, count in self._runs(start, stop):
            self._fill(view[at * row_bytes : (at + count) * row_bytes], first * row_bytes)
        return block

    @property
    def stored_bytes(self) -> int:
        """Bytes of all rows as they are stored."""
        return self.shape[0] * self.shape[1] * self._stored.itemsize

    def in_memory(self) -> ArrayRows:
        """Read all rows, as they are stored."""
        return ArrayRows(self._stored_rows(0, self.shape[0], {}))

    def _runs(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield (position in the block, first row in the file, rows) of unbroken runs."""
        if self._rows is None:
            yield 0, start, stop - start
            return
        rows = self._rows[start:stop]
        starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1)
        for at, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            yield int(at), int(rows[at]), int(end - at)

    def _fill(self, view: memoryview, position: int) -> None:
        while view:
            count = os.preadv(self._descriptor, [view], self._offset + position)
            if count == 0:
                raise StoreError(f"{self._path} ends before row data at byte {position}")
            view, position = view[count:], position + count


class SubsetRows:
    """Some rows of others, read where those lie.

    Parameters
    ----------
    rows : Rows, shape (n, d)
        The others.
    at : ndarray of int64
        Which of them, ascending.
    """

    def __init__(self, rows: Rows, at: NDArray[np.int64]) -> None:
        self._rows = rows
        self._at = at
        # Subsets of subsets share the buffers of a thread: each has its own by its depth.
        self.depth: int = _depth(rows) + 1
        self.shape = (len(at), rows.shape[1])
        self.dtype = rows.dtype
        self.map_shape = map_shape(rows)

    @cached_property
    def layout(self) -> Layout | None:
        """Return the shards of these rows."""
        whole = self._rows.layout
        return None if whole is None else whole.of(self._at)

    def read(self, start: int, stop: int, scratch: dict[str, FloatArray]) -> FloatArray:
        """Return rows ``start`` to ``stop``: a view where they lie side by side."""
        at = self._at[start:stop]
        if len(at) and at[-1] - at[0] + 1 == len(at):
            return self._rows.read(int(at[0]), int(at[-1]) + 1, scratch)
        block = buffer(scratch, f"subset {self.depth}", (len(at), self.shape[1]), self.dtype)
        done = 0
        while done < len(at):  # as many rows at a time as were asked for, whatever lies between
            first = int(at[done])
            end = int(np.searchsorted(at, min(first + (stop - start), self._shard_end(first))))
            found = self._rows.read(first, int(at[end - 1]) + 1, scratch)
            block[done:end] = found[at[done:end] - first]
            done = end
        return block

    def _shard_end(self, row: int) -> int:
        """Return where a row's shard ends: the next one may be missing, if none of its rows is of
        these."""
        return self._ends[bisect_right(self._ends, row)] if self._ends else self._rows.shape[0]

    @cached_property
    def _ends(self) -> list[int]:
        whole = self._rows.layout
        return [] if whole is None else [shard.stop for shard in whole.shards]


class ShardedRows:
    """Rows of several shards, one after the other.

    Passes sum every shard up by itself, and add the sums along a fixed binary tree of the shards'
    numbers: who computes which shard, and with how many threads, does not change a result.

    Parameters
    ----------
    shards : mapping of int to Rows
        By number; one or more, all of one length and type.
    workers : object, optional
        See :class:`Layout`.
    """

    def __init__(self, shards: Mapping[int, Rows], workers: Any = None) -> None:
        self._numbers = sorted(shards)
        self._shards = [shards[number] for number in self._numbers]
        counts = [rows.shape[0] for rows in self._shards]
        self._bounds = [0, *itertools.accumulate(counts)]
        kinds = {(rows.shape[1], rows.dtype) for rows in self._shards}
        if len(kinds) != 1:
            raise HeadError(
                f"expected shards of one length and number type, got "
                f"{', '.join(sorted(f'{length} x {dtype}' for length, dtype in kinds)) or 'none'}"
            )
        ((d, self.dtype),) = kinds
        self.shape = (self._bounds[-1], d)
        self.map_shape: MapShape | None = None
        self.layout: Layout | None = Layout(
            tuple(
                Shard(number, start, stop)
                for number, start, stop in zip(
                    self._numbers, self._bounds, self._bounds[1:], strict=False
                )
                if stop > start
            ),
            workers,
        )

    def read(self, start: int, stop: int, scratch: dict[str, FloatArray]) -> FloatArray:
        """Return rows ``start`` to ``stop``: those of one shard as it has them."""
        first = max(0, bisect_right(self._bounds, start) - 1)
        if first < len(self._shards) and stop <= self._bounds[first + 1]:
            base = self._bounds[first]
            return self._shards[first].read(start - base, stop - base, scratch)
        block = buffer(scratch, "shards", (stop - start, self.shape[1]), self.dtype)
        at = start
        while at < stop:
            base, end = self._bounds[first], min(stop, self._bounds[first + 1])
            if end > at:
                own = self._shards[first].read(at - base, end - base, scratch)
                block[at - start : end - start] = own
            at, first = end, first + 1
        return block


def _depth(rows: Rows) -> int:
    """Return how many subsets lie in each other here, less one."""
    return rows.depth if isinstance(rows, SubsetRows | WatchedRows) else -1


def buffer(
    scratch: dict[str, FloatArray], name: str, shape: tuple[int, ...], dtype: Any
) -> FloatArray:
    """Return an array of a shape, not initialised, in memory that is used again."""
    size = math.prod(shape)
    held = scratch.get(name)
    if held is None or held.size < size or held.dtype != dtype:
        held = scratch[name] = np.empty(size, dtype)
    return held[:size].reshape(shape)
