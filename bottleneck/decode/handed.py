"""Files that workers hand on: decoded and drawn by another decoder, beside what else goes on."""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from bottleneck.decode.slot import Job, Slot
from bottleneck.images import Geometry
from bottleneck.images.decoders.drawing import open_drawer


class HandedOn:
    """Draws the files of filled slots in a thread, one slot after the other.

    Parameters
    ----------
    job : Job
        Its decoder is one of :data:`~bottleneck.images.decoders.registry.DECODERS`.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._drawer = open_drawer(job.decoder, job.device)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="draw")
        self._begun: deque[Future[bool]] = deque()

    def begin(self, slot: Slot) -> None:
        """Begin to draw the files of a slot that workers have filled."""
        self._begun.append(self._thread.submit(self._draw, slot))

    def finish(self) -> bool:
        """Wait for the slot that was begun first: whether rows of it are the workers' again."""
        return self._begun.popleft().result()

    def _draw(self, slot: Slot) -> bool:
        started = time.perf_counter()
        by_inputs: dict[int, list[int]] = {}
        files = {}
        for position, inputs, jpeg in slot.handed():
            files[position] = jpeg
            by_inputs.setdefault(inputs, []).append(position)
        left: list[int] = []
        for inputs, positions in by_inputs.items():
            wanted = [
                (given, pixels)
                for g, (given, pixels) in enumerate(zip(self._job.inputs, slot.pixels, strict=True))
                if inputs >> g & 1 and isinstance(given, Geometry)
            ]
            at = np.array(positions, np.int64)
            drawn = self._drawer.draw(
                [files[position] for position in positions],
                wanted,
                at,
            )
            slot.drawn[at[drawn]] |= np.uint32(inputs)
            left += at[~drawn].tolist()
        slot.seconds[0, 1] += time.perf_counter() - started
        if left:
            slot.again(np.array(sorted(left)))
        return bool(left)

    def close(self) -> None:
        """Wait for what is being drawn, and end the decoder."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._drawer.close()
