"""The same image twice: equal bytes, or features so close that it is the same picture again.

Pairs are counted and never kept, so memory does not grow with how many there are: 1,000 blank
images are half a million pairs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bottleneck.comparison.distinct import Distinct
from bottleneck.comparison.nearness import least_cosines
from bottleneck.heads.rows import Rows

MOST_PRODUCTS = 100_000**2 * 1280
"""Rows times rows times features above which near duplicates are not looked for: all pairs are
compared, which takes some minutes on two cores at this size."""


def exact_sets(digests: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Find rows whose images are equal byte for byte.

    Parameters
    ----------
    digests : ndarray of uint8, shape (n, 16)
        Hash of each row's image; zeros where it is not known.

    Returns
    -------
    ndarray of int64, shape (n,)
        Number of the set of each row, from 0 on by first rows; -1 for a row that is alone.
    """
    known = np.flatnonzero(digests.any(axis=1))
    if not len(known):
        return np.full(len(digests), -1)
    labels = np.arange(len(digests))
    _, first, inverse = np.unique(digests[known], axis=0, return_index=True, return_inverse=True)
    labels[known] = known[first[inverse.ravel()]]
    return number_sets(labels)


def most_rows(dim: int) -> int:
    """Return how many rows of a length near duplicates are looked for among."""
    return math.isqrt(MOST_PRODUCTS // dim)


def number_sets(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number the labels that occur more than once, by their first row; -1 for the others."""
    _, first, inverse, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    several = np.flatnonzero(counts > 1)
    number = np.full(len(counts), -1)
    number[several[np.argsort(first[several])]] = np.arange(len(several))
    return number[inverse]


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Rows that nearly show the same image, and training rows behind test rows.

    Parameters
    ----------
    sets : ndarray of int64, shape (n,)
        Number of the set of each row, -1 for a row that is alone. Sets that share a row are one.
    similarity : ndarray of float32, shape (n,)
        Cosine with the most similar other row of the set, 1 for equal features, 0 without a set.
    least : ndarray of float32, shape (n,)
        Least cosine that counted as near, of each row; a pair has to reach that of both.
    train_rows : ndarray of int64, shape (n,)
        How many training rows are near to each test row; 0 for other rows.
    nearest_train : ndarray of int64, shape (n,)
        The most similar of them, -1 where there is none.
    train_similarity : ndarray of float32, shape (n,)
        Its cosine.
    """

    sets: NDArray[np.int64]
    similarity: NDArray[np.float32]
    least: NDArray[np.float32]
    train_rows: NDArray[np.int64]
    nearest_train: NDArray[np.int64]
    train_similarity: NDArray[np.float32]


def near_duplicates(
    rows: Rows,
    y: NDArray[np.int64],
    *,
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    threshold: float | None = None,
) -> NearDuplicates:
    """Find rows whose features point in nearly the same direction.

    Features are centred first: what all images share would make them all alike. Rows of equal
    features are compared once, for all of them.

    Parameters
    ----------
    rows : Rows
        Features of a backbone, shape (n, d).
    y : ndarray of int64, shape (n,)
        Classes: they tell how alike different images are.
    train, test : ndarray of bool, shape (n,)
        Which rows are of which split.
    threshold : float, optional
        Least cosine; by default from the data, see :mod:`bottleneck.comparison.nearness`.
    """
    distinct = Distinct(rows)
    first, of = distinct.first, distinct.of
    n_train = np.bincount(of[train], minlength=len(first))
    first_train = np.full(len(first), -1)
    behind = np.flatnonzero(train)[::-1]
    first_train[of[behind]] = behind
    least = (
        np.full(len(first), threshold, np.float32)
        if threshold is not None
        else least_cosines(distinct, y[first])
    )
    found = _Found(len(first), n_train)
    for a, left in distinct.blocks():
        for b, right in distinct.blocks(a.start):
            cosine = left @ right.T
            near = cosine >= np.maximum(least[a][:, None], least[b][None])
            if a == b:
                np.fill_diagonal(near, False)
            if near.any():
                found.add(a, b, cosine, near)
    return _of_rows(found, of, first_train, least, test)


def _of_rows(
    found: "_Found",
    of: NDArray[np.int64],
    first_train: NDArray[np.int64],
    least: NDArray[np.float32],
    test: NDArray[np.bool_],
) -> NearDuplicates:
    """Tell of all rows what was found of the distinct ones."""
    sets = number_sets(found.labels[of])
    alone = np.bincount(of)[of] > 1  # equal features, whether or not others are near
    cosine = np.minimum(found.similarity, 1)[of]
    cosine = np.where(cosine > 0, cosine, np.where(alone, 1, 0))
    own = first_train >= 0
    nearest = np.where(own, first_train, first_train[found.nearest])
    similarity = np.where(own, 1, np.minimum(found.train_similarity, 1))
    count = np.where(test, (found.train_rows + found.n_train)[of], 0)
    leaked = count > 0
    return NearDuplicates(
        sets=sets,
        similarity=np.where(sets >= 0, cosine, 0).astype(np.float32),
        least=least[of],
        train_rows=count,
        nearest_train=np.where(leaked, nearest[of], -1),
        train_similarity=np.where(leaked, similarity[of], 0).astype(np.float32),
    )


class _Found:
    """What is known of each distinct row after some blocks."""

    def __init__(self, n: int, n_train: NDArray[np.int64]) -> None:
        self.n_train = n_train
        self.labels = np.arange(n)
        self.similarity = np.zeros(n, np.float32)
        self.train_rows = np.zeros(n, np.int64)
        self.nearest = np.zeros(n, np.int64)
        self.train_similarity = np.zeros(n, np.float32)

    def add(self, a: slice, b: slice, cosine: NDArray[np.float32], near: NDArray[np.bool_]) -> None:
        self._look(a, b, cosine, near)
        if a != b:
            self._look(b, a, cosine.T, near.T)
        left, right = np.nonzero(near)
        ends = np.stack([self.labels[a][left], self.labels[b][right]])
        ends = ends[:, ends[0] != ends[1]]
        if ends.size:
            n = len(self.labels)
            links = coo_array((np.ones(ends.shape[1], np.bool_), tuple(ends)), shape=(n, n))
            joined = connected_components(links, directed=False)[1]
            self.labels = joined[self.labels].astype(np.int64)

    def _look(
        self, a: slice, b: slice, cosine: NDArray[np.float32], near: NDArray[np.bool_]
    ) -> None:
        """Tell rows ``a`` of their neighbours in ``b``."""
        cosine = np.where(near, cosine, 0)
        self.similarity[a] = np.maximum(self.similarity[a], cosine.max(axis=1))
        self.train_rows[a] += near @ self.n_train[b]
        of_train = np.where(self.n_train[b] > 0, cosine, 0)
        best = of_train.argmax(axis=1)
        height = of_train[np.arange(len(best)), best]
        better = height > self.train_similarity[a]
        self.nearest[a] = np.where(better, best + b.start, self.nearest[a])
        self.train_similarity[a] = np.where(better, height, self.train_similarity[a])


def keep_together(
    groups: NDArray[np.int32], sets: list[NDArray[np.int64]], n_folds: int
) -> NDArray[np.int32]:
    """Join groups with sets of duplicates: rows that belong to one fold.

    A set that is larger than a fold is left out: that many images are not one image again, but
    what the backbone cannot tell apart (blank ones, for example), and no fold could hold it.

    Parameters
    ----------
    groups : ndarray of int32, shape (n,)
        Group codes, -1 for none.
    sets : list of ndarray of int64, shape (n,)
        Numbers of sets, -1 for rows that are alone.
    n_folds : int

    Returns
    -------
    ndarray of int32, shape (n,)
        Codes, -1 for rows that belong to no others.
    """
    n = len(groups)
    most = math.ceil(n / n_folds)
    rows, names, taken = [], [], n
    for i, codes in enumerate([groups.astype(np.int64), *sets]):
        counts = np.bincount(codes[codes >= 0], minlength=1)
        kept = np.flatnonzero((codes >= 0) & ((counts[codes] <= most) | (i == 0)))
        rows.append(kept)
        names.append(codes[kept] + taken)
        taken += len(counts)
    ends = (np.concatenate(rows), np.concatenate(names))
    links = coo_array((np.ones(len(ends[0]), np.bool_), ends), shape=(taken, taken))
    joined = connected_components(links, directed=False)[1][:n]
    # A group of one row is a group still.
    return np.where((number_sets(joined) >= 0) | (groups >= 0), joined, -1).astype(np.int32)
