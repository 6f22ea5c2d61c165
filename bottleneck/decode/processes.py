"""Decoding in supervised processes: a crash or a hang of the decoder costs one image.

Each worker has a connection of its own and says in shared memory which image it has in hand, so
when it dies or takes too long the image is known, what it had finished stays, and a new worker
goes on behind it. Workers are programs of their own (not forks of this process, which has the
threads and the memory of the network), and belong to a process group of their own, so that
Ctrl-C reaches the parent alone.
"""

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import time
from collections import deque
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from bottleneck.decode import shared
from bottleneck.decode.job import Job
from bottleneck.decode.slot import Slot, slot_bytes
from bottleneck.decode.watch import Watch
from bottleneck.errors import WorkerError
from bottleneck.sources import Source
from bottleneck.status import RowStatus

_BATCHES_PER_WORKER = 2
"""One in hand and one that waits, so that no worker waits for the parent's forward pass."""

_LOOK_EVERY = 0.25
"""Seconds between two glances at images that may hang."""

_CRASHES_BEFORE_ANY = 50
"""So many crashes before a batch was decoded are a defect of the installation, not of images."""

_START_SECONDS = 60.0


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
        self._suspects: set[int] = set()
        self._crashes = 0
        self._works = False
        self._files = [shared.anonymous_file(name) for name in ("source", "job", "slots")]
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
        shared.dump(job, job_file)
        n_slots, size = _BATCHES_PER_WORKER * self.workers + 1, slot_bytes(job)
        os.ftruncate(slots_file, n_slots * size)
        memory = mmap.mmap(slots_file, n_slots * size)
        self._job = job
        self._slots = [Slot(memory, i * size, job) for i in range(n_slots)]
        self._start = n_slots, size
        for worker in self._team:
            self._greet(worker)
        return self._slots

    def submit(self, slot: Slot) -> None:
        """Give a slot to the worker that has least to do."""
        worker = min(self._team, key=lambda one: len(one.slots))
        number = next(i for i, one in enumerate(self._slots) if one is slot)
        worker.slots.append(number)
        self._send(worker, number, 0)

    def wait(self, slot: Slot) -> None:
        """Wait until a slot is filled; look after workers that crash or hang meanwhile.

        Raises
        ------
        Exception
            What the source raised that is not about a single image.
        WorkerError
            When the decoder crashes on everything.
        """
        number = next(i for i, one in enumerate(self._slots) if one is slot)
        while any(number in worker.slots for worker in self._team):
            by_connection = {worker.connection: worker for worker in self._team}
            for connection in wait([*by_connection], _LOOK_EVERY):
                self._hear(by_connection[connection])  # type: ignore[index]
            now = time.monotonic()
            for worker in list(self._team):
                if worker.slots and self._watch.look(self._slots[worker.slots[0]], now):
                    self._time_out(worker)

    def close(self) -> None:
        """End the workers; they have nothing to lose."""
        for worker in self._team:
            worker.end()
        self._team = []
        for descriptor in self._files:
            os.close(descriptor)
        self._files = []

    def _share(self, source: Source) -> None:
        try:
            shared.dump(source, self._files[0])
        except Exception as error:
            raise WorkerError(
                f"{source.name} cannot be handed to worker processes: {error}",
                hint="Decode in threads: --worker-kind threads.",
            ) from error

    def _new_worker(self) -> "_Worker":
        return _Worker(self._files)

    def _greet(self, worker: "_Worker") -> None:
        """Wait until a worker has started, and tell it the job."""
        if not worker.connection.poll(_START_SECONDS):
            raise WorkerError(f"a decode worker did not start within {_START_SECONDS:.0f} s")
        try:
            message, *rest = worker.connection.recv()
        except (EOFError, OSError):
            raise WorkerError(
                f"a decode worker ended while it started: {worker.ended()}",
                hint="Decode in threads: --worker-kind threads.",
            ) from None
        if message == "error":
            raise WorkerError(
                f"a decode worker could not open the source: {rest[0]!r}",
                hint="Decode in threads: --worker-kind threads.",
            ) from rest[0]
        with contextlib.suppress(OSError):  # it has died: found when it is waited for
            worker.connection.send(self._start)

    def _hear(self, worker: "_Worker") -> None:
        try:
            message, content = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if message == "error":
            raise content
        slot = self._slots[content]
        self._works = self._works or bool((slot.status[: slot.count] == RowStatus.DONE).any())
        worker.slots.remove(content)

    def _bury(self, worker: "_Worker") -> None:
        """Go on after a crash: the image in hand is tried once more, then it has failed."""
        how = worker.ended()
        start = 0
        if worker.slots:
            slot = self._slots[worker.slots[0]]
            start, stop = max(0, int(slot.hand[0])), int(slot.hand[1])
            row = int(slot.rows[start]) if start < stop else -1
            if row in self._suspects:
                self._suspects.remove(row)
                slot.fail(start, stop, RowStatus.DECODER_CRASHED, f"the decoder crashed: {how}")
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
        slot = self._slots[worker.slots[0]]
        start, stop = slot.hand.tolist()
        worker.end()
        if start < stop:  # else it was done the moment it was given up
            message = f"not decoded within {self._watch.timeout:g} s"
            slot.fail(start, stop, RowStatus.TIMED_OUT, message)
            start = stop
        self._replace(worker, start)

    def _replace(self, worker: "_Worker", start: int) -> None:
        """Put a new worker in the place of one that ended, with what that had to do."""
        fresh = self._new_worker()
        self._team[self._team.index(worker)] = fresh
        self._greet(fresh)
        fresh.slots = worker.slots
        for number in fresh.slots:
            self._send(fresh, number, start)
            start = 0

    def _send(self, worker: "_Worker", number: int, start: int) -> None:
        with contextlib.suppress(OSError):  # likewise
            worker.connection.send((number, start))


class _Worker:
    """A process, its connection, and the slots it was given, in order."""

    def __init__(self, files: list[int]) -> None:
        self.slots: deque[int] = deque()
        self.connection: Connection[Any, Any]
        self.connection, theirs = Pipe()
        # Closes with this process, however that ends; whom it tells belongs to the pipe, so
        # each worker has its own.
        life, self._life = os.pipe()
        given = [theirs.fileno(), life, *files]
        # The parent's search path, so that what it could import the worker can; without the
        # current folder, unless that is on it.
        path = [place or str(os.getcwd()) for place in sys.path]  # noqa: PTH109
        program = (
            f"import sys; sys.path[:] = {path!r}; import bottleneck.decode.worker as w; w.main()"
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", program, *map(str, given)],
                pass_fds=given,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as error:
            raise WorkerError(f"a decode worker cannot be started: {error}") from error
        finally:
            theirs.close()
            os.close(life)

    def ended(self) -> str:
        """Say how it ended, now that its connection is closed at the other end."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = 0
        self.end()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def end(self) -> None:
        """End it, whatever it is doing."""
        if self.connection.closed:
            return
        self.connection.close()
        os.close(self._life)
        self._process.kill()
        # One that waits for a dead disk cannot even be killed; it must not hold us up.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
