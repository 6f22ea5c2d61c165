"""How alike different images are, so that what is more alike can be called a duplicate.

One cosine does not fit all: of two shoes of one model it is above 0.95, of two landscapes below
0.3. So it is taken from the data, by how many rows of the same class lie how near. In m dimensions
the number of rows within a distance t grows as t to the power m; where the k-th neighbour is at
d_k, k (t / d_k)^m are expected within t. The dimension comes from the distances of two neighbours
(E. Levina and P. Bickel, Maximum Likelihood Estimation of Intrinsic Dimension, NIPS 2004), both
further than the duplicates of a row usually reach. A distance below which hardly any pair of
different images is expected, in the whole set, is that of a duplicate.
"""

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.distinct import Distinct

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
