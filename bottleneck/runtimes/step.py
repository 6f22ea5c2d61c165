"""The compiled forward pass of the runtimes that only differ in one function."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import DeviceMemoryError
from bottleneck.runtimes.protocol import check_batch


class CompiledStep:
    """A backbone compiled by a runtime; see :class:`bottleneck.runtimes.CompiledBackbone`.

    Parameters
    ----------
    compute : callable
        From uint8 images, shape (n, size, size, 3), to an array of float32 per output.
    runtime, version, device : str
        For the recipe.
    dims : mapping of str to int
        Length of each output's features.
    size : int
        Side of the images, pixels.
    pad : bool
        Whether a batch shape not seen before is expensive. Then smaller batches are padded to the
        largest one so far.
    out_of_memory : callable, optional
        Tells whether an exception means that the device's memory did not suffice.
    details : mapping, optional
        What else the recipe is to say about the execution.
    """

    def __init__(
        self,
        compute: Callable[[NDArray[np.uint8]], Sequence[NDArray[Any]]],
        *,
        runtime: str,
        version: str,
        device: str,
        dims: Mapping[str, int],
        size: int,
        pad: bool,
        out_of_memory: Callable[[Exception], bool] = lambda error: False,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.runtime = runtime
        self.version = version
        self.device = device
        self.dims = dims
        self.details = details or {}
        self._compute = compute
        self._size = size
        self._pad = pad
        self._out_of_memory = out_of_memory
        self._largest = 0

    def __repr__(self) -> str:
        outputs = ", ".join(f"{name} {dim}" for name, dim in self.dims.items())
        return f"<CompiledStep {self.runtime} {self._size}px {outputs}, {self.device}>"

    def __call__(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Compute features; see :class:`bottleneck.runtimes.CompiledBackbone`."""
        check_batch(batch, self._size)
        count = len(batch)
        if count == 0:
            return {name: np.empty((0, dim), np.float32) for name, dim in self.dims.items()}
        if self._pad:
            self._largest = largest = max(self._largest, count)
            if count < largest:
                batch = np.pad(batch, [(0, largest - count), (0, 0), (0, 0), (0, 0)])
        try:
            features = self._compute(batch)
        except Exception as error:
            if not self._out_of_memory(error):
                raise
            self._largest = 0  # smaller batches are not to be padded to this one
            raise DeviceMemoryError(
                f"{self.device} has not enough memory for {count} images of {self._size} pixels",
                hint="A smaller --batch-size or --size takes less.",
            ) from error
        return {
            name: np.asarray(feature, np.float32)[:count]
            for name, feature in zip(self.dims, features, strict=True)
        }
