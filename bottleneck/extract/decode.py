"""Turn rows of a source into batches of pixels, ahead of the network and in order."""

import hashlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ImageError
from bottleneck.images import Geometry, decode, from_pixels
from bottleneck.sources import Source
from bottleneck.status import RowStatus
from bottleneck.store.format import DIGEST_BYTES

_BATCHES_AHEAD = 2
"""Decoded batches that wait beside those being decoded: enough that the network never does."""

_LOOK_AT_ONCE = 4096
"""Images looked at between two glances at the results."""


@dataclass(frozen=True)
class Failure:
    """A row that has a reason instead of pixels or features."""

    row: int
    status: RowStatus
    message: str
    digest: NDArray[np.uint8] | None = None
    """Hash of the image, where its bytes could be read."""


@dataclass(frozen=True, eq=False)
class DecodedBatch:
    """Pixels of the rows that could be decoded, and why the others could not.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Row numbers, ascending.
    pixels : ndarray of uint8, shape (n, size, size, 3)
        RGB.
    digests : ndarray of uint8, shape (n, 16)
        BLAKE2b of each row's encoded bytes, or of its pixels where the source keeps pixels.
    failures : list of Failure
        The rows that are missing above.
    seconds : dict of str to float
        Time spent in ``read`` and ``decode``.
    """

    rows: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    failures: list[Failure] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def default_workers() -> int:
    """Return the number of CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def image_digest(image: bytes | NDArray[np.unsignedinteger[Any]]) -> NDArray[np.uint8]:
    """Return the BLAKE2b hash of an image as its source keeps it: uint8, shape (16,)."""
    data = image if isinstance(image, bytes) else np.ascontiguousarray(image).tobytes()
    return np.frombuffer(hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest(), np.uint8)


def changed_rows(
    source: Source, rows: NDArray[np.int64], digests: NDArray[np.uint8], workers: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the rows whose image is no longer what its digest says.

    An image that cannot be read now has not changed for all we know: a disk may be away.

    Parameters
    ----------
    source : Source
        Where the images are; all of the rows are read.
    rows : ndarray of int64, shape (n,)
        Row numbers to check.
    digests : ndarray of uint8, shape (n, 16)
        What they hashed to; zeros if they could not be read then.
    workers : int
        Number of threads.

    Returns
    -------
    changed : ndarray of int64
        Row numbers.
    unreadable : ndarray of int64
        Row numbers of images that could not be read.
    """

    def look(position: int) -> bool | None:
        try:
            image = source.read(int(rows[position]))
        except ImageError:
            return None
        return not np.array_equal(image_digest(image), digests[position])

    changed: list[int] = []
    unreadable: list[int] = []
    with ThreadPoolExecutor(workers) as executor:
        for start in range(0, len(rows), _LOOK_AT_ONCE):
            positions = range(start, min(start + _LOOK_AT_ONCE, len(rows)))
            for position, found in zip(positions, executor.map(look, positions), strict=True):
                if found is None:
                    unreadable.append(int(rows[position]))
                elif found:
                    changed.append(int(rows[position]))
    return np.array(changed, np.int64), np.array(unreadable, np.int64)


def decode_batch(source: Source, geometry: Geometry, rows: NDArray[np.int64]) -> DecodedBatch:
    """Read and decode some rows; a row that fails does so alone."""
    size = geometry.size
    pixels = np.empty((len(rows), size, size, 3), np.uint8)
    digests = np.empty((len(rows), DIGEST_BYTES), np.uint8)
    good: list[int] = []
    failures: list[Failure] = []
    read_seconds = decode_seconds = 0.0
    for row in rows.tolist():
        started = time.perf_counter()
        read_done = started
        image = None
        try:
            image = source.read(row)
            read_done = time.perf_counter()
            slot = len(good)
            if isinstance(image, bytes):
                pixels[slot] = decode(image, geometry)
            else:
                pixels[slot] = from_pixels(image, geometry)
            digests[slot] = image_digest(image)
            good.append(row)
        except ImageError as error:
            digest = None if image is None else image_digest(image)
            failures.append(Failure(row, error.reason, error.message, digest))
        read_seconds += read_done - started
        decode_seconds += time.perf_counter() - read_done
    n = len(good)
    return DecodedBatch(
        rows=np.array(good, np.int64),
        pixels=pixels[:n],
        digests=digests[:n],
        failures=failures,
        seconds={"read": read_seconds, "decode": decode_seconds},
    )


def decode_stream(
    source: Source, geometry: Geometry, batches: Iterable[NDArray[np.int64]], workers: int
) -> Iterator[DecodedBatch]:
    """Decode batches in threads, in order, a fixed number of them ahead of the consumer.

    Pillow releases the interpreter lock while it decodes and resizes, so threads run side by
    side. Memory is bounded by ``workers + 2`` batches, however slow the consumer is.

    Parameters
    ----------
    source : Source
        Where the images are.
    geometry : Geometry
        Size and resize rule.
    batches : iterable of ndarray of int64
        Row numbers of each batch.
    workers : int
        Number of threads.
    """
    executor = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    ahead: deque[Future[DecodedBatch]] = deque()
    try:
        for rows in batches:
            ahead.append(executor.submit(decode_batch, source, geometry, rows))
            if len(ahead) >= workers + _BATCHES_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        # Reached also when the consumer stops early: drop what nobody will ask for.
        executor.shutdown(wait=True, cancel_futures=True)
