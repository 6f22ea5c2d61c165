"""A batch computed in parts, two at a time: how a CPU is kept busy.

TensorFlow spreads every layer over all cores and waits for the slowest of them before the next.
While one part waits, the other computes; and a small part's maps stay in the cache. Measured on
two cores, batches of 32 (``benchmarks/forward.py``): MobileNetV2 1.19x, EfficientNet-Lite0 1.32x
and ResNet50 1.05x the images per second of whole batches.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.cores import available_cores

PER_CORE: Final = 4
"""Images of a part for each core. Measured on two cores only."""

_Compute = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.float32]]]


class Parts:
    """Computes parts of a batch side by side.

    Parameters
    ----------
    compute : callable
        From uint8 images, shape (n, size, size, 3), to an array of float32 per output. Called
        from two threads at once.
    """

    def __init__(self, compute: _Compute) -> None:
        self._compute = compute
        self._most = PER_CORE * available_cores()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="forward")

    def __call__(self, batch: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        """Compute a batch of one image or more; results as of one call."""
        size = min(self._most, -(-len(batch) // 2))
        starts = range(0, len(batch), size)
        parts = [batch[start : start + size] for start in starts]
        columns: Any = zip(*self._pool.map(self._compute, parts), strict=True)
        return [np.concatenate(column) for column in columns]
