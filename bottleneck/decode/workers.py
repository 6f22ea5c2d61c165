"""The workers that decode: supervised processes, or threads of this one.

Decoding in supervised processes: a crash or a hang of the decoder costs one image.

Each worker has a connection of its own and says in shared memory which image it has in hand, so
when it dies or takes too long the image is known, what it had finished stays, and a new worker
takes over behind it.
"""

import mmap
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from selectors import EVENT_READ, DefaultSelector
from typing import Final

from bottleneck.decode.child import Child, anonymous_file, dump_shared
from bottleneck.decode.fill import fill
from bottleneck.decode.slot import Job, Slot, Unit, slot_bytes
from bottleneck.errors import WorkerError
from bottleneck.sources import Source
from bottleneck.status import RowStatus

STALL_SECONDS: Final = 10.0
"""An image that takes longer than this is named."""

TIMEOUT_SECONDS: Final = 60.0
"""An image that takes longer than this has failed. The slowest sound ones, with as many pixels
as are allowed, take some five seconds on an old core."""


class Watch:
    """Names images that are slow, once each.

    Parameters
    ----------
    timeout : float
        Seconds after which an image has failed.
    name : callable
        Key of a row, for messages.
    note : callable
        Receives the messages.
    """

    def __init__(
        self,
        timeout: float = TIMEOUT_SECONDS,
        name: Callable[[int], str] = str,
        note: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.timeout = timeout
        self.note = note
        self._name = name
        self._named = -1

    def look(self, slot: Slot, unit: int, now: float) -> bool:
        """Look at a unit somebody works on: whether its image in hand has run out of time."""
        position, stop = slot.hand[unit].tolist()
        if not 0 <= position < stop:
            return False
        took, row = now - float(slot.since[unit]), int(slot.rows[position])
        if took >= STALL_SECONDS and row != self._named:
            self._named = row
            self.note(f"waiting for {self._name(row)} since {took:.0f} s")
        return took >= self.timeout


_LOOK_EVERY = 0.25
"""Seconds between two glances at images that may hang."""

_CRASHES_BEFORE_ANY = 50
"""So many crashes before a batch was decoded are a defect of the installation, not of images."""

_STILLBORN = 5
"""So many workers in a row that end before they have begun are no accident."""

_START_SECONDS = 120.0

_OF_A_WORKER = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**26),
    "OPENBLAS_NUM_THREADS": "1",
}
"""The environment of a worker, besides the user's. Its C library (glibc; others ignore it) keeps
the megabyte or so that each image takes for the next one, and does not give it back and fetch it
again page by page. NumPy starts no threads, which take a third of the time of its import: there are
as many workers as cores."""

_FROM_OUTSIDE: Final = (
    ", which the system sends where memory runs out; with fewer --workers --retry-failed may do it"
)
"""A decoder does not send that to itself, as it does SIGSEGV or SIGABRT."""

_THREADS_HINT = "Decode in threads: --worker-kind threads."


