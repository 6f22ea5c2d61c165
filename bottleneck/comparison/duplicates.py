"""The same image twice: equal bytes, or features so close that it is the same picture again."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import Rows

MOST_ROWS = 50_000
"""Above this, near duplicates are not looked for: the work grows with the square."""

_BLOCK = 2048
_MOST_PAIRS = 100_000


@dataclass(frozen=True)
class Duplicates:
    """Rows that show the same image.

    Parameters
    ----------
    rows : tuple of int
        Two or more, ascending.
    exact : bool
        Whether the files are equal byte for byte.
    similarity : float
        Cosine of the least similar neighbours that hold the set together; 1 for equal bytes.
    """

    rows: tuple[int, ...]
    exact: bool
    similarity: float


def exact_duplicates(digests: NDArray[np.uint8]) -> list[Duplicates]:
    """Find rows whose images are equal byte for byte.

    Parameters
    ----------
    digests : ndarray of uint8, shape (n, 16)
        Hash of each row's image; zeros where it is not known.
    """
    known = np.flatnonzero(digests.any(axis=1))
    if not len(known):
        return []
    _, inverse, counts = np.unique(digests[known], axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    ends = np.concatenate([[0], np.cumsum(counts)])
    found = [
        Duplicates(tuple(sorted(known[order[start:stop]].tolist())), True, 1.0)
        for start, stop in pairwise(ends.tolist())
        if stop - start > 1
    ]
    return sorted(found, key=lambda one: one.rows)


def near_duplicates(rows: Rows, threshold: float) -> list[Duplicates]:
    """Find rows whose features point in nearly the same direction.

    Features are centred first: what all images share would make them all alike.

    Parameters
    ----------
    rows : Rows
        Features of a backbone, shape (n, d).
    threshold : float
        Least cosine.

    Returns
    -------
    list of Duplicates
        The most similar first; sets that share a row are joined. None of them is exact: that
        is for digests to say.
    """
    unit = _centred(rows)
    pairs: list[tuple[float, int, int]] = []
    for start in range(0, len(unit), _BLOCK):
        block = unit[start : start + _BLOCK]
        # Only rows from here on: every pair once.
        similar = block @ unit[start:].T
        left, right = np.nonzero(similar >= threshold)
        keep = left < right
        left, right = left[keep], right[keep]
        pairs += zip(
            np.minimum(similar[left, right], 1.0).tolist(),
            (left + start).tolist(),
            (right + start).tolist(),
            strict=True,
        )
        if len(pairs) > _MOST_PAIRS:
            pairs = sorted(pairs, key=_most_similar_first)[:_MOST_PAIRS]
    return _join(sorted(pairs, key=_most_similar_first))


def _most_similar_first(pair: tuple[float, int, int]) -> tuple[float, int, int]:
    return (-pair[0], pair[1], pair[2])


def _centred(rows: Rows) -> NDArray[np.float32]:
    n = rows.shape[0]
    unit = np.empty(rows.shape, np.float32)
    for start in range(0, n, _BLOCK):
        unit[start : start + _BLOCK] = rows.read(start, min(start + _BLOCK, n), {})
    unit -= unit.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = np.linalg.norm(unit, axis=1, keepdims=True)
    unit /= np.where(length > 0, length, 1)
    return unit


def _join(pairs: Iterable[tuple[float, int, int]]) -> list[Duplicates]:
    """Join pairs, the most similar first, into sets of rows."""
    sets: dict[int, list[int]] = {}
    least: dict[int, float] = {}
    for similarity, a, b in pairs:
        first, second = sets.setdefault(a, [a]), sets.setdefault(b, [b])
        if first is second:
            continue
        first.extend(second)
        for row in second:
            sets[row] = first
        least[id(first)] = similarity
    unique = {id(rows): rows for rows in sets.values()}
    found = [
        Duplicates(tuple(sorted(rows)), False, float(least[name])) for name, rows in unique.items()
    ]
    return sorted(found, key=lambda one: (-one.similarity, one.rows))
