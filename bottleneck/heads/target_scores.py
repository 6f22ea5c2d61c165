"""How good predictions of targets are: labels of which any may hold, and numbers."""

import numpy as np
from numpy.typing import NDArray


def average_precision(truth: NDArray[np.uint8], scores: NDArray[np.float64]) -> float:
    """Average precision of one label: the mean over its rows of the precision at their score.

    As scikit-learn's ``average_precision_score``; rows of equal score count together.

    Parameters
    ----------
    truth : ndarray, shape (n,)
        1 where the label holds, else 0.
    scores : ndarray of float64, shape (n,)
        The higher, the likelier.

    Returns
    -------
    float
        NaN where the label holds in no row.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order], dtype=np.float64)
    if not len(hits) or not hits[-1]:
        return float("nan")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision = hits[last] / (last + 1)
    return float(np.sum(np.diff(hits[last], prepend=0) * precision) / hits[-1])


def mean_average_precision(truth: NDArray[np.uint8], scores: NDArray[np.float64]) -> float:
    """Mean :func:`average_precision` over the labels that hold in a row; NaN without any."""
    found = [average_precision(t, s) for t, s in zip(truth.T, scores.T, strict=True)]
    known = [value for value in found if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def r2_of_each(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each target's variance that predictions explain; NaN where it does not vary."""
    left = ((truth - predicted) ** 2).sum(axis=0)
    whole = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, 1 - left / whole, np.nan)


def r2(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Mean of :func:`r2_of_each` over the targets that vary; NaN without any."""
    found = r2_of_each(truth, predicted)
    known = found[~np.isnan(found)]
    return float(known.mean()) if len(known) else float("nan")
