"""One pass over all rows: blocks that fit a core's cache, one Python thread per core.

NumPy's products and elementwise functions let go of the interpreter lock, so that threads
work side by side; BLAS is held to one thread each, because threads that split a small product
wait for each other longer than they work.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from functools import lru_cache
from typing import Any, Final, TypeVar

from bottleneck.cores import available_cores
from bottleneck.heads.rows import FloatArray, Rows
from bottleneck.heads.solver.question import (
    PARTS,
    Held,
    Question,
    RowData,
    Tree,
    answer,
    fold,
    rows_at_once,
)
from bottleneck.process_wide import Together

BLOCK_ROWS = 512
"""Rows per block: 2.5 MiB of 1280 float32 features. 256 to 1024 were within 10%."""

_T = TypeVar("_T")


def _limited(threads: int) -> AbstractContextManager[Any]:
    limits: AbstractContextManager[Any] = _libraries(len(sys.modules)).limit(
        limits=threads, user_api="blas"
    )
    return limits


@lru_cache(maxsize=1)
def _libraries(modules: int) -> Any:
    """Find the libraries of the process, anew once more modules are imported, which load them.

    To find them takes 3 ms, as long as a pass over some thousand rows.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


blas_threads: Final = Together(_limited)
"""Context manager: holds BLAS, all of the process's, to a number of threads."""


class Pass:
    """Runs functions over all blocks of rows. Made by :func:`passes`.

    Parameters
    ----------
    rows : Rows
        The matrix.
    block_rows : int or None
        Rows per block, where a question does not say it; by default :data:`BLOCK_ROWS`.
    threads : int
        Threads that share the blocks.
    engine : Engine, optional
        Does the work of stacked problems, see :mod:`bottleneck.heads.solver.engine`; by default
        NumPy, in the threads.
    """

    def __init__(
        self, rows: Rows, block_rows: int | None, threads: int, engine: Any = None
    ) -> None:
        self.rows = rows
        self.engine = engine
        self.threads = threads
        self.count = 0
        self.block_rows = block_rows
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
        parts: int = PARTS,
    ) -> list[_T]:
        """Visit every block once, here; for what stays in this process.

        Parameters
        ----------
        new : callable
            Makes what the blocks of one part are summed up in.
        visit : callable
            From (sum, start, stop, block, scratch) adds a block to its part's sum. Buffers in
            ``scratch`` belong to the thread.
        block_rows : int, optional
            Rows per block, at most; by default as opened.
        parts : int
            Parts that are summed up apart: fewer where a sum is large. At least one per thread.

        Returns
        -------
        list
            The sums, in the order of the rows.
        """
        self.count += 1
        n = self.rows.shape[0]
        step = rows_at_once(block_rows, self._usual_rows, n, parts)
        n_blocks = -(-n // step)
        parts = max(1, min(max(parts, self.threads), n_blocks))
        cuts = [i * n_blocks // parts * step for i in range(parts)]

        def work(part: tuple[int, int], scratch: dict[str, FloatArray]) -> _T:
            total = new()
            for start in range(*part, step):
                stop = min(start + step, part[1])
                visit(total, start, stop, self.rows.read(start, stop, scratch), scratch)
            return total

        return self._with_scratch(work, list(zip(cuts, [*cuts[1:], n], strict=True)))

    def ask(self, question: Question[_T], data: RowData | None = None) -> _T:
        """Sum a question up over all rows: here, or wherever their shards are held.

        Parameters
        ----------
        question : Question
            What is summed up.
        data : RowData, optional
            What it needs of every row beside the features.

        Returns
        -------
        object
            The sum. Of rows that lie in one place it is that of :meth:`run`; of shards it is
            the same whoever holds them.
        """
        layout = self.rows.layout
        if layout is None or not layout.shards:

            def visit(total: _T, start: int, stop: int, block: FloatArray, scratch: Any) -> None:
                question.visit(total, data, slice(start, stop), block, scratch)

            sums = self.run(
                question.new, visit, block_rows=question.block_rows, parts=question.parts
            )
            return fold(sums, question.merge)
        self.count += 1
        numbers = [shard.number for shard in layout.shards]
        tree: Tree[_T] = Tree(numbers, question.merge)
        if layout.workers is not None:
            for node, total in layout.workers.ask(question, data, layout):
                tree.put(node, total)
            return tree.root()
        held = [
            Held(shard.number, self.rows, data, shard.start, shard.stop) for shard in layout.shards
        ]
        return self.answer(question, held, numbers).root()

    def answer(
        self, question: Question[_T], shards: Sequence[Held], everyone: Sequence[int]
    ) -> Tree[_T]:
        """Answer for some shards; see :func:`~bottleneck.heads.solver.question.answer`."""
        return answer(
            question, shards, everyone, block_rows=self._usual_rows, visit=self._with_scratch
        )

    @property
    def _usual_rows(self) -> int:
        return self.block_rows or BLOCK_ROWS

    def _with_scratch(
        self, function: Callable[[Any, dict[str, FloatArray]], _T], items: list[Any]
    ) -> list[_T]:
        """Apply a function to each item and the scratch of its thread."""

        def work(item: Any) -> _T:
            scratch = self._scratch.pop()  # list operations are atomic
            try:
                return function(item, scratch)
            finally:
                self._scratch.append(scratch)

        return self.each(work, items)

    def each(self, function: Callable[[Any], _T], items: list[Any]) -> list[_T]:
        """Apply a function to each item, in the threads, with the caller's ``errstate``."""
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        # A thread has a context of its own, and one context is for one thread at a time.
        contexts = [copy_context() for _ in items]
        return list(self._pool.map(lambda item, own: own.run(function, item), items, contexts))


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
    if threads is None or threads < 1:
        threads = available_cores()
    opened = Pass(rows, block_rows, threads, engine)
    with blas_threads(1):
        try:
            yield opened
        finally:
            opened.close()
