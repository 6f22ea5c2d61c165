"""Questions to all rows, and how the answers of shards become one.

A solver asks for sums: of losses and gradients, of moments, of right answers. A question is a
value, so that it can be sent to whoever holds the rows; what it needs of every row beside the
features (labels, membership, weights) is data apart from it, which is sent once. The answers of
shards are added along a fixed binary tree of the shards' numbers, so that who answers for which
shard, and in which order, does not change a bit of the result.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.matrix import FloatArray, Layout, Rows, next_token

T = TypeVar("T")

Node: TypeAlias = tuple[int, int]
"""A place in the tree: level and number. ``(0, k)`` is shard k, ``(1, k)`` shards 2k and 2k + 1."""

Scratch: TypeAlias = dict[str, FloatArray]

PARTS = 8
"""Parts of a shard that are summed up apart and then added in order: with up to as many
threads, their number does not change a result."""


class Question(Protocol[T]):
    """What is asked of all rows: a sum over their blocks. It can be pickled.

    Attributes
    ----------
    block_rows : int or None
        Rows per block, at most; by default as the rows were opened.
    parts : int
        Parts of a shard that are summed up apart: fewer where a sum is large.
    """

    @property
    def block_rows(self) -> int | None:
        """Return the rows per block."""
        ...

    @property
    def parts(self) -> int:
        """Return the parts of a shard."""
        ...

    def new(self) -> T:
        """Return a sum of no rows."""
        ...

    def visit(self, total: T, data: Any, here: slice, block: FloatArray, scratch: Scratch) -> None:
        """Add the rows ``here``, whose features are ``block``, to a sum.

        ``data`` is the :class:`RowData` that the question was asked with. Buffers in ``scratch``
        belong to the thread.
        """
        ...

    def merge(self, total: T, other: T) -> T:
        """Return the sum of two sums, of which the second one is of later rows."""
        ...


class RowData:
    """What a question needs of every row beside the features; subclasses hold arrays of it.

    It is sent to those who hold the rows once, and known by its token after that.
    """

    @cached_property
    def token(self) -> int:
        """A number that no other data of this process have."""
        return next_token()

    def cut(self, start: int, stop: int) -> Self:
        """Return the data of rows ``start`` to ``stop``."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Columns(RowData):
    """Arrays by name, whose last axis is the rows.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The arrays.
    """

    arrays: Mapping[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]

    def cut(self, start: int, stop: int) -> "Columns":
        """Return the data of rows ``start`` to ``stop``."""
        return Columns({name: array[..., start:stop] for name, array in self.arrays.items()})


class SumOfArrays:
    """Part of questions whose sums are arrays, or lists and tuples of such, that add up."""

    block_rows: int | None = None
    parts: int = PARTS

    def merge(self, total: Any, other: Any) -> Any:
        """Return the sum; the first one is written over."""
        return add(total, other)


class ListOfRows:
    """Part of questions whose answers are lists of arrays, in the order of the rows."""

    block_rows: int | None = None
    parts: int = PARTS

    def new(self) -> list[Any]:
        """Return no rows."""
        return []

    def merge(self, total: list[Any], other: list[Any]) -> list[Any]:
        """Return one after the other."""
        return total + other


def add(total: Any, other: Any) -> Any:
    """Add arrays, or lists and tuples of arrays; the first ones are written over where they may."""
    if isinstance(total, np.ndarray):
        return np.add(total, other, out=total if total.flags.writeable else None)
    return type(total)(add(mine, its) for mine, its in zip(total, other, strict=True))


class Workers(Protocol):
    """Those who hold the shards and answer questions about them."""

    def ask(
        self, question: Question[T], data: RowData | None, layout: Layout
    ) -> Iterable[tuple[Node, T]]:
        """Return sums of the tree's nodes that together are all shards of the layout, each once.

        Parameters
        ----------
        question : Question
            What is asked.
        data : RowData or None
            Of all rows of the layout.
        layout : Layout
            Which rows.
        """
        ...

    def devices(self) -> Sequence[str]:
        """Name what they compute on: each device once, in order."""
        ...


@dataclass(frozen=True)
class Held:
    """A shard as its holder has it.

    Parameters
    ----------
    number : int
        Its number.
    rows : Rows
        Where its features are.
    data : object
        What else is known of the rows.
    start, stop : int
        Which of ``rows``, and of ``data``.
    """

    number: int
    rows: Rows
    data: Any
    start: int
    stop: int


