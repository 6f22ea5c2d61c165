"""The forward pass of one backbone over batches of pixels, within the device's memory."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import DeviceMemoryError
from bottleneck.runtimes import CompiledBackbone

_LEAST_BATCH, _MOST_BATCH = 8, 512
_LONGEST_PASS = 2.0
_WORTH_IT = 1.03


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
        self._network = network
        self._dtype = dtype
        self._note = note

    def __call__(
        self, pixels: NDArray[np.uint8], seconds: defaultdict[str, float]
    ) -> tuple[dict[str, NDArray[np.floating[Any]]], NDArray[np.bool_]]:
        """Compute features.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (n, size, size, 3)
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
        blocks: dict[str, list[NDArray[np.floating[Any]]]] = {
            name: [np.empty((0, dim), self._dtype)] for name, dim in self._network.dims.items()
        }
        start = 0
        with np.errstate(over="ignore"):  # found below, row by row
            while start < len(pixels):
                stop = start + min(self.at_most or len(pixels), len(pixels) - start)
                features = self._pass(pixels[start:stop], seconds)
                if features is None:
                    continue
                for name, block in features.items():
                    blocks[name].append(block.astype(self._dtype, copy=False))
                start = stop
        joined = {
            name: parts[1] if len(parts) == 2 else np.concatenate(parts)
            for name, parts in blocks.items()
        }
        finite = np.logical_and.reduce(
            [np.isfinite(block).all(axis=1) for block in joined.values()]
        )
        return joined, finite

    def _pass(
        self, pixels: NDArray[np.uint8], seconds: defaultdict[str, float]
    ) -> Mapping[str, NDArray[np.float32]] | None:
        """Run the network once; None when that was too much, and less must be tried."""
        started, before = time.perf_counter(), self._transferred()
        try:
            return self._network(pixels)
        except DeviceMemoryError:
            if len(pixels) == 1:
                raise
            self.at_most = len(pixels) // 2
            self._note(f"out of memory with {len(pixels)} images: now {self.at_most} at a time")
            return None
        finally:
            transferred = self._transferred() - before
            seconds["transfer"] += transferred
            seconds["forward"] += time.perf_counter() - started - transferred

    def _transferred(self) -> float:
        # Only runtimes that copy pixels to a device of their own keep this count.
        return float(getattr(self._network, "transfer_seconds", 0.0))


def best_batch_size(
    network: CompiledBackbone, size: int, note: Callable[[str], None] = lambda message: None
) -> int:
    """Measure how many images per forward pass are fastest on this machine.

    Doubles the batch while that brings at least 3% more images per second and a pass stays
    below two seconds, so that progress and Ctrl-C do not suffer.

    Parameters
    ----------
    network : CompiledBackbone
        The compiled forward pass.
    size : int
        Side of its input in pixels.
    note : callable
        Receives what was measured.
    """
    generator = np.random.default_rng(0)
    rates: dict[int, float] = {}
    chosen, batch = 1, _LEAST_BATCH
    while batch <= _MOST_BATCH:
        pixels = generator.integers(0, 256, (batch, size, size, 3), np.uint8)
        try:
            took = min(_timed(network, pixels) for _ in range(3))
        except DeviceMemoryError:
            break
        rates[batch] = batch / took
        if rates[batch] < _WORTH_IT * rates.get(chosen, 0.0):
            break
        chosen = batch
        if took > _LONGEST_PASS:
            break
        batch *= 2
    measured = ", ".join(f"{batch}: {rate:.1f}/s" for batch, rate in rates.items())
    note(f"batch size {chosen} (measured {measured})")
    return chosen


def _timed(network: CompiledBackbone, pixels: NDArray[np.uint8]) -> float:
    started = time.perf_counter()
    network(pixels)
    return time.perf_counter() - started
