"""The compiled forward pass of every runtime: three functions, and what is common around them.

A batch computed in parts, some at a time: how a CPU is kept busy.

A framework spreads every layer over all cores and waits for the slowest of them before the next.
While one part waits, another computes; a small part's maps stay in the cache; and the parts of
the next batch begin before the last one of this has ended.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import DeviceMemoryError, first_line
from bottleneck.exhaustion import out_of_memory
from bottleneck.items import ItemInput
from bottleneck.runtimes.protocol import Pending, check_batch


def let_go(error: BaseException) -> None:
    """Empty the frames of an error: they keep what a failed pass has computed on the device.

    Those of the errors behind it too: Keras raises another one, with more words, and frames that
    hold their own traceback would live until the garbage collector comes.
    """
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            one.__traceback__ = None
            waiting += [one.__cause__, one.__context__]


Compute = Callable[[NDArray[Any]], Sequence[NDArray[Any]]]
"""From decoded items, shape (n, *shape of an item), to an array per output, in memory."""

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

    def start(self, batch: NDArray[Any]) -> Begun:
        """Begin to compute a batch of one image or more, which must stay as it is."""
        size = min(self._most, -(-len(batch) // self._threads))
        parts = (batch[start : start + size] for start in range(0, len(batch), size))
        return [self._pool.submit(self._counted, part) for part in parts]

    def _counted(self, part: NDArray[Any]) -> Sequence[NDArray[Any]]:
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


BATCHES_IN_FLIGHT: Final = 2
"""One is computed while the next is copied to the device and the last one's results back; and a
CPU has something to do while the last part of a batch is computed."""


def as_it_is(value: Any) -> Any:
    """Return what is given: a transfer or a fetch that a CPU does not need."""
    return value


class CompiledStep:
    """A backbone compiled by a runtime; see :class:`bottleneck.runtimes.CompiledBackbone`.

    Parameters
    ----------
    compute : callable
        From what ``transfer`` returns to an array per output, on the device. May return before
        they are computed.
    runtime, version, device : str
        For the recipe.
    dims : mapping of str to int
        Length of each output's features.
    given : ItemInput
        What items become for it.
    transfer : callable
        From decoded items, shape (n, *shape of an item), to what is computed on. They stay as they
        are until ``fetch`` has returned.
    fetch : callable
        From what ``compute`` returned to arrays in memory.
    pad : bool
        Whether a batch shape not seen before is expensive. Then smaller batches are padded to the
        largest one so far.
    in_flight : int
        How many batches may be on their way at once.
    buffer : callable
        Makes the memory that batches on their way are copied from, of a shape and a type.
    out_of_memory : callable
        Tells whether an exception means that the device's memory did not suffice.
    release : callable
        Gives the device memory back that a framework keeps; called before the first pass after
        one that failed for want of it.
    details : mapping, optional
        What else the recipe is to say about the execution.
    forget : callable
        Forgets the shapes that ``compute`` pads to by itself.
    busy : callable, optional
        Returns how many seconds the device has computed so far, where that is known better than
        by who waits for results.
    pin : callable
        See :class:`bottleneck.runtimes.protocol.Borrowing`.
    """

    def __init__(
        self,
        compute: Callable[[Any], Any],
        *,
        runtime: str,
        version: str,
        device: str,
        dims: Mapping[str, int],
        given: ItemInput,
        transfer: Callable[[NDArray[Any]], Any] = as_it_is,
        fetch: Callable[[Any], Sequence[NDArray[Any]]] = as_it_is,
        pad: bool = False,
        in_flight: int = 1,
        buffer: Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any]] = np.empty,
        out_of_memory: Callable[[Exception], bool] = out_of_memory,
        release: Callable[[], None] = lambda: None,
        details: Mapping[str, Any] | None = None,
        forget: Callable[[], None] = lambda: None,
        busy: Callable[[], float] | None = None,
        pin: Callable[[NDArray[Any]], Callable[[], None]] = lambda memory: lambda: None,
    ) -> None:
        self.pin = pin
        self.runtime = runtime
        self.version = version
        self.device = device
        self.dims = dims
        self.details = details or {}
        self.in_flight = in_flight
        self.transfer_seconds = 0.0
        self._compute = compute
        self._transfer = transfer
        self._fetch = fetch
        self._given = given
        self._pad = pad
        self._buffer = buffer
        self._free: list[NDArray[Any]] = []
        self._out_of_memory = out_of_memory
        self._release = release
        self._was_full = False
        self._forget = forget
        self._busy = busy
        self._largest = 0

    def __repr__(self) -> str:
        outputs = ", ".join(f"{name} {dim}" for name, dim in self.dims.items())
        return f"<CompiledStep {self.runtime} {self._given.shape} {outputs}, {self.device}>"

    def __call__(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Compute features; see :class:`bottleneck.runtimes.CompiledBackbone`."""
        check_batch(batch, self._given)
        if len(batch) == 0:
            return {name: np.empty((0, dim), np.float32) for name, dim in self.dims.items()}
        more = self._padded(len(batch)) - len(batch)
        images = np.pad(batch, [(0, more), (0, 0), (0, 0), (0, 0)]) if more else batch
        return self._finish(self._start(images), len(batch), len(images))

    def submit(self, batch: NDArray[Any]) -> Pending:
        """Begin to compute; see :class:`bottleneck.runtimes.protocol.Overlapping`."""
        check_batch(batch, self._given)
        if len(batch) == 0:
            return Pending(batch, lambda: self(batch))
        count = self._padded(len(batch))
        buffer = self._taken(count)
        images = buffer[: len(batch)]
        images[:] = batch
        # The buffer is free only when its result was taken, also where the pass could not begin:
        # until then the caller holds these images to try them again in parts.
        return self._begun(images, buffer[:count], lambda: self._free.append(buffer))

    def borrow(self, batch: NDArray[Any]) -> Pending:
        """Begin to compute; see :class:`bottleneck.runtimes.protocol.Borrowing`."""
        check_batch(batch, self._given)
        if len(batch) == 0 or self._padded(len(batch)) > len(batch):
            return self.submit(batch)
        return self._begun(batch, batch, lambda: None)

    def _begun(
        self, images: NDArray[Any], padded: NDArray[Any], free: Callable[[], None]
    ) -> Pending:
        found, full = None, None
        try:
            found = self._start(padded)
        except DeviceMemoryError as error:
            full = error

        def result() -> dict[str, NDArray[np.float32]]:
            try:
                if full is not None:
                    raise full
                return self._finish(found, len(images), len(padded))
            finally:
                free()

        return Pending(images, result)

    @property
    def busy_seconds(self) -> float | None:
        """Seconds the device has computed so far; None where only who waits can tell."""
        return self._busy() if self._busy else None

    def pad_to(self, count: int) -> None:
        """Pad to at least so many images; see :class:`bottleneck.runtimes.protocol.Padding`."""
        self._largest = max(self._largest, count)

    def forget_shapes(self) -> None:
        """Pad to none of the batch sizes so far; for after they were tried out."""
        self._largest = 0
        self._forget()

    def _padded(self, count: int) -> int:
        if not self._pad:
            return count
        self._largest = max(self._largest, count)
        return self._largest

    def _taken(self, count: int) -> NDArray[Any]:
        """Take memory for images that are on their way; it is used again and again."""
        if self._free and len(self._free[-1]) >= count:
            return self._free.pop()
        self._free.clear()
        return self._buffer((count, *self._given.shape), self._given.dtype)

    def _start(self, batch: NDArray[Any]) -> Any:
        with self._full_memory_told(len(batch)):
            if self._was_full:
                self._release()
                self._was_full = False
            started = time.perf_counter()
            images = self._transfer(batch)
            self.transfer_seconds += time.perf_counter() - started
            return self._compute(images)

    def _finish(self, found: Any, count: int, computed: int) -> dict[str, NDArray[np.float32]]:
        with self._full_memory_told(computed):
            features = self._fetch(found)
        return {
            name: np.asarray(feature, np.float32)[:count]
            for name, feature in zip(self.dims, features, strict=True)
        }

    @contextmanager
    def _full_memory_told(self, count: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not self._out_of_memory(error):
                raise
            self._largest = 0  # smaller batches are not to be padded to this one
            self._was_full = True
            full = DeviceMemoryError(
                f"{self.device} has not enough memory for {count} {self._given.item}s of "
                f"{self._given.shape[0]} x {self._given.shape[1]}",
                hint="--batch-size auto finds what fits; a smaller --size takes less. "
                f"{self.runtime} says: {first_line(error)}",
            )
            full.images = count
            let_go(error)
            raise full from error
