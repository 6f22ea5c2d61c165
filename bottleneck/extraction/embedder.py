"""A backbone ready to run, with the recipe that says exactly what it computes."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode import Failure, Job, Slot, decode_stream, open_decoder
from bottleneck.decode.stream import WorkerKind
from bottleneck.decode.watch import Watch
from bottleneck.extraction.device_processes import DeviceProcesses
from bottleneck.extraction.forward import Forward, lagging
from bottleneck.images import Geometry
from bottleneck.recipe import Recipe
from bottleneck.runtimes import CompiledBackbone, unused_gpu
from bottleneck.sources import Source
from bottleneck.status import RowStatus
from bottleneck.store.format import FEATURE_DTYPES


@dataclass(frozen=True, eq=False)
class EmbeddedBatch:
    """Features of the rows that could be computed, and why the others could not.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Row numbers, ascending.
    features : dict of str to ndarray of float32 or float16, shape (n, dim)
        Features of each output, in the recipe's type.
    digests : ndarray of uint8, shape (n, 16)
        Hash of each row's image.
    failures : list of Failure
        The rows that are missing above.
    """

    rows: NDArray[np.int64]
    features: dict[str, NDArray[np.floating[Any]]]
    digests: NDArray[np.uint8]
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class Embedder:
    """Images to features.

    Parameters
    ----------
    recipe : Recipe
        What it computes, and how.
    geometry : Geometry
        Size and resize rule of its input.
    network : CompiledBackbone
        The compiled forward pass.
    """

    recipe: Recipe
    geometry: Geometry
    network: CompiledBackbone

    @property
    def dims(self) -> Mapping[str, int]:
        """Length of the features of each output."""
        return self.network.dims

    def close(self) -> None:
        """End the processes of its devices, if it has any."""
        if isinstance(self.network, DeviceProcesses):
            self.network.close()

    def unused_gpu(self, asked: Sequence[str] = ()) -> str | None:
        """Say that there is a GPU which it does not use; see :func:`runtimes.unused_gpu`."""
        network = self.network
        return unused_gpu(network.runtime, network.version, network.device, asked)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the features."""
        return FEATURE_DTYPES[self.recipe.execution["dtype"]]

    def stream(
        self,
        source: Source,
        batches: Iterable[NDArray[np.int64]],
        *,
        workers: int,
        worker_kind: WorkerKind = "threads",
        watch: Watch | None = None,
        seconds: defaultdict[str, float] | None = None,
    ) -> Iterator[EmbeddedBatch]:
        """Compute features of some rows of a source, in order.

        Parameters
        ----------
        source : Source
            Where the images are.
        batches : iterable of ndarray of int64
            Row numbers of each forward pass, ascending; the first is one of the largest.
        workers : int
            Threads or processes that decode ahead.
        worker_kind : {"auto", "processes", "threads"}
            Which of them.
        watch : Watch, optional
            Time-out of an image, and who is told of stalls.
        seconds : defaultdict of float, optional
            Receives the time spent in ``read`` and ``decode`` (summed over workers),
            ``transfer``, ``forward``, and ``waiting`` (for decoded images).
        """
        spent = defaultdict[str, float](float) if seconds is None else seconds
        remaining = iter(batches)
        first = next(remaining, None)
        if first is None:
            return
        forward = Forward(self.network, self.dtype)
        forward.expect(len(first))
        decoder = open_decoder(source, workers=workers, kind=worker_kind, watch=watch)
        slots = decode_stream(
            decoder,
            Job.simple(self.geometry, len(first)),
            ((rows, np.ones(len(rows), np.uint32)) for rows in chain([first], remaining)),
        )
        with closing(slots):
            begun = (self._begin(slot, forward, spent) for slot in timed(slots, spent))
            for finish in lagging(begun, forward.in_flight - 1):
                yield finish()

    def _begin(
        self, slot: Slot, forward: Forward, seconds: defaultdict[str, float]
    ) -> Callable[[], EmbeddedBatch]:
        good = np.flatnonzero(slot.status[: slot.count] == RowStatus.DONE)
        rows, digests = slot.rows[good], slot.digests[good]
        failures = [failure for _, failure in slot.failures()]
        computed = forward.start(slot.pixels[0][: len(good)], seconds)
        return lambda: self._finish(rows, digests, failures, *computed())

    def _finish(
        self,
        rows: NDArray[np.int64],
        digests: NDArray[np.uint8],
        failures: list[Failure],
        features: dict[str, NDArray[np.floating[Any]]],
        finite: NDArray[np.bool_],
    ) -> EmbeddedBatch:
        failures = failures + self.not_finite(rows[~finite], digests[~finite])
        if finite.all():
            return EmbeddedBatch(rows, features, digests, failures)
        kept = {name: block[finite] for name, block in features.items()}
        return EmbeddedBatch(rows[finite], kept, digests[finite], failures)

    def not_finite(self, rows: NDArray[np.int64], digests: NDArray[np.uint8]) -> list[Failure]:
        """Make the failures of rows whose features are no finite numbers."""
        message = f"a feature is NaN, infinite or too large for {self.dtype.name}"
        return [
            Failure(row, RowStatus.NON_FINITE, message, digest)
            for row, digest in zip(rows.tolist(), digests, strict=True)
        ]


def timed(slots: Iterator[Slot], seconds: defaultdict[str, float]) -> Iterator[Slot]:
    """Pass slots on, and count what it took to read, decode and wait for them."""
    while True:
        started = time.perf_counter()
        slot = next(slots, None)
        seconds["waiting"] += time.perf_counter() - started
        if slot is None:
            return
        read, decode = slot.seconds.tolist()
        seconds["read"] += read
        seconds["decode"] += decode
        yield slot
