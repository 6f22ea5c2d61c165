"""Nearest neighbours as a head to compare: how many of them is selected like a strength.

The votes of 1, 3, ... neighbours, in all folds, are counted from one search for the largest number.
Rows are read block by block, so memory does not grow with them.
"""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.selected import Selected
from bottleneck.heads.rows import Rows
from bottleneck.heads.selection.splits import folds
from bottleneck.heads.solver.neighbor_search import nearest_rows

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
    hits = np.zeros((n_folds, len(NEIGHBORS)))
    # One search for all folds: nobody is a neighbour of the rows of its own fold.
    k = min(max(NEIGHBORS), rows.shape[0])
    for at, distances, numbers in nearest_rows(rows, rows, k, apart=fold):
        here = slice(at, at + len(numbers))
        for column, count in enumerate(NEIGHBORS):
            shares = _shares(y[numbers[:, :count]], distances[:, :count], n_classes)
            said = shares.argmax(axis=1) == y[here]
            hits[:, column] += np.bincount(fold[here], said, minlength=n_folds)
    right = hits / np.bincount(fold, minlength=n_folds)[:, None]
    mean = right.mean(axis=0)
    # Of equal ones the larger number: its votes are steadier.
    best = NEIGHBORS[len(NEIGHBORS) - 1 - int(np.argmax(mean[::-1] >= mean.max() - 1e-12))]
    cv = tuple(
        {"params": {"k": float(k)}, "mean": float(column.mean()), "std": float(column.std())}
        for k, column in zip(NEIGHBORS, right.T, strict=True)
    )

    def predict(asked: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        shares = np.empty((asked.shape[0], n_classes))
        k = min(best, rows.shape[0])
        for at, distances, numbers in nearest_rows(rows, asked, k):
            shares[at : at + len(numbers)] = _shares(y[numbers], distances, n_classes)
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
    asked: Rows,
    truth: NDArray[np.int64],
    *,
    n_classes: int,
    k: int,
) -> float:
    """Score the votes of some rows on others."""
    right = 0
    for at, distances, numbers in nearest_rows(rows, asked, min(k, rows.shape[0])):
        said = _shares(y[numbers], distances, n_classes).argmax(axis=1)
        right += int((said == truth[at : at + len(said)]).sum())
    return right / len(truth)


def _shares(
    voted: NDArray[np.int64], distances: NDArray[np.float64], n_classes: int
) -> NDArray[np.float64]:
    """Return each class's share among the neighbours of each row; at infinity there are none."""
    there = np.isfinite(distances)
    votes = np.zeros((len(voted), n_classes))
    np.add.at(votes, (np.arange(len(voted))[:, None], voted), there)
    shares: NDArray[np.float64] = votes / there.sum(axis=1, keepdims=True)
    return shares
