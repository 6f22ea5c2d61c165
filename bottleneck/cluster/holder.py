"""One worker of passes over shards: it holds some, and answers questions about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bottleneck.cores import available_cores
from bottleneck.heads.rows import ArrayRows, FileRows, Rows, SubsetRows
from bottleneck.heads.set_rows import ShardRows, StoredShard
from bottleneck.heads.solver.question import Held, Node, Question, RowData
from bottleneck.heads.solver.row_pass import BLOCK_ROWS, Pass

HELD_BYTES = 8 << 30
"""Features a worker keeps in memory; what is beyond is read from its file in every pass."""


class Source(Protocol):
    """Says where the rows of a shard are; it can be sent."""

    def open(self) -> Rows:
        """Open them."""
        ...


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of a worker about one shard.

    Parameters
    ----------
    number : int
        The shard.
    source : Source
        Its rows.
    taken : tuple of int and ndarray of int64, or None
        A token, and which of the rows take part; the array is None where it was sent before.
    data : tuple of int and RowData, or None
        A token, and what else is known of those rows; as ``taken``.
    """

    number: int
    source: Source
    taken: tuple[int, NDArray[np.int64] | None] | None
    data: tuple[int, RowData | None] | None


class Holder:
    """Holds shards, as they are asked about, and answers.

    Parameters
    ----------
    threads : int, optional
        By default one per core.
    held_bytes : int
        Features kept in memory.
    """

    def __init__(self, threads: int | None = None, held_bytes: int = HELD_BYTES) -> None:
        self._threads = threads or available_cores()
        self._room = held_bytes
        self._rows: dict[int, Rows] = {}
        self._pieces: dict[tuple[int, int], Any] = {}

    def ask(
        self,
        question: Question[Any],
        shards: Sequence[Asked],
        everyone: Sequence[int],
        alive: Sequence[int],
    ) -> Mapping[Node, Any]:
        """Answer for some shards.

        Parameters
        ----------
        question : Question
            What is asked.
        shards : sequence of Asked
            About what.
        everyone : sequence of int
            All shards that take part, here and elsewhere.
        alive : sequence of int
            Tokens that may be used again; what is known by others is forgotten.

        Returns
        -------
        dict of Node to sum
        """
        kept = set(alive)
        self._pieces = {at: piece for at, piece in self._pieces.items() if at[1] in kept}
        held = [self._held(asked) for asked in shards]
        with threadpool_limits(1, user_api="blas"):
            run = Pass(held[0].rows, BLOCK_ROWS, self._threads)
            try:
                return run.answer(question, held, everyone).nodes
            finally:
                run.close()

    def forget(self) -> None:
        """Let go of all shards."""
        self._rows.clear()
        self._pieces.clear()

    def _held(self, asked: Asked) -> Held:
        if asked.number not in self._rows:
            self._rows[asked.number] = self._opened(asked.source)
        rows = self._rows[asked.number]
        at = self._piece(asked.number, asked.taken)
        if at is not None:
            rows = SubsetRows(rows, at)
        data = self._piece(asked.number, asked.data)
        return Held(asked.number, rows, data, 0, rows.shape[0])

    def _piece(self, number: int, given: tuple[int, Any] | None) -> Any:
        if given is None:
            return None
        token, piece = given
        if piece is not None:
            self._pieces[number, token] = piece
        return self._pieces[number, token]

    def _opened(self, source: Source) -> Rows:
        rows = source.open()
        if isinstance(rows, ArrayRows | FileRows) and rows.stored_bytes <= self._room:
            self._room -= rows.stored_bytes
            return rows.in_memory()
        if isinstance(source, StoredShard):  # a worker may have more shards than descriptors
            return ShardRows(source, rows.shape, rows.dtype)
        return rows