def answer(
    question: Question[T],
    shards: Sequence[Held],
    everyone: Sequence[int],
    *,
    block_rows: int,
    visit: Callable[[Callable[[Any, Scratch], None], list[Any]], list[None]],
) -> "Tree[T]":
    """Answer for some shards, with the tree's sums of them that need no other shard.

    Parameters
    ----------
    question : Question
        What is asked.
    shards : sequence of Held
        The shards.
    everyone : sequence of int
        Numbers of all shards that are asked, here and elsewhere.
    block_rows : int
        Rows per block, where the question does not say it.
    visit : callable
        Applies a function to items, in threads, with the thread's scratch.

    Returns
    -------
    Tree
        Whose nodes are the sums.
    """
    tree = Tree(everyone, question.merge)
    steps = {
        held.number: rows_at_once(
            question.block_rows, block_rows, held.stop - held.start, question.parts
        )
        for held in shards
    }
    found = {
        held.number: _Parts[T](_cuts(held.start, held.stop, steps[held.number], question.parts))
        for held in shards
    }

    def work(unit: tuple[Held, int], scratch: Scratch) -> None:
        held, part = unit
        parts = found[held.number]
        total = question.new()
        (begin, end), step = parts.cuts[part], steps[held.number]
        for start in range(begin, end, step):
            stop = min(start + step, end)
            block = held.rows.read(start, stop, scratch)
            question.visit(total, held.data, slice(start, stop), block, scratch)
        complete = parts.put(part, total)
        if complete is not None:
            del found[held.number]
            tree.put((0, held.number), fold(complete, question.merge))

    visit(work, [(held, i) for held in shards for i in range(len(found[held.number].cuts))])
    return tree


def rows_at_once(wanted: int | None, usual: int, rows: int, parts: int) -> int:
    """Return the rows per block: as many as wanted, but not so many that a part has none.

    Parameters
    ----------
    wanted : int or None
        By a question.
    usual : int
        Where it does not say; fewer than that only where so many are wanted.
    rows, parts : int
        How many rows there are, in how many parts.
    """
    return usual if wanted is None else min(wanted, max(usual, -(-rows // parts)))


def _cuts(start: int, stop: int, step: int, parts: int) -> list[tuple[int, int]]:
    """Cut rows at blocks into parts of about one size."""
    n_blocks = -(-(stop - start) // step)
    parts = max(1, min(parts, n_blocks))
    cuts = [start + i * n_blocks // parts * step for i in range(parts)]
    return list(zip(cuts, [*cuts[1:], stop], strict=True))


class _Parts(Generic[T]):
    """Sums of a shard's parts, until all are there."""

    def __init__(self, cuts: list[tuple[int, int]]) -> None:
        self.cuts = cuts
        self._sums: dict[int, T] = {}
        self._lock = Lock()

    def put(self, part: int, total: T) -> list[T] | None:
        """Note a sum; return all of them, in order, when this was the last."""
        with self._lock:
            self._sums[part] = total
            if len(self._sums) < len(self.cuts):
                return None
            return [self._sums[i] for i in range(len(self.cuts))]


def fold(sums: Sequence[T], merge: Callable[[T, T], T]) -> T:
    """Add one or more sums in the order given."""
    total, *others = sums
    for other in others:
        total = merge(total, other)
    return total


@dataclass(eq=False)
class Tree(Generic[T]):
    """Sums of shards, added as soon as both halves of a node are there.

    Parameters
    ----------
    numbers : sequence of int
        The shards that take part. A half without any leaves the node to the other half.
    merge : callable
        Adds two sums.

    Attributes
    ----------
    nodes : dict of Node to sum
        What is there, as far up as it goes.
    """

    numbers: Sequence[int]
    merge: Callable[[T, T], T]
    nodes: dict[Node, T] = field(default_factory=dict)
    _lock: Any = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._levels = levels(self.numbers)

    def put(self, node: Node, total: T) -> None:
        """Add a node's sum; from any thread."""
        level, number = node
        while level < len(self._levels) - 1:
            other = number ^ 1
            if other in self._levels[level]:
                with self._lock:
                    found = self.nodes.pop((level, other), _ABSENT)
                    if found is _ABSENT:
                        self.nodes[level, number] = total
                        return
                pair = (total, found) if number < other else (found, total)
                total = self.merge(*pair)
            level, number = level + 1, number // 2
        with self._lock:
            self.nodes[level, number] = total

    def root(self) -> T:
        """Return the sum of all shards."""
        (total,) = self.nodes.values()
        return total


_ABSENT: Any = object()


def levels(numbers: Iterable[int]) -> list[set[int]]:
    """Return the nodes with shards under them, level by level, up to the one of all."""
    found = [set(numbers)]
    while len(found[-1]) > 1:
        found.append({number // 2 for number in found[-1]})
    return found
