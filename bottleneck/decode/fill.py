"""The work itself: read, hash and draw the rows of one slot."""

import time

import numpy as np

from bottleneck.decode.digests import image_digest, row_keys
from bottleneck.decode.job import Job
from bottleneck.decode.slot import Slot
from bottleneck.errors import ImageError
from bottleneck.images import Drawing, decode_all, draw_pixels, has_more_frames, make_view
from bottleneck.sources import Source
from bottleneck.status import RowStatus


def fill(source: Source, job: Job, slot: Slot, start: int = 0) -> None:
    """Decode the rows of a slot, from a position on; a row that fails does so alone.

    Before each image the slot says that it is in hand, so that somebody who watches knows
    which one it was if nothing more is heard.
    """
    ends = [int(np.count_nonzero(slot.drawn[:start] >> g & 1)) for g in range(len(slot.pixels))]
    count, position = slot.count, start
    while position < count:
        stop = image_end(job, slot, position)
        slot.since[0] = time.monotonic()
        slot.hand[:] = position, stop
        _image(source, job, slot, range(position, stop), ends)
        position = stop
    slot.hand[:] = count, count


def image_end(job: Job, slot: Slot, position: int) -> int:
    """Return the position behind the last view of the image at ``position``."""
    image, stop = slot.rows[position] // job.views, position + 1
    while stop < slot.count and slot.rows[stop] // job.views == image:
        stop += 1
    return stop


def _image(source: Source, job: Job, slot: Slot, at: range, ends: list[int]) -> None:
    """Read one image and draw all its views, in the positions ``at``."""
    start, stop = at.start, at.stop
    started = read_done = time.perf_counter()
    slot.drawn[start:stop] = 0
    try:
        image = source.read(int(slot.rows[start]) // job.views)
        read_done = time.perf_counter()
        slot.digests[start:stop] = image_digest(image)
        places, drawings = _drawings(job, slot, at)
        if isinstance(image, bytes):
            drawn = decode_all(image, drawings) if drawings else []
            slot.further[start] = not slot.rows[start] % job.views and has_more_frames(image)
        else:
            drawn = draw_pixels(image, drawings) if drawings else []
        for (position, g), pixels in zip(places, drawn, strict=True):
            slot.pixels[g][ends[g]] = pixels
            slot.drawn[position] |= np.uint32(1 << g)
            ends[g] += 1
        slot.status[start:stop] = RowStatus.DONE
    except ImageError as error:
        slot.fail(start, stop, error.reason, error.message)
    slot.seconds += read_done - started, time.perf_counter() - read_done


def _drawings(job: Job, slot: Slot, at: range) -> tuple[list[tuple[int, int]], list[Drawing]]:
    """List what is to be drawn of one image: (position, geometry) and how."""
    rows = slot.rows[at.start : at.stop]
    keys = row_keys(slot.digests[at.start : at.stop], rows, job.views)
    places: list[tuple[int, int]] = []
    drawings: list[Drawing] = []
    for position, row, key in zip(at, rows.tolist(), keys, strict=True):
        wanted = int(slot.wanted[position])
        needed = {
            want.geometry
            for w, want in enumerate(job.wants)
            if wanted >> w & 1 and not want.knows(key)
        }
        view = make_view(slot.digests[position].tobytes(), row % job.views)
        for g in sorted(needed):
            places.append((position, g))
            drawings.append(Drawing(job.geometries[g], view))
    return places, drawings
