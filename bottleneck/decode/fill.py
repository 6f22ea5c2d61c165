"""The work itself: read, hash and draw the rows of one slot."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode.slot import HAND_ON, LEFT, Job, Slot, Unit
from bottleneck.errors import ItemError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.fingerprint import DIGEST_BYTES, content_digest
from bottleneck.images import read_plain_jpeg
from bottleneck.items import Drawing
from bottleneck.sources import Source
from bottleneck.status import RowStatus

_LOOK_AT_ONCE = 4096
"""Images looked at between two glances at the results."""


def image_digest(image: bytes | NDArray[np.unsignedinteger[Any]]) -> NDArray[np.uint8]:
    """Return the BLAKE2b hash of an image as its source keeps it: uint8, shape (16,).

    Of pixels it covers height, width, channels and type too: the same bytes in another shape are
    another picture.
    """
    if isinstance(image, bytes):
        return np.frombuffer(content_digest(image), np.uint8)
    shape = (*image.shape, 1) if image.ndim == 2 else image.shape
    about = f"{' '.join(map(str, shape))} {image.dtype.str} "
    return np.frombuffer(content_digest(about.encode() + image.tobytes()), np.uint8)


def row_keys(
    digests: NDArray[np.uint8], rows: NDArray[np.int64], views: int = 1
) -> NDArray[np.bytes_]:
    """Name what each row shows: equal for equal views of equal images, else different.

    Parameters
    ----------
    digests : ndarray of uint8, shape (n, 16)
        Hash of each row's image.
    rows : ndarray of int64, shape (n,)
        Row numbers; row ``i`` is view ``i % views``.
    views : int
        Views per image.

    Returns
    -------
    ndarray of S16, shape (n,)
        Can be compared and sorted. (NumPy takes zero bytes at the end for padding, which is no
        loss among strings of one length.)
    """
    named = np.array(digests, np.uint8, order="C").reshape(-1, DIGEST_BYTES)
    if views > 1:
        # Odd, so distinct numbers stay distinct; far apart, so no two hashes meet by a step.
        salt = (rows % views).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        named.view("<u8")[:, 0] ^= salt
    keys: NDArray[np.bytes_] = named.view(f"S{DIGEST_BYTES}")[:, 0]
    return keys


def changed_rows(
    source: Source,
    rows: NDArray[np.int64],
    digests: NDArray[np.uint8],
    workers: int,
    views: int = 1,
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
    views : int
        Rows per image of the source.

    Returns
    -------
    changed : ndarray of int64
        Row numbers.
    unreadable : ndarray of int64
        Row numbers of images that could not be read.
    """

    def look(position: int) -> bool | None:
        try:
            image = source.read(int(rows[position]) // views)
        except ItemError:
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


def fill(source: Source, job: Job, slot: Slot, unit: Unit) -> None:
    """Decode the rows of a unit of a slot; a row that fails does so alone.

    Before each image the slot says that it is in hand, so that somebody who watches knows
    which one it was if nothing more is heard.
    """
    position = unit.start
    while position < unit.stop:
        stop = min(image_end(job, slot, position), unit.stop)
        if slot.todo[position] == LEFT:
            position = stop
            continue
        slot.since[unit.number] = time.monotonic()
        slot.hand[unit.number] = position, stop
        slot.seconds[unit.number] += _image(source, job, slot, range(position, stop))
        position = stop
    slot.hand[unit.number] = unit.stop, unit.stop


def image_end(job: Job, slot: Slot, position: int) -> int:
    """Return the position behind the last view of the image at ``position``."""
    image, stop = slot.rows[position] // job.views, position + 1
    while stop < slot.count and slot.rows[stop] // job.views == image:
        stop += 1
    return stop


def _image(source: Source, job: Job, slot: Slot, at: range) -> tuple[float, float]:
    """Read one image and draw all its views, in the positions ``at``; return what both took.

    An image that another decoder may have is not drawn here but handed on.
    """
    start, stop = at.start, at.stop
    started = read_done = time.perf_counter()
    slot.drawn[start:stop] = 0
    try:
        image = source.read(int(slot.rows[start]) // job.views)
        read_done = time.perf_counter()
        slot.digests[start:stop] = image_digest(image)
        places, drawings = _drawings(job, slot, at)
        handed = bool(drawings) and _hand_on(image, job, slot, places)
        drawn = job.kind.decode(image, drawings) if drawings and not handed else []
        if isinstance(image, bytes) and not slot.rows[start] % job.views:
            slot.further[start] = job.kind.has_more(image)
        for (position, g), pixels in zip([] if handed else places, drawn, strict=True):
            slot.pixels[g][position] = pixels
            slot.drawn[position] |= np.uint32(1 << g)
        slot.status[start:stop] = RowStatus.DONE
    except ItemError as error:
        slot.fail(start, stop, error.reason, error.message)
    except MemoryError as error:
        raise_if_exhausted(error)
        slot.fail(start, stop, RowStatus.TOO_LARGE, "it takes more memory than can be had")
    return read_done - started, time.perf_counter() - read_done


def _hand_on(
    image: bytes | NDArray[Any], job: Job, slot: Slot, places: Sequence[tuple[int, int]]
) -> bool:
    """Hand an image to another decoder, if it may have it."""
    positions = {position for position, _ in places}
    # Several rows are views of it, which other decoders do not draw.
    if len(positions) > 1 or slot.todo[min(positions)] != HAND_ON or not isinstance(image, bytes):
        return False
    plain = read_plain_jpeg(image)
    if plain is None:
        return False
    slot.hand_on(positions.pop(), image, plain, sum(1 << g for _, g in places))
    return True


def _drawings(job: Job, slot: Slot, at: range) -> tuple[list[tuple[int, int]], list[Drawing]]:
    """List what is to be drawn of one image: (position, input) and how."""
    rows = slot.rows[at.start : at.stop]
    keys = row_keys(slot.digests[at.start : at.stop], rows, job.views)
    places: list[tuple[int, int]] = []
    drawings: list[Drawing] = []
    for position, row, key in zip(at, rows.tolist(), keys, strict=True):
        wanted = int(slot.wanted[position])
        needed = {
            want.input
            for w, want in enumerate(job.wants)
            if wanted >> w & 1 and not want.knows(key)
        }
        view = job.kind.view(slot.digests[position].tobytes(), row % job.views, job.views)
        for g in sorted(needed):
            places.append((position, g))
            drawings.append((job.inputs[g], view))
    return places, drawings
