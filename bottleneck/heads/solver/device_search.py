"""Nearest rows by exact search on a GPU: PyTorch or JAX, in float64, block against block.

What is kept of a pair of blocks is chosen where it was computed, so that only that travels back.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.gpus import number_here
from bottleneck.heads.rows import Rows
from bottleneck.heads.solver.neighbor_search import squares, unit
from bottleneck.runtimes.choice import require_seen, sees_gpu
from bottleneck.runtimes.protocol import gpu_index

_QUERIES, _BLOCK = 4096, 16384
"""Rows asked about, and rows asked, at a time: their distances are half a gigabyte."""

Found = tuple[NDArray[np.float64], NDArray[np.int64]]


class Search(Protocol):
    """Finds, on a device, the smallest of ``left + right - asked @ there.T``.

    All are float64; ``own`` is the column of each row that does not count, -1 for none.
    """

    def __call__(
        self,
        asked: NDArray[np.float64],
        there: NDArray[np.float64],
        sides: tuple[NDArray[np.float64], NDArray[np.float64]],
        own: NDArray[np.int64],
        k: int,
    ) -> Found:
        """Return distances, smallest first, and columns: shapes (rows, k)."""
        ...


def nearest_on(
    search: Search, rows: Rows, k: int, *, metric: str = "cosine"
) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.int64]]]:
    """Find the nearest other rows of every row; see :func:`nearest_rows`.

    Of rows that are equally far a device may keep any, where there are more than ``k`` of them.

    Parameters
    ----------
    search : Search
        Of :func:`search_on`.
    rows : Rows, shape (n, d)
    k : int
        How many, less than n.
    metric : {"cosine", "euclidean"}
    """
    n = rows.shape[0]
    for start in range(0, n, _QUERIES):
        stop = min(start + _QUERIES, n)
        asked, left = _prepared(rows, start, stop, metric)
        if metric == "euclidean":
            asked = 2 * asked  # (a - b)^2 = a^2 + b^2 - 2ab
        best: list[Found] = []
        for begin in range(0, n, _BLOCK):
            end = min(begin + _BLOCK, n)
            there, right = _prepared(rows, begin, end, metric)
            own = np.arange(start, stop) - begin
            own[(own < 0) | (own >= end - begin)] = -1
            kept = min(k, end - begin)
            distances, columns = search(asked, there, (left, right), own, kept)
            best = [_merged([*best, (distances, columns + begin)], k)]
        ((distances, numbers),) = best
        if metric == "euclidean":
            distances = np.sqrt(np.maximum(distances, 0))
        yield start, distances, numbers


def _prepared(
    rows: Rows, start: int, stop: int, metric: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read a block, and what each of its rows adds to a distance."""
    block = rows.read(start, stop, {}).astype(np.float64)
    if metric == "cosine":
        return unit(block), np.full(len(block), 0.5)
    return block, squares(block)


def _merged(found: list[Found], k: int) -> Found:
    distances = np.hstack([one[0] for one in found])
    numbers = np.hstack([one[1] for one in found])
    order = np.lexsort((numbers, distances), axis=1)[:, :k]
    return np.take_along_axis(distances, order, 1), np.take_along_axis(numbers, order, 1)


def search_on(device: str) -> Search:
    """Return the search on a GPU, by the first of PyTorch and JAX that sees one.

    Parameters
    ----------
    device : str
        ``gpu`` or ``gpu:N``.

    Raises
    ------
    OptionError
        For another device.
    RuntimeUnavailableError
        Where neither sees a GPU, or not so many.
    """
    wanted = gpu_index(device)
    if wanted is None or not device.startswith("gpu"):
        raise OptionError(f"expected the device cpu, gpu or gpu:N, got {device!r}")
    for framework, make in (("torch", torch_search), ("jax", jax_search)):
        if sees_gpu(framework):
            require_seen(framework, [wanted])
            return make("gpu", number_here(wanted))
    raise RuntimeUnavailableError(
        f"expected the device {device}, but neither PyTorch nor JAX sees a GPU",
        hint="`pip install torch` or `pip install 'jax[cuda12]'`; or leave --device out.",
    )


def torch_search(kind: str, index: int = 0) -> Search:
    """Return the search by PyTorch, on a ``gpu`` or, to compare with, the ``cpu``."""
    import torch

    device = torch.device("cpu") if kind == "cpu" else torch.device("cuda", index)
    put = partial(torch.as_tensor, device=device)

    def search(asked: Any, there: Any, sides: Any, own: Any, k: int) -> Found:
        distances = put(sides[0])[:, None] + put(sides[1]) - put(asked) @ put(there).T
        among = np.flatnonzero(own >= 0)
        distances[put(among), put(own[among])] = torch.inf
        values, columns = torch.topk(distances, k, dim=1, largest=False)
        return values.cpu().numpy(), columns.cpu().numpy()

    return search


def jax_search(kind: str, index: int = 0) -> Search:
    """Return the search by JAX, on a ``gpu`` or, to compare with, the ``cpu``."""
    import jax

    jnp, device = jax.numpy, jax.devices(kind)[index]

    def search(asked: Any, there: Any, sides: Any, own: Any, k: int) -> Found:
        with jax.enable_x64(True), jax.default_device(device):
            product = jnp.matmul(asked, there.T, precision="highest")
            distances = jnp.asarray(sides[0])[:, None] + sides[1] - product
            among = np.flatnonzero(own >= 0)
            distances = distances.at[among, own[among]].set(jnp.inf)
            values, columns = jax.lax.top_k(-distances, k)
            return -np.asarray(values), np.asarray(columns).astype(np.int64)

    return search
