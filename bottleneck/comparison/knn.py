"""Nearest neighbours as a head to compare: how many of them is selected like a strength.

The votes of 1, 3, ... neighbours are all counted from one search for the largest number.
"""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.selected import Selected
from bottleneck.heads.rows import ArrayRows, Rows
from bottleneck.heads.splits import folds

NEIGHBORS = (1, 3, 5, 9, 15, 25)
"""Numbers of neighbours tried."""


def select_neighbors(
    rows: Rows,
    y: NDArray[np.int64],
    n_classes: int,
    *,
    keys: Sequence[str],
    groups: NDArray[np.int32],
    n_folds: int,
    seed: int,
) -> Selected:
    """Choose the number of neighbours by cross-validation; cosine distance.

    Parameters
    ----------
    rows : Rows, shape (n, d)
        Features of the training rows.
    y : ndarray of int64, shape (n,)
        Codes below ``n_classes``.
    n_classes : int
        Columns of the probabilities.
    keys, groups, n_folds, seed
        Decide the folds, see :func:`bottleneck.heads.folds`.
    """
    start = time.perf_counter()
    fold = folds(keys, y, groups, n_folds, seed)
    right = np.empty((n_folds, len(NEIGHBORS)))
    matrix = _in_memory(rows)
    for i in range(n_folds):
        inside, outside = np.flatnonzero(fold != i), np.flatnonzero(fold == i)
        votes = _votes(matrix[inside], y[inside], matrix[outside], n_classes, NEIGHBORS)
        right[i] = [np.mean(vote.argmax(axis=1) == y[outside]) for vote in votes]
    mean = right.mean(axis=0)
    # Of equal ones the larger number: its votes are steadier.
    best = NEIGHBORS[len(NEIGHBORS) - 1 - int(np.argmax(mean[::-1] >= mean.max() - 1e-12))]
    cv = tuple(
        {"params": {"k": float(k)}, "mean": float(column.mean()), "std": float(column.std())}
        for k, column in zip(NEIGHBORS, right.T, strict=True)
    )

    def predict(asked: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        (shares,) = _votes(matrix, y, _in_memory(asked), n_classes, (best,))
        return shares, shares

    return Selected(
        best={"k": float(best)},
        cv=cv,
        notes=(),
        seconds=time.perf_counter() - start,
        predict=predict,
    )


def neighbor_accuracy(
    rows: Rows,
    y: NDArray[np.int64],
    n_classes: int,
    members: NDArray[np.bool_],
    *,
    judged: NDArray[np.bool_],
    k: int,
) -> float:
    """Score the votes of some rows on others."""
    matrix = _in_memory(rows)
    inside, outside = np.flatnonzero(members), np.flatnonzero(judged)
    (shares,) = _votes(matrix[inside], y[inside], matrix[outside], n_classes, (k,))
    return float(np.mean(shares.argmax(axis=1) == y[outside]))


def _votes(
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    asked: NDArray[np.float32],
    n_classes: int,
    numbers: Sequence[int],
) -> list[NDArray[np.float64]]:
    """Return each class's share among the nearest rows, for several numbers of them."""
    from bottleneck.heads import KNeighbors

    model = KNeighbors(max(numbers)).fit(ArrayRows(X), y)
    _, nearest = model.kneighbors(ArrayRows(asked))
    found = []
    for k in numbers:
        voted = y[nearest[:, :k]]
        shares = np.zeros((len(voted), n_classes))
        np.add.at(shares, (np.arange(len(voted))[:, None], voted), 1)
        found.append(shares / voted.shape[1])
    return found


def _in_memory(rows: Rows) -> NDArray[np.float32]:
    return np.array(rows.read(0, rows.shape[0], {}), np.float32)