class ProcessDecoder:
    """Fills slots in worker processes, which start at once and wait for their job.

    Parameters
    ----------
    source : Source
        Where the images are; pickled once, its arrays shared by all workers.
    workers : int
        Number of processes.
    watch : Watch
        Time-out of an image, and who is told of stalls.

    Raises
    ------
    WorkerError
        When the source cannot be pickled.
    """

    kind = "processes"

    def __init__(self, source: Source, workers: int, watch: Watch) -> None:
        self.workers = workers
        self._watch = watch
        self._team: list[_Worker] = []
        self._slots: list[Slot] = []
        self._left: dict[int, int] = {}
        self._selector = DefaultSelector()
        self._looked = time.monotonic()
        self._suspects: set[int] = set()
        self._crashes = 0
        self._works = False
        self._stillborn = 0
        self._files = [anonymous_file(name) for name in ("source", "job", "slots")]
        self._start: tuple[int, int] | None = None
        try:
            self._share(source)
            for _ in range(workers):
                self._team.append(self._new_worker())
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<ProcessDecoder {self.workers} processes>"

    def begin(self, job: Job) -> list[Slot]:
        """Make the slots of a job and tell the workers.

        Raises
        ------
        WorkerError
            When a worker could not start.
        """
        _, job_file, slots_file = self._files
        dump_shared(job, job_file)
        n_slots, size = job.slots(self.workers), slot_bytes(job)
        os.ftruncate(slots_file, n_slots * size)
        memory = mmap.mmap(slots_file, n_slots * size)
        self._job = job
        self._slots = [Slot(memory, i * size, job) for i in range(n_slots)]
        self._start = n_slots, size
        for worker in list(self._team):
            worker.send(self._start)
            self._hear(worker)  # that it is ready
        return self._slots

    def submit(self, slot: Slot) -> None:
        """Give each unit of a slot to the worker that has least to do."""
        number = self._number(slot)
        for unit in slot.units(self._job.unit_size(self.workers), self._job.views):
            worker = min(self._team, key=lambda one: len(one.tasks))
            worker.tasks.append((number, unit))
            worker.send((number, tuple(unit)))
            self._left[number] = unit.number + 1

    def wait(self, slot: Slot) -> None:
        """Wait until a slot is filled; look after workers that crash or hang meanwhile.

        Raises
        ------
        Exception
            What the source raised that is not about a single image.
        WorkerError
            When the decoder crashes on everything.
        """
        number = self._number(slot)
        while self._left.get(number):
            for key, _ in self._selector.select(_LOOK_EVERY):
                self._hear(key.data)
            now = time.monotonic()
            if now - self._looked >= _LOOK_EVERY:
                self._looked = now
                for worker in list(self._team):
                    self._look_after(worker, now)

    def _number(self, slot: Slot) -> int:
        return next(i for i, one in enumerate(self._slots) if one is slot)

    def close(self) -> None:
        """End the workers; they have nothing to lose."""
        for worker in self._team:
            worker.end()
        self._team = []
        self._selector.close()
        for descriptor in self._files:
            os.close(descriptor)
        self._files = []

    def _share(self, source: Source) -> None:
        try:
            dump_shared(source, self._files[0])
        except Exception as error:
            raise WorkerError(
                f"{source.name} cannot be handed to worker processes: {error}",
                hint=_THREADS_HINT,
            ) from error

    def _new_worker(self) -> "_Worker":
        worker = _Worker(self._files)
        self._selector.register(worker.connection, EVENT_READ, worker)
        return worker

    def _hear(self, worker: "_Worker") -> None:
        """Take a message of a worker, or find that it has died."""
        try:
            message, content = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if message == "ready":
            worker.ready = True
            self._stillborn = 0
        elif message == "error" and worker.ready:
            raise content
        elif message == "error":
            raise WorkerError(
                f"a decode worker could not open the source: {content!r}", hint=_THREADS_HINT
            ) from content
        else:
            number, unit = worker.tasks.popleft()
            self._left[number] -= 1
            status = self._slots[number].status[unit.start : unit.stop]
            self._works = self._works or bool((status == RowStatus.DONE).any())

    def _look_after(self, worker: "_Worker", now: float) -> None:
        """Give up an image, or a worker, that takes too long."""
        if not worker.ready and now - worker.born > _START_SECONDS:
            raise WorkerError(f"a decode worker did not start within {_START_SECONDS:.0f} s")
        if not worker.tasks:
            return
        number, unit = worker.tasks[0]
        if not self._watch.look(self._slots[number], unit.number, now):
            return
        if worker.connection.poll():
            self._hear(worker)  # we were late, not the worker
        else:
            self._time_out(worker)

    def _bury(self, worker: "_Worker") -> None:
        """Go on after a crash: the image in hand is tried once more, then it has failed."""
        self._selector.unregister(worker.connection)
        how = worker.ended()
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                raise WorkerError(f"decode workers end while they start: {how}", hint=_THREADS_HINT)
        start = 0
        if worker.tasks:
            number, unit = worker.tasks[0]
            slot = self._slots[number]
            start, stop = slot.hand[unit.number].tolist()
            start = max(unit.start, start)
            row = int(slot.rows[start]) if start < stop else -1
            if row in self._suspects:
                self._suspects.remove(row)
                told = f"the decoder crashed: {how}{_FROM_OUTSIDE if how == 'SIGKILL' else ''}"
                slot.fail(start, stop, RowStatus.DECODER_CRASHED, told)
                start = stop
                self._count_crash(how)
            elif row >= 0:
                # A worker may also be ended by others, for want of memory say.
                self._suspects.add(row)
        self._replace(worker, start)

    def _count_crash(self, how: str) -> None:
        self._crashes += 1
        if self._crashes >= _CRASHES_BEFORE_ANY and not self._works:
            raise WorkerError(
                f"the decoder crashed on {self._crashes} images and decoded none: {how}",
                hint="That is the installation rather than the images: see `bottleneck doctor`.",
            )

    def _time_out(self, worker: "_Worker") -> None:
        number, unit = worker.tasks[0]
        slot, hand = self._slots[number], self._slots[number].hand[unit.number]
        late = hand.tolist()
        self._selector.unregister(worker.connection)
        worker.end()
        start, stop = hand.tolist()
        if [start, stop] == late:  # else it was done at the very moment it was given up
            message = f"not decoded within {self._watch.timeout:g} s"
            slot.fail(start, stop, RowStatus.TIMED_OUT, message)
            start = stop
        self._replace(worker, start)

    def _replace(self, worker: "_Worker", start: int) -> None:
        """Put a new worker in the place of one that ended, with what that had to do."""
        fresh = self._new_worker()
        self._team[self._team.index(worker)] = fresh
        fresh.tasks = worker.tasks
        fresh.send(self._start)
        if fresh.tasks:
            number, unit = fresh.tasks[0]
            # Nobody has anything in hand until the new worker says so.
            self._slots[number].hand[unit.number] = start
            fresh.tasks[0] = number, unit._replace(start=start)
        for number, unit in fresh.tasks:
            fresh.send((number, tuple(unit)))


