"""Batches in, filled slots out: in order, and never more of them on their way than fixed."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from typing import Final, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode.handed import HandedOn
from bottleneck.decode.slot import Job, Slot
from bottleneck.decode.workers import ProcessDecoder, ThreadDecoder, Watch
from bottleneck.errors import OptionError, WorkerError
from bottleneck.images import PILLOW
from bottleneck.sources import PixelSource, Source

WorkerKind = Literal["auto", "processes", "threads"]

KINDS: Final = get_args(WorkerKind)
"""What ``--worker-kind`` takes. ``auto``: processes, or threads where those cannot be had."""

Batch = tuple[NDArray[np.int64], NDArray[np.uint32]]
"""Row numbers, ascending, and the wants each row has."""


class Decoder(Protocol):
    """Something that fills slots, ahead of who asks for them."""

    @property
    def kind(self) -> str:
        """``processes`` or ``threads``."""
        ...

    @property
    def workers(self) -> int:
        """How many there are."""
        ...

    def begin(self, job: Job) -> list[Slot]:
        """Make the slots of a job: as many batches as may be on their way at once."""
        ...

    def submit(self, slot: Slot) -> None:
        """Begin to fill a slot whose rows are set."""
        ...

    def wait(self, slot: Slot) -> None:
        """Wait until it is filled."""
        ...

    def close(self) -> None:
        """Stop."""
        ...


def open_decoder(
    source: Source, *, workers: int, kind: WorkerKind = "auto", watch: Watch | None = None
) -> Decoder:
    """Start decode workers; processes use the time until their job comes to start up.

    Parameters
    ----------
    source : Source
        Where the images are.
    workers : int
        How many.
    kind : {"auto", "processes", "threads"}
        ``auto``: processes; threads for pixels that are in memory already, and for a source
        that cannot be pickled.
    watch : Watch, optional
        Time-out of an image, and who is told of stalls.
    """
    if kind not in KINDS:
        raise OptionError(f"expected a kind of worker of {', '.join(KINDS)}, got {kind!r}")
    watch = watch or Watch()
    if kind == "threads" or (kind == "auto" and isinstance(source, PixelSource)):
        return ThreadDecoder(source, workers, watch)
    if kind == "processes":
        return ProcessDecoder(source, workers, watch)
    return _Cautious(source, workers, watch)


class _Cautious:
    """Processes; threads, with a note, if no worker process can have the source."""

    def __init__(self, source: Source, workers: int, watch: Watch) -> None:
        self.workers = workers
        self._source = source
        self._watch = watch
        self._chosen: Decoder
        try:
            self._chosen = ProcessDecoder(source, workers, watch)
        except WorkerError as error:
            self._fall_back(error)

    @property
    def kind(self) -> str:
        return self._chosen.kind

    def begin(self, job: Job) -> list[Slot]:
        try:
            return self._chosen.begin(job)
        except WorkerError as error:
            self._chosen.close()
            self._fall_back(error)
            return self._chosen.begin(job)

    def submit(self, slot: Slot) -> None:
        self._chosen.submit(slot)

    def wait(self, slot: Slot) -> None:
        self._chosen.wait(slot)

    def close(self) -> None:
        self._chosen.close()

    def _fall_back(self, error: WorkerError) -> None:
        self._watch.note(f"{error.message}; decoding in threads instead")
        self._chosen = ThreadDecoder(self._source, self.workers, self._watch)


def decode_stream(
    decoder: Decoder,
    job: Job,
    batches: Iterable[Batch],
    pin: Callable[[Slot], Callable[[], None]] = lambda slot: lambda: None,
) -> Generator[Slot, None, None]:
    """Decode batches in order, ahead of the consumer by a fixed number of them.

    A yielded slot is the consumer's until it has asked for ``job.held`` more; then it is used
    again.

    Parameters
    ----------
    decoder : Decoder
        Who decodes; closed at the end.
    job : Job
        What to decode to.
    batches : iterable of (rows, wanted)
        Rows of each batch, at most ``job.batch_size``, and the wants each of them has.
    pin : callable
        Prepares the memory of a slot for who computes on it; what it returns ends that.
    """
    with ExitStack() as ending:
        # Reached also when the consumer stops early.
        ending.callback(decoder.close)
        free = deque(decoder.begin(job))
        for slot in free:
            ending.callback(pin(slot))
        handed = None if job.decoder == PILLOW else HandedOn(job)
        if handed is not None:
            ending.callback(handed.close)
        ahead: deque[Slot] = deque()
        drawing: deque[Slot] = deque()
        lent: deque[Slot] = deque()

        def filled() -> Iterator[Slot]:
            """Yield the next slot; none where another decoder has only now got one to work on."""
            if ahead:
                slot = ahead.popleft()
                decoder.wait(slot)
                drawing.append(slot)
                if handed is not None:
                    handed.begin(slot)
                    if len(drawing) == 1 and ahead:
                        return
            slot = drawing.popleft()
            if handed is not None and handed.finish():
                decoder.submit(slot)
                decoder.wait(slot)
            yield slot
            lent.append(slot)
            if len(lent) == job.held:
                free.append(lent.popleft())

        for rows, wanted in batches:
            slot = free.popleft()
            slot.begin(rows, wanted)
            decoder.submit(slot)
            ahead.append(slot)
            while not free:
                yield from filled()
        while ahead or drawing:
            yield from filled()
