"""A backbone ready to run, with the recipe that says exactly what it computes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.decode import Failure
from bottleneck.extraction.device_processes import DeviceProcesses
from bottleneck.images import Geometry
from bottleneck.recipe import Recipe
from bottleneck.runtimes import CompiledBackbone, unused_gpu
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
    reused, copied : int
        How many of the features come from an older file, and from equal images of this one.
    further : int
        Files of which only the first of several pages or frames was used.
    """

    rows: NDArray[np.int64]
    features: dict[str, NDArray[np.floating[Any]]]
    digests: NDArray[np.uint8]
    failures: list[Failure] = field(default_factory=list)
    reused: int = 0
    copied: int = 0
    further: int = 0


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

    def not_finite(self, rows: NDArray[np.int64], digests: NDArray[np.uint8]) -> list[Failure]:
        """Make the failures of rows whose features are no finite numbers."""
        message = f"a feature is NaN, infinite or too large for {self.dtype.name}"
        return [
            Failure(row, RowStatus.NON_FINITE, message, digest)
            for row, digest in zip(rows.tolist(), digests, strict=True)
        ]