class _Worker(Child):
    """A process, its connection, and the units it was given, each with its slot, in order."""

    def __init__(self, files: list[int]) -> None:
        self.tasks: deque[tuple[int, Unit]] = deque()
        self.ready = False
        self.born = time.monotonic()
        try:
            super().__init__("bottleneck.decode.worker", files, _OF_A_WORKER | os.environ)
        except OSError as error:
            raise WorkerError(f"a decode worker cannot be started: {error}") from error


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
        self._futures: dict[int, list[tuple[Unit, Future[None]]]] = {}

    def __repr__(self) -> str:
        return f"<ThreadDecoder {self.workers} threads>"

    def begin(self, job: Job) -> list[Slot]:
        """Make the slots of a job."""
        self._job = job
        n_slots, size = job.slots(self.workers), slot_bytes(job)
        memory = mmap.mmap(-1, n_slots * size)
        return [Slot(memory, i * size, job) for i in range(n_slots)]

    def submit(self, slot: Slot) -> None:
        """Begin to fill a slot."""
        submit, source, job = self._executor.submit, self._source, self._job
        self._futures[id(slot)] = [
            (unit, submit(fill, source, job, slot, unit))
            for unit in slot.units(job.unit_size(self.workers), job.views)
        ]

    def wait(self, slot: Slot) -> None:
        """Wait until a slot is filled.

        Raises
        ------
        Exception
            What the source raised that is not about a single image.
        """
        for unit, future in self._futures.pop(id(slot)):
            while not future.done():
                try:
                    future.result(timeout=STALL_SECONDS)
                except NotYet:
                    self._watch.look(slot, unit.number, time.monotonic())
            future.result()

    def close(self) -> None:
        """Drop what nobody will ask for."""
        self._executor.shutdown(wait=True, cancel_futures=True)
