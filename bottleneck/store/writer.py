"""Write rows so that a row marked done is complete and durable, whatever happens.

HDF5 is not open for writing while data streams: rows go straight to their byte offsets.
The order is the promise: rows and checksums, then a sync, then their status, then a sync. The
syncs may be made in a thread of their own, in that order, while further rows are written.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bottleneck import writing
from bottleneck.errors import StoreError
from bottleneck.status import RowStatus
from bottleneck.store import system
from bottleneck.store.format import DIGEST_BYTES, Extent, Layout, row_checksums

COMMIT_BYTES = 64 << 20
"""Rows are made durable after this many bytes ..."""

COMMIT_SECONDS = 5.0
"""... or after this many seconds, whichever comes first; sooner where syncs are quick."""

_SYNC_SHARE = 0.02
"""Commits come as often as costs no more than this share of the time, but not ..."""

_BLOCK_BYTES = 16 << 20
"""Flags are written again in blocks of this size."""

_LEAST_SECONDS = 1.0
"""... more often than this, so that progress moves and a kill costs little."""


def failures_path(path: Path) -> Path:
    """Return where the free texts of failures go: a JSON line each, beside the feature file.

    Lines are only ever added; the last one of a row counts, if its status still is a failure.
    """
    return path.with_name(path.name + ".failures.jsonl")


class FailedRow(NamedTuple):
    """A row that has a reason instead of features.

    Parameters
    ----------
    row : int
        Its number.
    key : str
        Its key.
    status : RowStatus
        The reason.
    message : str
        What the decoder said.
    digest : ndarray of uint8, shape (16,), optional
        Hash of the image, where its bytes could be read.
    """

    row: int
    key: str
    status: RowStatus
    message: str
    digest: NDArray[np.uint8] | None = None


def settle(path: Path, layout: Layout) -> None:
    """Make durable what an earlier writer may have left in memory only, before it is relied on.

    A killed writer can leave a name, or flags, that no sync has reached. And after a sync that
    failed the kernel takes the pages for clean, so that the next sync says nothing of them:
    the flags are written again. The caller holds the writer lock.

    Parameters
    ----------
    path : Path
        The feature file.
    layout : Layout
        Its extents.

    Raises
    ------
    StoreError
        When the disk refuses.
    """
    with Writer(path, layout) as writer:
        writer.settle()


class Writer:
    """Writes rows of an existing feature file. The caller holds the writer lock.

    Leaving the ``with`` block commits what was written, also after an interrupt; after an
    error of the disk nothing more is flagged.

    Parameters
    ----------
    path : Path
        The feature file.
    layout : Layout
        Its extents.
    commit_bytes : int
        Commit after this many bytes.
    commit_seconds : float
        Commit after this many seconds at the latest.
    background : bool
        Whether commits are made in a thread of their own; an error of the disk then is told by
        the next call. Only one is on its way at a time, so rows count in the order they are
        written.

    Attributes
    ----------
    committed : int
        How many rows are durable and flagged.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        *,
        commit_bytes: int = COMMIT_BYTES,
        commit_seconds: float = COMMIT_SECONDS,
        background: bool = False,
    ) -> None:
        self.path = path
        self.layout = layout
        self.committed = 0
        self._commit_bytes = commit_bytes
        self._commit_seconds = commit_seconds
        self._next_commit = min(_LEAST_SECONDS, commit_seconds)
        self._pending: list[tuple[NDArray[np.int64], NDArray[np.uint8]]] = []
        self._messages: list[str] = []
        self._pending_bytes = 0
        self._last_commit = time.monotonic()
        self._broken: StoreError | None = None
        self._thread = _commit_thread() if background else None
        self._running: Future[None] | None = None
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error
        try:
            system.claim(self._descriptor, path)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._broken is None:
                self.commit()
            self._wait()  # for an error that nobody was told
        finally:
            if self._thread is None:
                os.close(self._descriptor)
            else:
                # Behind the commit on its way, also where who waits for that is interrupted.
                self._thread.submit(os.close, self._descriptor)
                self._thread.shutdown()

    def __repr__(self) -> str:
        return f"<Writer {self.path} {self.committed} rows committed>"

    def write(
        self,
        rows: NDArray[np.int64],
        features: Mapping[str, NDArray[np.floating[Any]]],
        digests: NDArray[np.uint8],
    ) -> None:
        """Write finished rows; they count as done from the next commit on.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            Ascending row numbers.
        features : mapping of str to ndarray, shape (n, dim)
            Features of every output of the file; stored in the file's type.
        digests : ndarray of uint8, shape (n, 16)
            Hash of each row's image.

        Raises
        ------
        StoreError
            When the disk refuses; nothing that was not yet committed is flagged.
        """
        if features.keys() != self.layout.features.keys():
            raise ValueError(f"expected outputs {[*self.layout.features]}, got {[*features]}")
        self._tell_errors()
        with self._disk():
            for name, extent in self.layout.features.items():
                block = np.ascontiguousarray(features[name], extent.dtype)
                self._put(extent, rows, block)
                self._put(self.layout.crc32[name], rows, row_checksums(block))
            self._put(self.layout.digest, rows, digests)
        self._flag(rows, np.full(len(rows), RowStatus.DONE, np.uint8))

    def fail(self, failures: Iterable[FailedRow]) -> None:
        """Give rows their reason instead of features.

        Parameters
        ----------
        failures : iterable of FailedRow
            The message of each goes to the JSON-lines file beside the store.
        """
        listed = sorted(failures, key=lambda failure: failure.row)
        if not listed:
            return
        self._tell_errors()
        for row, key, status, message, _ in listed:
            record = {"row": row, "key": key, "status": status.label, "message": message}
            self._messages.append(json.dumps(record) + "\n")
        rows = np.array([failure.row for failure in listed], np.int64)
        digests = np.zeros((len(rows), DIGEST_BYTES), np.uint8)
        for i, failure in enumerate(listed):
            if failure.digest is not None:
                digests[i] = failure.digest
        with self._disk():
            self._put(self.layout.digest, rows, digests)
            for extent in self.layout.crc32.values():
                # No checksum: what an earlier run may have left in the row is not its features.
                self._put(extent, rows, np.zeros(len(rows), "<u4"))
        self._flag(rows, np.array([failure.status for failure in listed], np.uint8))

    def settle(self) -> None:
        """Write the flags that the file shows again, and sync them and the file's name."""
        with self._disk():
            times = os.fstat(self._descriptor)
            status = self.layout.status
            for start in range(0, status.n_rows, _BLOCK_BYTES):
                offset = status.offset + start
                count = min(_BLOCK_BYTES, status.n_rows - start)
                system.write_at(self._descriptor, os.pread(self._descriptor, count, offset), offset)
            system.sync_data(self._descriptor)
            writing.sync_folder(self.path.parent)
            with contextlib.suppress(OSError):  # nothing changed, for those who go by the time
                os.utime(self._descriptor, ns=(times.st_atime_ns, times.st_mtime_ns))

    def unflag(self, rows: NDArray[np.int64]) -> None:
        """Make rows pending again, durably: before a done row may be overwritten.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            Ascending row numbers.
        """
        self._wait()
        with self._disk():
            self._put(self.layout.status, rows, np.zeros(len(rows), np.uint8))
            system.sync_data(self._descriptor)

    def commit(self) -> None:
        """Make everything written so far durable, then flag it.

        Raises
        ------
        StoreError
            When the disk refuses; the rows stay pending.
        """
        self._begin_commit()
        self._wait()

    def _begin_commit(self) -> None:
        """Have everything written so far made durable and flagged, after what was before it."""
        self._wait()
        self._last_commit = time.monotonic()
        if not self._pending:
            return
        # What is committed stays listed until it is: after an interrupt it is tried again.
        commit = partial(self._make_durable, len(self._pending), len(self._messages))
        self._pending_bytes = 0
        if self._thread is None:
            commit()
        else:
            self._running = self._thread.submit(commit)

    def _make_durable(self, blocks: int, messages: int) -> None:
        """Sync, flag and sync the first blocks of rows, whose data is written already."""
        if self._broken is not None:
            # Told again to who was interrupted while it was told: a second sync would succeed.
            raise self._broken
        started = time.monotonic()
        self._keep_messages(messages)
        with self._disk():
            system.sync_data(self._descriptor)
            for rows, statuses in self._pending[:blocks]:
                self._put(self.layout.status, rows, statuses)
            system.sync_data(self._descriptor)
        affordable = max(_LEAST_SECONDS, (time.monotonic() - started) / _SYNC_SHARE)
        self._next_commit = min(affordable, self._commit_seconds)
        self.committed += sum(len(rows) for rows, _ in self._pending[:blocks])
        del self._pending[:blocks]

    def _wait(self) -> None:
        """Wait for the commit on its way, if there is one; raise what it raised."""
        if self._running is not None:
            wait_for([self._running])
            running, self._running = self._running, None
            running.result()

    def _tell_errors(self) -> None:
        """Raise what a commit on its way has raised."""
        if self._running is not None and self._running.done():
            self._wait()

    def _keep_messages(self, count: int) -> None:
        """Add texts of failures to their file, on lines of their own whatever a kill left."""
        if not count:
            return
        path = failures_path(self.path)
        try:
            with path.open("a+b") as stream:
                torn = stream.tell() and os.pread(stream.fileno(), 1, stream.tell() - 1) != b"\n"
                stream.write(("\n" * bool(torn) + "".join(self._messages[:count])).encode())
        except OSError as error:
            raise self.mark_broken(
                StoreError(
                    f"cannot write {path}: {error.strerror or error}",
                    hint=f"{self.committed} rows of this run are safe. Run the same command again.",
                )
            ) from error
        del self._messages[:count]

    def _flag(self, rows: NDArray[np.int64], statuses: NDArray[np.uint8]) -> None:
        self._pending.append((rows, statuses))
        self._pending_bytes += len(rows) * sum(e.row_bytes for e in self.layout.extents)
        overdue = time.monotonic() - self._last_commit >= self._next_commit
        if overdue or self._pending_bytes >= self._commit_bytes:
            self._begin_commit()

    def _put(self, extent: Extent, rows: NDArray[np.int64], block: NDArray[np.generic]) -> None:
        if len(rows) and not 0 <= rows[0] <= rows[-1] < extent.n_rows:
            raise ValueError(f"expected rows below {extent.n_rows}, got {rows[0]} to {rows[-1]}")
        for start, stop in _runs(rows):
            offset = extent.offset + int(rows[start]) * extent.row_bytes
            system.write_at(self._descriptor, block[start:stop].data.cast("B"), offset)

    def _disk(self) -> "_DiskErrors":
        return _DiskErrors(self)

    def mark_broken(self, error: StoreError) -> StoreError:
        """Flag nothing more: what the disk holds is no longer known. Return the first error."""
        self._broken = self._broken or error
        return self._broken


class _DiskErrors:
    """Turns an error of the disk into a StoreError and stops the writer from flagging."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise self._writer.mark_broken(
                StoreError(
                    f"cannot write {self._writer.path}: {error.strerror or error}",
                    hint=f"{self._writer.committed} rows of this run are safe. "
                    "Mend the disk or free some space, then run the same command again.",
                )
            ) from error


def _commit_thread() -> ThreadPoolExecutor | None:
    """Start a thread to commit in, before there is anything to lose; None where there is none."""
    thread = ThreadPoolExecutor(1, "commit")
    try:
        thread.submit(int)
    except RuntimeError:  # no memory for it, or no more are allowed
        return None
    return thread


def _runs(rows: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut positions 0..n into stretches of consecutive row numbers."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    edges = [0, *cuts.tolist(), len(rows)]
    return ((a, b) for a, b in pairwise(edges) if b > a)
