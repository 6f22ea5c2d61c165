"""Images in columns of Parquet files, read by row groups with a bound on memory."""

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from bottleneck.errors import ImageError, SourceError
from bottleneck.location import is_url
from bottleneck.sources.blob import Blob, BlobFile
from bottleneck.status import RowStatus

_WHOLE = 64 << 20
"""Row groups up to this size are kept whole; larger ones are gone through in pieces."""

_PIECE = 16 << 20
_KEPT = 256 << 20
"""Bytes of row groups in memory: several, because threads read some batches apart."""

_OPEN_FILES = 8
_STREAMS = 4
_BUFFER = 1 << 20


def open_file(blob: Blob) -> Any:
    """Open a Parquet file.

    Raises
    ------
    SourceError
        When it is none, or damaged.
    """
    place = pa.PythonFile(BlobFile(blob), "r") if is_url(blob.name) else blob.name
    try:
        return parquet.ParquetFile(place, buffer_size=_BUFFER, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{blob.name} is not a readable Parquet file: {error}") from error


def first_value(file: Any, leaf: str) -> bytes:
    """Return the first value of a binary column that is not null, empty where all of some are."""
    for batch in file.iter_batches(16, columns=[leaf], use_threads=False):
        column = batch.column(0)
        while pa.types.is_struct(column.type):
            column = column.flatten()[0]
        return next((bytes(value) for value in column.to_pylist() if value), b"")
    return b""


@dataclass(frozen=True)
class Groups:
    """The row groups of a file.

    Parameters
    ----------
    starts : tuple of int
        First row of each, and behind the last the number of rows.
    pieces : tuple of int
        Rows of each that are read together.
    """

    starts: tuple[int, ...]
    pieces: tuple[int, ...]


def plan_groups(metadata: Any, leaf: str) -> Groups:
    """Decide how many rows of each row group are read together, by how large the images are."""
    rows, pieces = [0], []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = (group.column(i) for i in range(group.num_columns))
        size = max(
            (c.total_uncompressed_size for c in columns if c.path_in_schema == leaf), default=0
        )
        count = max(group.num_rows, 1)
        rows.append(group.num_rows)
        pieces.append(count if size <= _WHOLE else max(1, count * _PIECE // size))
    return Groups(tuple(accumulate(rows)), tuple(pieces))


@dataclass
class _Stream:
    """A row group that is being gone through; ``position`` is the next piece."""

    pieces: Iterator[Any]
    position: int = 0


class RowGroupReader:
    """Reads single values of a binary column; safe in threads, opened anew in each process.

    Parameters
    ----------
    blobs : sequence of Blob
        The files.
    groups : sequence of Groups
        Their row groups.
    leaf : str
        The column's path, ``image.bytes``.
    """

    def __init__(self, blobs: Sequence[Blob], groups: Sequence[Groups], leaf: str) -> None:
        self._blobs = tuple(blobs)
        self._groups = tuple(groups)
        self._leaf = leaf
        self._prepare()

    def __repr__(self) -> str:
        return f"<RowGroupReader {self._leaf} in {len(self._blobs)} files>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("_blobs", "_groups", "_leaf")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def _prepare(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._files: OrderedDict[int, Any] = OrderedDict()
        self._streams: OrderedDict[tuple[int, int], _Stream] = OrderedDict()
        self._kept: OrderedDict[tuple[int, int, int], Any] = OrderedDict()

    def read(self, file: int, row: int) -> bytes | None:
        """Return a value, None where it is null.

        Raises
        ------
        ImageError
            ``MISSING`` or ``UNREADABLE``, naming the file and the row group.
        """
        if self._process != os.getpid():  # a fork took files that are open elsewhere
            self._prepare()
        blob = self._blobs[file]
        blob.check()
        groups = self._groups[file]
        group = bisect_right(groups.starts, row) - 1
        inside = row - groups.starts[group]
        piece, at = divmod(inside, groups.pieces[group])
        try:
            with self._lock:
                values = self._piece(file, group, piece)
            value: bytes | None = values[at].as_py()
        except (pa.ArrowException, OSError, StopIteration, IndexError, SourceError) as error:
            if isinstance(error, ImageError):
                raise
            raise ImageError(
                RowStatus.UNREADABLE, f"{blob.name}, row group {group}, row {row}: {error}"
            ) from error
        return value

    def _piece(self, file: int, group: int, piece: int) -> Any:
        wanted = (file, group, piece)
        if wanted not in self._kept:
            stream = self._streams.pop((file, group), None)
            if stream is None or stream.position > piece:
                stream = _Stream(self._open_pieces(file, group))
            while stream.position <= piece:
                self._kept[file, group, stream.position] = next(stream.pieces)
                stream.position += 1
                self._forget()
            self._streams[file, group] = stream
            while len(self._streams) > _STREAMS:
                self._streams.popitem(last=False)
        self._kept.move_to_end(wanted)
        return self._kept[wanted]

    def _open_pieces(self, file: int, group: int) -> Iterator[Any]:
        opened = self._files.pop(file, None) or open_file(self._blobs[file])
        self._files[file] = opened
        while len(self._files) > _OPEN_FILES:
            # Streams that are under way keep theirs open until they are dropped.
            self._files.popitem(last=False)
        rows = self._groups[file].pieces[group]
        for batch in opened.iter_batches(
            rows, row_groups=[group], columns=[self._leaf], use_threads=False
        ):
            column = batch.column(0)
            while pa.types.is_struct(column.type):
                column = column.flatten()[0]
            yield column

    def _forget(self) -> None:
        while len(self._kept) > 1 and sum(v.nbytes for v in self._kept.values()) > _KEPT:
            self._kept.popitem(last=False)
