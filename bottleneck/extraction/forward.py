"""The forward pass of one backbone over batches of pixels, within the device's memory."""

import statistics
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import DeviceMemoryError
from bottleneck.extract_options import BATCH_SIZE
from bottleneck.items import KINDS, ItemInput
from bottleneck.runtimes import Borrowing, CompiledBackbone, Overlapping, Padding, Pending

_LEAST_BATCH, _LEAST_ON_GPU, _MOST_BATCH = 8, 32, 1024
_MOST_BY_DEFAULT, _USUAL_SIDE = 256, 224
_PASSES = 5
_LONGEST_PASS = 2.0
_LEAST_GAIN = 1.03

_Item = TypeVar("_Item")

_Features = Mapping[str, NDArray[np.float32]]

Computed = tuple[dict[str, NDArray[np.floating[Any]]], NDArray[np.bool_]]
"""Features of each output, and which images' are finite; see :meth:`Forward.__call__`."""


class Forward:
    """Runs a network, in parts where a batch is too large for it.

    Parameters
    ----------
    network : CompiledBackbone
        The compiled forward pass.
    dtype : numpy.dtype
        Type of the features that come out.
    at_most : int, optional
        Images per pass; all of a batch by default.
    note : callable
        Receives what is worth knowing.

    Attributes
    ----------
    in_flight : int
        How many batches may be begun before the first one is waited for.
    images : int
        How many images it has computed.
    """

    def __init__(
        self,
        network: CompiledBackbone,
        dtype: np.dtype[Any],
        *,
        at_most: int | None = None,
        note: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.at_most = at_most
        self.in_flight = network.in_flight if isinstance(network, Overlapping) else 1
        self._network = network
        self._dtype = dtype
        self._note = note
        self.images = 0
        self._waited = 0.0
        self._busy_before = self._busy() or 0.0

    def expect(self, count: int) -> None:
        """Say how many images a batch has at most.

        A network for which each new shape is expensive then has one from the start, whatever the
        first batches lack: images that failed, or whose features are cached.
        """
        if isinstance(self._network, Padding):
            self._network.pad_to(min(count, self.at_most or count))

    @property
    def own_seconds(self) -> float:
        """Seconds this network computed, whatever else ran beside it."""
        busy = self._busy()
        return self._waited if busy is None else busy - self._busy_before

    def __call__(self, pixels: NDArray[Any], seconds: defaultdict[str, float]) -> Computed:
        """Compute features.

        Parameters
        ----------
        pixels : ndarray, shape (n, *shape of an item)
            Images; none is allowed.
        seconds : defaultdict of float
            Receives the time of ``transfer`` and ``forward``.

        Returns
        -------
        features : dict of str to ndarray, shape (n, dim)
            Of each output.
        finite : ndarray of bool, shape (n,)
            Whether all features of an image are finite numbers of the type.
        """
        return self._joined(self._in_parts(pixels, seconds))

    def start(
        self, pixels: NDArray[Any], seconds: defaultdict[str, float], *, lent: bool = False
    ) -> Callable[[], Computed]:
        """Begin to compute features; what is returned waits for them.

        Up to ``in_flight`` batches may be begun before the first one is waited for.

        Parameters
        ----------
        pixels, seconds
            As above.
        lent : bool
            Whether the pixels stay as they are until the features were waited for, so that they
            need not be copied. Otherwise they may change as soon as this has returned.
        """
        network = self._network
        if self.in_flight == 1 or not isinstance(network, Overlapping):
            computed = self(pixels, seconds)
            return lambda: computed
        step = self.at_most or max(len(pixels), 1)
        submit = network.borrow if lent and isinstance(network, Borrowing) else network.submit
        with self._timed(seconds):
            parts = [submit(pixels[i : i + step]) for i in range(0, len(pixels), step)]
        return partial(self._collect, parts, seconds)

    def _collect(self, parts: Sequence[Pending], seconds: defaultdict[str, float]) -> Computed:
        found: list[_Features] = []
        for part in parts:
            try:
                with self._timed(seconds):
                    found.append(part.result())
                continue
            except DeviceMemoryError as error:
                # Others on their way held memory too, so one image is tried by itself as well.
                tried = max(len(part.batch), error.images)
                self._take_fewer(max(1, tried // 2), tried)
            # Outside, where the error no longer holds the memory of what failed. A copy, since
            # what the batch lies in is the network's again from here on.
            found += self._in_parts(part.batch.copy(), seconds)
        return self._joined(found)

    def _in_parts(self, pixels: NDArray[Any], seconds: defaultdict[str, float]) -> list[_Features]:
        """Run the network over as many images at a time as it takes."""
        found: list[_Features] = []
        start = 0
        while start < len(pixels):
            part = pixels[start : start + (self.at_most or len(pixels))]
            try:
                with self._timed(seconds):
                    found.append(self._network(part))
            except DeviceMemoryError as error:
                # A rest may have been padded: what did not fit is what was computed.
                tried = max(len(part), error.images)
                fewer = min(tried, self.at_most or tried) // 2
                if fewer == 0:
                    raise
                self._take_fewer(fewer, tried)
            else:
                start += len(part)
        return found

    def _take_fewer(self, count: int, tried: int) -> None:
        """Take no more images at a time, and pad to no more, after so many were too many."""
        if self.at_most is None or self.at_most > count:
            self.at_most = count
            self._note(f"out of memory with {tried} images: now {count} at a time")
        if isinstance(self._network, Padding):
            self._network.forget_shapes()
        self.expect(self.at_most)

    def _joined(self, found: Sequence[_Features]) -> Computed:
        blocks: dict[str, NDArray[np.floating[Any]]] = {}
        with np.errstate(over="ignore"):  # found below, row by row
            for name, dim in self._network.dims.items():
                parts = [one[name].astype(self._dtype, copy=False) for one in found]
                parts = parts or [np.empty((0, dim), self._dtype)]
                blocks[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self.images += len(next(iter(blocks.values())))
        finite = np.logical_and.reduce(
            [np.isfinite(block).all(axis=1) for block in blocks.values()]
        )
        return blocks, finite

    @contextmanager
    def _timed(self, seconds: defaultdict[str, float]) -> Iterator[None]:
        started, before = time.perf_counter(), self._transferred()
        try:
            yield
        finally:
            transferred = self._transferred() - before
            took = time.perf_counter() - started
            seconds["transfer"] += transferred
            seconds["forward"] += took - transferred
            self._waited += took

    def _busy(self) -> float | None:
        found: float | None = getattr(self._network, "busy_seconds", None)
        return found

    def _transferred(self) -> float:
        # Only runtimes that copy pixels to a device of their own keep this count.
        return float(getattr(self._network, "transfer_seconds", 0.0))


def lagging(items: Iterable[_Item], behind: int) -> Iterator[_Item]:
    """Pass items on in order, each when so many more of them have been made."""
    waiting: deque[_Item] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > behind:
            yield waiting.popleft()
    yield from waiting


def batch_size_for(
    asked: int | str | None,
    network: CompiledBackbone,
    given: ItemInput,
    note: Callable[[str], None] = lambda message: None,
) -> int:
    """Return how many images a forward pass takes.

    Parameters
    ----------
    asked : int, "auto" or None
        As many; measured; or by the device: on a GPU 256 of 224 x 224, which keep a large one
        busy, of larger images as many as have so many pixels, a power of two.
    network, given, note
        As for :func:`best_batch_size`.
    """
    if isinstance(asked, int):
        return asked
    if asked == "auto":
        return best_batch_size(network, given, note)
    if network.device == "cpu":
        return BATCH_SIZE
    height, width = given.shape[:2]
    as_large = max(_MOST_BY_DEFAULT * _USUAL_SIDE**2 // (height * width), BATCH_SIZE)
    return min(1 << as_large.bit_length() - 1, _MOST_BY_DEFAULT)


def best_batch_size(
    network: CompiledBackbone, given: ItemInput, note: Callable[[str], None] = lambda message: None
) -> int:
    """Measure how many images per forward pass are fastest on this machine.

    Doubles the batch while that brings at least 3% more images per second and a pass stays
    below two seconds, so that progress and Ctrl-C do not suffer. GPUs begin larger, and may miss
    the 3% once: their rates rise in steps.

    Parameters
    ----------
    network : CompiledBackbone
        The compiled forward pass.
    given : ItemInput
        Its input.
    note : callable
        Receives what was measured.
    """
    on_gpu = network.device != "cpu"
    trial = KINDS[given.item].trial(given)
    rates: dict[int, float] = {}
    chosen, batch, missed = 1, _LEAST_ON_GPU if on_gpu else _LEAST_BATCH, 0
    while batch <= _MOST_BATCH:
        pixels = np.resize(trial, (batch, *given.shape))
        try:
            took = pass_seconds(network, pixels)
        except DeviceMemoryError:
            if rates or batch <= _LEAST_BATCH:
                break
            batch //= 2  # a large network on a small card
            continue
        rates[batch] = batch / took
        if rates[batch] >= _LEAST_GAIN * rates.get(chosen, 0.0):
            chosen, missed = batch, 0
        else:
            missed += 1
        if missed > on_gpu or took > _LONGEST_PASS:
            break
        batch *= 2
    if isinstance(network, Padding):
        network.forget_shapes()
    measured = ", ".join(f"{batch}: {rate:.1f}/s" for batch, rate in rates.items())
    note(f"batch size {chosen} (measured {measured})")
    return chosen


def pass_seconds(network: CompiledBackbone, pixels: NDArray[Any], *, seconds: float = 0.0) -> float:
    """Measure a forward pass as it is in a run: with as many batches on their way as there.

    Parameters
    ----------
    network : CompiledBackbone
        The compiled forward pass.
    pixels : ndarray, shape (n, *shape of an item)
        A batch; every pass takes it.
    seconds : float
        How long to measure at least; five passes at least.

    Returns
    -------
    float
        Seconds from the end of one pass to the end of the next, the median.

    Raises
    ------
    DeviceMemoryError
        When so many batches of this size do not fit.
    """
    in_flight = network.in_flight if isinstance(network, Overlapping) else 1
    started: deque[Callable[[], object]] = deque()

    def begin() -> None:
        if isinstance(network, Overlapping) and in_flight > 1:
            started.append(network.submit(pixels).result)
        else:
            started.append(partial(network, pixels))

    # The first passes compile, on each device, and fill the way.
    for _ in range(in_flight):
        network(pixels)
    ends: list[float] = []
    try:
        while len(ends) <= _PASSES or ends[-1] - ends[0] < seconds:
            while len(started) < in_flight:
                begin()
            started.popleft()()
            ends.append(time.perf_counter())
    finally:
        for result in started if in_flight > 1 else ():
            with suppress(DeviceMemoryError):
                result()  # its memory is used again
    # Batches that are computed side by side may end in pairs.
    spans = [(b - a) / in_flight for a, b in zip(ends, ends[in_flight:], strict=False)]
    return statistics.median(spans)
