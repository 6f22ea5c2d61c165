"""One pass over all rows: blocks that fit a core's cache, one Python thread per core.

NumPy's products and elementwise functions let go of the interpreter lock, so that threads
work side by side; BLAS is held to one thread each, because threads that split a small product
wait for each other longer than they work.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bottleneck.cores import available_cores
from bottleneck.heads.rows import FloatArray, Rows

BLOCK_ROWS = 512
"""Rows per block: 2.5 MiB of 1280 float32 features. 256 to 1024 were within 10%."""

SHARDS = 8
"""Parts of the rows that are summed up apart and then added in order: with up to as many
threads, their number does not change a result."""

_T = TypeVar("_T")


class Pass:
    """Runs functions over all blocks of rows. Made by :func:`passes`.

    Parameters
    ----------
    rows : Rows
        The matrix.
    block_rows : int
        Rows per block.
    threads : int
        Threads that share the blocks.
    engine : Engine, optional
        Does the work of stacked problems, see :mod:`bottleneck.heads.solver.engine`; by default
        NumPy, in the threads.
    """

    def __init__(self, rows: Rows, block_rows: int, threads: int, engine: Any = None) -> None:
        self.rows = rows
        self.engine = engine
        self.threads = threads
        self.count = 0
        self._block_rows = block_rows
        self._pool = ThreadPoolExecutor(threads, "pass") if threads > 1 else None
        self._scratch: list[dict[str, FloatArray]] = [{} for _ in range(threads)]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(
        self,
        new: Callable[[], _T],
        visit: Callable[[_T, int, int, FloatArray, Any], None],
        *,
        block_rows: int | None = None,
        shards: int = SHARDS,
    ) -> list[_T]:
        """Visit every block once.

        Parameters
        ----------
        new : callable
            Makes what the blocks of one shard are summed up in.
        visit : callable
            From (sum, start, stop, block, scratch) adds a block to its shard's sum. Buffers in
            ``scratch`` belong to the thread.
        block_rows : int, optional
            Rows per block; by default as opened.
        shards : int
            Parts that are summed up apart: fewer where a sum is large. At least one per thread.

        Returns
        -------
        list
            The sums, in the order of the rows.
        """
        self.count += 1
        step = block_rows or self._block_rows
        n = self.rows.shape[0]
        n_blocks = -(-n // step)
        parts = max(1, min(max(shards, self.threads), n_blocks))
        cuts = [i * n_blocks // parts * step for i in range(parts)]

        def work(shard: tuple[int, int]) -> _T:
            scratch = self._scratch.pop()  # list operations are atomic
            try:
                total = new()
                for start in range(*shard, step):
                    stop = min(start + step, shard[1])
                    visit(total, start, stop, self.rows.read(start, stop, scratch), scratch)
                return total
            finally:
                self._scratch.append(scratch)

        return self.each(work, list(zip(cuts, [*cuts[1:], n], strict=True)))

    def each(self, function: Callable[[Any], _T], items: list[Any]) -> list[_T]:
        """Apply a function to each item, in the threads."""
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))


@contextmanager
def passes(
    rows: Rows,
    *,
    block_rows: int | None = None,
    threads: int | None = None,
    engine: Any = None,
) -> Iterator[Pass]:
    """Open a matrix for passes over its rows.

    Parameters
    ----------
    rows : Rows
        The matrix.
    block_rows : int, optional
        Rows per block.
    threads : int, optional
        By default one per core this process may use.
    engine : Engine, optional
        What stacked problems are computed with, see :mod:`bottleneck.heads.solver.engine`; by
        default NumPy, in the threads.
    """
    from threadpoolctl import threadpool_limits

    if threads is None or threads < 1:
        threads = available_cores()
    opened = Pass(rows, block_rows or BLOCK_ROWS, threads, engine)
    with threadpool_limits(1, user_api="blas"):
        try:
            yield opened
        finally:
            opened.close()


def sum_of(parts: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Add one or more arrays in the order given."""
    total, *others = parts
    for part in others:
        total = total + part
    return total
