"""Which rows of a block are multiplied with which problems.

Folds differ in which rows they leave out. Products of a problem with rows of no weight come to
nothing, and a fifth of all products of five folds are such. A group of rows that the same subsets
have is multiplied with the problems of those alone, where that takes less time: rows are copied
for it, and small products take longer than in proportion.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Places: TypeAlias = NDArray[np.int64]

Group: TypeAlias = tuple[Places, Places]
"""Rows, and the problems they are multiplied with."""

_COPY = 3
"""Columns whose products with rows take as long as a copy of the rows."""

_STACK = 8
"""Columns by which the products of a stack take longer than in proportion to its own."""

_CALLS = 2_000_000
"""Features times rows times columns whose products take as long as the calls for a group."""

_FEWEST = 64
"""Rows of a group, at least: those of smaller ones are put together, with the subsets of all."""


def row_groups(
    inside: NDArray[np.bool_], place: Places, *, columns: int, features: int
) -> list[Group] | None:
    """Return what is multiplied with what; None where all rows with all problems is best.

    Parameters
    ----------
    inside : ndarray of bool, shape (subsets, rows)
        Rows with a weight.
    place : ndarray of int64, shape (p,)
        Each problem's subset.
    columns : int
        Of a problem.
    features : int
        Of a row.
    """
    if inside.all():
        return None
    n, p = inside.shape[1], len(place)
    some = int(np.count_nonzero(inside.any(axis=0)))
    own = int(np.count_nonzero(inside, axis=1)[place].sum())

    def cost(rows: int, products: int, groups: int, copied: bool = True) -> float:
        per_row = _STACK + _COPY * copied
        return products * columns + rows * per_row + groups * _CALLS / features

    least = cost(n, n * p, 1, copied=False)
    # Subsets that differ in their rows make about as many groups as they are.
    if cost(some, own, 1 if own == some * p else p) >= least <= cost(some, some * p, 1):
        return None
    found = None
    by_subsets = [(rows, np.flatnonzero(has[place])) for rows, has in _by_subsets(inside)]
    together = [(np.flatnonzero(inside.any(axis=0)), np.arange(p))] if some else []
    for groups in (together, by_subsets):
        products = sum(len(rows) * len(problems) for rows, problems in groups)
        if (takes := cost(some, products, len(groups))) < least:
            least, found = takes, groups
    return found


def _by_subsets(inside: NDArray[np.bool_]) -> list[tuple[Places, NDArray[np.bool_]]]:
    """Return groups of rows with the subsets that have any of them; rows of none are left out."""
    patterns = np.packbits(inside, axis=0)
    order = np.arange(inside.shape[1])
    for byte in patterns[::-1]:  # the first one counts most
        order = order[np.argsort(byte[order], kind="stable")]
    order = order[len(order) - np.count_nonzero(inside.any(axis=0)) :]
    of_rows = patterns[:, order]
    changes = np.flatnonzero((of_rows[:, 1:] != of_rows[:, :-1]).any(axis=0)) + 1
    bounds = [0, *_apart(changes.tolist(), len(order)), len(order)]
    groups = [order[start:stop] for start, stop in pairwise(bounds) if stop > start]
    return [(rows, np.asarray(inside[:, rows].any(axis=1))) for rows in groups]


def _apart(bounds: Sequence[int], end: int) -> Iterator[int]:
    """Yield bounds that leave enough rows before and behind them."""
    last = 0
    for bound in bounds:
        if min(bound - last, end - bound) >= _FEWEST:
            yield bound
            last = bound


def runs(places: Places) -> list[slice]:
    """Return ascending numbers as slices."""
    found: list[slice] = []
    for at in places.tolist():
        if found and found[-1].stop == at:
            found[-1] = slice(found[-1].start, at + 1)
        else:
            found.append(slice(at, at + 1))
    return found
