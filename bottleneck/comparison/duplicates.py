"""The same image twice: equal bytes, or features so close that it is the same picture again.

How alike different images are, so that what is more alike can be called a duplicate.

One cosine does not fit all: of two shoes of one model it is above 0.95, of two landscapes below
0.3. So it is taken from the data, by how many rows of the same class lie how near. In m dimensions
the number of rows within a distance t grows as t to the power m; where the k-th neighbour is at
d_k, k (t / d_k)^m are expected within t. The dimension comes from the distances of two neighbours
(E. Levina and P. Bickel, Maximum Likelihood Estimation of Intrinsic Dimension, NIPS 2004), both
further than the duplicates of a row usually reach. A distance below which hardly any pair of
different images is expected, in the whole set, is that of a duplicate.

Pairs are counted and never kept, so memory does not grow with how many there are: 1,000 blank
images are half a million pairs.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bottleneck.heads.rows import FloatArray, Rows

BLOCK = 1024
"""Rows read at a time."""


class Distinct:
    """Rows of equal features as one; what all have in common is taken off.

    Parameters
    ----------
    rows : Rows, shape (n, d)

    Attributes
    ----------
    shape : tuple of int
        How many different rows, m, and features.
    first : ndarray of int64, shape (m,)
        The first row of each, ascending.
    of : ndarray of int64, shape (n,)
        Which of them each row is.
    rank : ndarray of int64, shape (m,)
        Their order by a hash of the features: no matter which came first, as good as random.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        digests = _digests(rows)
        _, first, inverse = np.unique(digests, axis=0, return_index=True, return_inverse=True)
        self.rank = np.argsort(first)
        self.first = first[self.rank]
        place = np.empty_like(self.rank)
        place[self.rank] = np.arange(len(first))
        self.of = place[inverse.ravel()]
        self.shape = (len(first), rows.shape[1])
        self._mean = np.zeros(rows.shape[1])
        for _, block in self._read(0):
            self._mean += block.sum(axis=0, dtype=np.float64) / len(first)

    def blocks(self, start: int = 0) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield runs of the different rows, from one of them on, and these rows."""
        for run, block in self._read(start):
            unit = (block - self._mean).astype(np.float32)
            length = np.linalg.norm(unit, axis=1, keepdims=True)
            unit /= np.where(length > 0, length, 1)
            yield run, unit

    def _read(self, start: int) -> Iterator[tuple[slice, FloatArray]]:
        scratch: dict[str, FloatArray] = {}
        for begin in range(start, len(self.first), BLOCK):
            chosen = self.first[begin : begin + BLOCK]
            block = np.empty((len(chosen), self.shape[1]), self._rows.dtype)
            # Any number of others may lie between them: these are read in runs too.
            for at in range(int(chosen[0]), int(chosen[-1]) + 1, BLOCK):
                stop = min(at + BLOCK, self._rows.shape[0])
                here = np.flatnonzero((chosen >= at) & (chosen < stop))
                if len(here):
                    block[here] = self._rows.read(at, stop, scratch)[chosen[here] - at]
            yield slice(begin, begin + len(chosen)), block


def _digests(rows: Rows) -> NDArray[np.uint8]:
    digests = np.empty((rows.shape[0], 16), np.uint8)
    scratch: dict[str, FloatArray] = {}
    for start in range(0, len(digests), BLOCK):
        # Adding zero: -0 and 0 are the same number in other bytes.
        block = rows.read(start, min(start + BLOCK, len(digests)), scratch) + 0
        for i, row in enumerate(block):
            digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            digests[start + i] = np.frombuffer(digest, np.uint8)
    return digests


LEAST_COSINE = 0.9
"""Least cosine of centred features of near duplicates, whatever the data say: below it, images
look different. Measured on the sample with EfficientNet-Lite0: copies at twice the size are at 0.96
or more (19 in 20 of them), JPEG copies of quality 95 at 0.93 (the images are tiny: photographs lose
less), while of 1,000 different images the two closest pairs are at 0.90 and 0.92."""

EXPECTED = 0.1
"""Rows that may count as duplicates by chance, in the whole set."""

_NEIGHBOUR = 10
"""Which neighbour, among a sample of the class, tells how dense a place is."""

_LARGEST_SAMPLE = 500
_SAMPLE_BYTES = 64e6


def least_cosines(distinct: Distinct, y: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return from which cosine on a row's neighbour is a duplicate.

    Parameters
    ----------
    distinct : Distinct
        The different rows.
    y : ndarray of int64, shape (m,)
        Their classes.

    Returns
    -------
    ndarray of float32, shape (m,)
    """
    sizes = np.bincount(y)
    if sizes.max() < 3:
        y, sizes = np.zeros_like(y), np.array([len(y)])
    sample = _sample(distinct, y, sizes)
    far, ratio = np.full(len(y), np.nan), np.full(len(y), np.nan)
    for run, block in distinct.blocks():
        for code in np.unique(y[run]):
            members = np.flatnonzero(y[run] == code)
            own, unit = sample[code]
            k = min(_NEIGHBOUR, len(own) - 1)
            if k < 2:
                continue
            distance = _distances(block[members] @ unit.T)
            distance[own[None] == (members + run.start)[:, None]] = np.inf
            distance.partition((k // 2 - 1, k - 1), axis=1)
            far[members + run.start] = distance[:, k - 1]
            ratio[members + run.start] = np.log(distance[:, k - 1] / distance[:, k // 2 - 1])
    within = _within(y, sizes, sample, far, ratio)
    return np.maximum(1 - within**2 / 2, LEAST_COSINE).astype(np.float32)


def _sample(
    distinct: Distinct, y: NDArray[np.int64], sizes: NDArray[np.int64]
) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Take some rows of each class into memory: their numbers and themselves."""
    budget = int(_SAMPLE_BYTES / 4 / distinct.shape[1] / np.count_nonzero(sizes))
    most = min(_LARGEST_SAMPLE, max(_NEIGHBOUR + 1, budget))
    order = np.lexsort((distinct.rank, y))
    starts = np.cumsum(sizes) - sizes
    chosen = np.zeros(len(y), np.bool_)
    chosen[order[np.arange(len(y)) - starts[y[order]] < most]] = True
    taken = np.flatnonzero(chosen)
    rows = np.concatenate([block[chosen[run]] for run, block in distinct.blocks()])
    return {int(code): (taken[y[taken] == code], rows[y[taken] == code]) for code in np.unique(y)}


def _within(
    y: NDArray[np.int64],
    sizes: NDArray[np.int64],
    sample: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]],
    far: NDArray[np.float64],
    ratio: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the distance of each row within which hardly any other one is expected."""
    dimension, rank = np.full(len(sizes), np.nan), np.full(len(sizes), np.nan)
    for code, (own, _) in sample.items():
        k = min(_NEIGHBOUR, len(own) - 1)
        if k < 2:
            continue
        steps = (1 / np.arange(k // 2, k)).sum()
        dimension[code] = steps / max(float(np.median(ratio[y == code])), 1e-9)
        rank[code] = k * sizes[code] / len(own)
    known = np.isfinite(dimension)
    if not known.any():
        return np.zeros(len(y))
    # A class of few rows may look as if it had many dimensions.
    dimension = np.minimum(dimension, np.average(dimension[known], weights=sizes[known]))
    chance = EXPECTED / (len(y) * rank[y])
    within: NDArray[np.float64] = far * np.minimum(chance, 1) ** (1 / dimension[y])
    # Of classes with one or two rows nothing is known: they are as the others are.
    within[~np.isfinite(within)] = np.nanmedian(within)
    return within


def _distances(cosine: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(2 - 2 * cosine.astype(np.float64), 1e-12))


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
        Least cosine; by default from the data, see :mod:`bottleneck.comparison.duplicates`.
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
