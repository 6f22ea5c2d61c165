"""Nearest rows by exact search, block by block."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray, Rows
from bottleneck.heads.solver.row_pass import Pass, passes
from bottleneck.heads.solver.scaling import require_range

_QUERIES = 1024
"""Rows asked about in one pass over the training rows."""


def nearest_rows(
    rows: Rows,
    asked: Rows,
    k: int,
    *,
    metric: str = "cosine",
    threads: int | None = None,
    apart: NDArray[np.int32] | None = None,
) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.int64]]]:
    """Find the nearest rows of others, for some at a time: memory does not grow with either.

    Parameters
    ----------
    rows, asked : Rows, shapes (n, d) and (m, d)
    k : int
        How many, n at most.
    metric : {"cosine", "euclidean"}
    threads : int, optional
        Threads of a pass; one per core by default.
    apart : ndarray of int32, shape (n,), optional
        Where ``asked`` are the same rows: those of the same number are no neighbours.

    Yields
    ------
    start : int
        The first of the rows asked about.
    distances : ndarray of float64, shape (rows, k)
        Nearest first, of equal ones the first row; infinite where there are fewer than ``k``.
    numbers : ndarray of int64, shape (rows, k)
        Which rows.

    Raises
    ------
    HeadError
        For features whose squared distances are beyond float64.
    """
    with passes(rows, threads=threads) as run:
        for start in range(0, asked.shape[0], _QUERIES):
            stop = min(start + _QUERIES, asked.shape[0])
            queries = asked.read(start, stop, {}).astype(np.float64)
            same = None if apart is None else (apart[start:stop], apart)
            parts = _search(run, queries, k, metric, same)
            total = parts[0]
            for part in parts[1:]:
                _keep(total, np.hstack([total[0], part[0]]), np.hstack([total[1], part[1]]), k)
            distances, numbers = total
            yield start, np.sqrt(distances) if metric == "euclidean" else distances, numbers


def require_distances(rows: Rows, threads: int | None = None) -> None:
    """Refuse rows whose squared distances are beyond float64; those of float32 never are.

    Raises
    ------
    HeadError
    """
    if rows.dtype != np.float64:
        return

    def visit(_: None, start: int, stop: int, block: FloatArray, scratch: object) -> None:
        squares(block.astype(np.float64))

    with passes(rows, threads=threads) as run:
        run.run(lambda: None, visit)


def _search(
    run: Pass,
    queries: NDArray[np.float64],
    k: int,
    metric: str,
    apart: tuple[NDArray[np.int32], NDArray[np.int32]] | None,
) -> list[list[NDArray[Any]]]:
    """Return the k nearest rows of each shard: lists of distances and numbers."""

    def new() -> list[NDArray[Any]]:
        return [np.empty((len(queries), 0)), np.empty((len(queries), 0), np.int64)]

    def visit(
        best: list[NDArray[Any]], start: int, stop: int, block: FloatArray, scratch: object
    ) -> None:
        distances = _distances(queries, block, metric)
        if apart is not None:
            distances[apart[0][:, None] == apart[1][None, start:stop]] = np.inf
        numbers = np.broadcast_to(np.arange(start, stop), distances.shape)
        _keep(best, np.hstack([best[0], distances]), np.hstack([best[1], numbers]), k)

    return run.run(new, visit)


def _distances(queries: NDArray[np.float64], block: FloatArray, metric: str) -> NDArray[np.float64]:
    wide = block.astype(np.float64)
    if metric == "cosine":
        return 1 - unit(queries) @ unit(wide).T
    asked, there = squares(queries), squares(wide)
    squared: NDArray[np.float64] = asked[:, None] - 2 * (queries @ wide.T)
    squared += there
    np.maximum(squared, 0, out=squared)
    return squared


def squares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared length of each row, shape (n,).

    Raises
    ------
    HeadError
        For lengths beyond float64.
    """
    with np.errstate(over="ignore"):  # named below
        summed: NDArray[np.float64] = np.einsum("rd,rd->r", rows, rows)
    require_range(4 * float(summed.max()), rows.dtype)
    return summed


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of length 1; of zeros those themselves."""
    # By the largest first: a direction has no size, and squares of 1e160 or 1e-170 do.
    largest = np.abs(rows).max(axis=1, keepdims=True)
    scaled: NDArray[np.float64] = rows / np.where(largest > 0, largest, 1)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    scaled /= np.where(length > 0, length, 1)
    return scaled


def _keep(
    best: list[NDArray[Any]], distances: NDArray[np.float64], numbers: NDArray[np.int64], k: int
) -> None:
    """Keep the k nearest, nearest first; of equal ones those of lower numbers."""
    if distances.shape[1] > 4 * k:
        # All that are as near as the k-th: ties must not be decided by the selection.
        kth = np.partition(distances, k - 1, axis=1)[:, k - 1]
        width = int((distances <= kth[:, None]).sum(axis=1).max())
        near = np.argsort(distances > kth[:, None], axis=1, kind="stable")[:, :width]
        distances = np.take_along_axis(distances, near, axis=1)
        numbers = np.take_along_axis(numbers, near, axis=1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    best[0] = np.take_along_axis(distances, order, axis=1)
    best[1] = np.take_along_axis(numbers, order, axis=1)
