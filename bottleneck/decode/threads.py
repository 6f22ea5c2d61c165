"""Decoding in threads of this process."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet

from bottleneck.decode.fill import fill
from bottleneck.decode.job import Job
from bottleneck.decode.slot import Slot, slot_bytes
from bottleneck.decode.watch import STALL_SECONDS, Watch
from bottleneck.sources import Source

_BATCHES_AHEAD = 3
"""Batches beside those being decoded: one with the consumer, two that wait for it."""


class ThreadDecoder:
    """Fills slots in threads: nothing to start, but a crash of the decoder is a crash of all.

    Pillow releases the interpreter lock while it decodes and resizes, so threads run side by
    side. A thread cannot be stopped: an image that hangs is only named.

    Parameters
    ----------
    source : Source
        Where the images are.
    workers : int
        Number of threads.
    watch : Watch
        Who is told of stalls; its time-out does not apply.
    """

    kind = "threads"

    def __init__(self, source: Source, workers: int, watch: Watch) -> None:
        self.workers = workers
        self._source = source
        self._watch = watch
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._futures: dict[int, Future[None]] = {}

    def __repr__(self) -> str:
        return f"<ThreadDecoder {self.workers} threads>"

    def begin(self, job: Job) -> list[Slot]:
        """Make the slots of a job."""
        self._job = job
        n_slots = self.workers + _BATCHES_AHEAD
        return [Slot(bytearray(slot_bytes(job)), 0, job) for _ in range(n_slots)]

    def submit(self, slot: Slot) -> None:
        """Begin to fill a slot."""
        self._futures[id(slot)] = self._executor.submit(fill, self._source, self._job, slot)

    def wait(self, slot: Slot) -> None:
        """Wait until a slot is filled.

        Raises
        ------
        Exception
            What the source raised that is not about a single image.
        """
        future = self._futures.pop(id(slot))
        while True:
            try:
                future.result(timeout=STALL_SECONDS)
                return
            except NotYet:
                if future.done():
                    raise  # the source's own
                self._watch.look(slot, time.monotonic())

    def close(self) -> None:
        """Drop what nobody will ask for."""
        self._executor.shutdown(wait=True, cancel_futures=True)
