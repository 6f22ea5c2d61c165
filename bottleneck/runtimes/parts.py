"""A batch computed in parts, some at a time: how a CPU is kept busy.

A framework spreads every layer over all cores and waits for the slowest of them before the next.
While one part waits, another computes; a small part's maps stay in the cache; and the parts of
the next batch begin before the last one of this has ended.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

Compute = Callable[[NDArray[np.uint8]], Sequence[NDArray[Any]]]
"""From uint8 images, shape (n, size, size, 3), to an array per output, in memory."""

Begun = list[Future[Sequence[NDArray[Any]]]]
"""The parts of a batch that are on their way, in order."""


class Parts:
    """Computes parts of batches side by side, in the order they are begun.

    Parameters
    ----------
    compute : callable
        Computes a part; called from several threads at once.
    threads : int
        How many parts at a time.
    most : int
        Images of a part, at most. A batch has at least a part for each thread.

    Attributes
    ----------
    busy_seconds : float
        How long the threads were busy with these parts, on average.
    """

    def __init__(self, compute: Compute, *, threads: int, most: int) -> None:
        self._compute = compute
        self._threads = threads
        self._most = most
        self._pool = _threads(threads)
        self._counting = Lock()
        self.busy_seconds = 0.0

    def start(self, batch: NDArray[np.uint8]) -> Begun:
        """Begin to compute a batch of one image or more, which must stay as it is."""
        size = min(self._most, -(-len(batch) // self._threads))
        parts = (batch[start : start + size] for start in range(0, len(batch), size))
        return [self._pool.submit(self._counted, part) for part in parts]

    def _counted(self, part: NDArray[np.uint8]) -> Sequence[NDArray[Any]]:
        started = time.perf_counter()
        try:
            return self._compute(part)
        finally:
            took = time.perf_counter() - started
            with self._counting:
                self.busy_seconds += took / self._threads

    @staticmethod
    def gather(begun: Begun) -> list[NDArray[Any]]:
        """Wait for a batch: an array per output, of all its images in their order."""
        found = [part.result() for part in begun]
        return [np.concatenate(column) for column in zip(*found, strict=True)]


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    """Make the threads of this process: several networks take turns, none slows another."""
    return ThreadPoolExecutor(count, thread_name_prefix="forward")
