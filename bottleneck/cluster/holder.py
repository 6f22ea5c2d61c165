"""One worker of passes over shards: it holds some, and answers questions about them."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.cores import available_cores
from bottleneck.heads.rows import ArrayRows, FileRows, Rows, SubsetRows
from bottleneck.heads.set_rows import ShardRows, StoredShard
from bottleneck.heads.solver.engine import EngineName, Sums, Work
from bottleneck.heads.solver.engines import engine_named
from bottleneck.heads.solver.question import Held, Node, Question, RowData, Tree
from bottleneck.heads.solver.row_pass import BLOCK_ROWS, Pass, blas_threads
from bottleneck.memory import available_memory

HELD_BYTES = 8 << 30
"""Features a worker keeps in memory; what is beyond is read from its file in every pass."""

HELD_SHARE = 0.5
"""Share of the memory that can still be had which a shard may take of it, too: workers share a
machine, and what a pass computes takes memory as well."""


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
        Features kept in memory, at most.
    engine : {"numpy", "keras"}
        What losses and gradients are computed with. Keras keeps features on a GPU besides, as
        far as they find room there.
    device : str, optional
        Of Keras; see :func:`bottleneck.runtimes.placed`.
    """

    def __init__(
        self,
        threads: int | None = None,
        held_bytes: int = HELD_BYTES,
        engine: EngineName = "numpy",
        device: str | None = None,
    ) -> None:
        self._threads = threads or available_cores()
        self._room = held_bytes
        self._rows: dict[int, Rows] = {}
        self._pieces: dict[tuple[int, int], Any] = {}
        self._engine: Any = engine_named(engine, device)
        self._names: set[tuple[int, int | None]] = set()

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
        if self._engine is not None and isinstance(question, Work):
            return self._on_device(question, shards, held, everyone, kept)
        with blas_threads(1):
            run = Pass(held[0].rows, BLOCK_ROWS, self._threads)
            try:
                return run.answer(question, held, everyone).nodes
            finally:
                run.close()

    def _on_device(
        self,
        work: Work,
        shards: Sequence[Asked],
        held: Sequence[Held],
        everyone: Sequence[int],
        alive: Container[int],
    ) -> Mapping[Node, Sums]:
        """Answer by the engine, which knows the rows of a shard by its number and their token."""
        tree: Tree[Sums] = Tree(everyone, work.merge)
        names = {asked.number: (asked.number, asked.taken and asked.taken[0]) for asked in shards}
        self._names |= set(names.values())
        self._names = {name for name in self._names if name[1] is None or name[1] in alive}
        self._engine.keep_only(self._names)
        for one in held:
            name = names[one.number]
            found = self._engine.sums(one.rows, work, one.data, one.start, one.stop, name=name)
            tree.put((0, one.number), found)
        return tree.nodes

    def device(self) -> str:
        """Name what losses and gradients are computed on."""
        return "cpu" if self._engine is None else str(self._engine.device)

    def forget(self) -> None:
        """Let go of all shards."""
        self._rows.clear()
        self._pieces.clear()
        self._names.clear()
        if self._engine is not None:
            self._engine.keep_only(())

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
        if isinstance(rows, ArrayRows | FileRows):
            size = rows.stored_bytes
            if size <= self._room and size <= HELD_SHARE * available_memory():
                self._room -= size
                return rows.in_memory()
        if isinstance(source, StoredShard):  # a worker may have more shards than descriptors
            return ShardRows(source, rows.shape, rows.dtype)
        return rows
