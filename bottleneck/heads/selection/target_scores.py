"""How good predictions of targets are: labels of which any may hold, and numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Ranking:
    """The rows of one label from the highest score to the lowest.

    Parameters
    ----------
    order : ndarray of int64, shape (n,)
        Rows by falling score.
    last : ndarray of int64
        Positions in that order at which rows of equal score end.
    holds : ndarray of float64, shape (n,)
        1 where the label holds, else 0, in that order.
    """

    order: NDArray[np.int64]
    last: NDArray[np.int64]
    holds: NDArray[np.float64]

    @classmethod
    def of(cls, truth: NDArray[np.uint8], scores: NDArray[np.float64]) -> "Ranking":
        """Rank rows; shapes (n,)."""
        order = np.argsort(-scores, kind="stable")
        last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
        return cls(order, last, truth[order].astype(np.float64))

    def average_precision(self, weights: NDArray[np.float64] | None = None) -> float:
        """Return the average precision with rows counted by weights; NaN where none holds."""
        ones = np.ones(len(self.order)) if weights is None else weights[self.order]
        hits, rows = np.cumsum(self.holds * ones)[self.last], np.cumsum(ones)[self.last]
        if not hits[-1]:
            return float("nan")
        precision = hits / np.maximum(rows, 1e-300)
        return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])


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
    return Ranking.of(truth, scores).average_precision() if len(truth) else float("nan")


def mean_average_precision(truth: NDArray[np.uint8], scores: NDArray[np.float64]) -> float:
    """Mean :func:`average_precision` over the labels that hold in a row; NaN without any."""
    found = [average_precision(t, s) for t, s in zip(truth.T, scores.T, strict=True)]
    known = [value for value in found if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def r2_of_each(
    truth: NDArray[np.float64],
    predicted: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Share of each target's variance that predictions explain; NaN where it does not vary."""
    counted = np.ones(len(truth)) if weights is None else weights
    used = truth[counted > 0]
    varies = (used != used[:1]).any(axis=0)  # the sum of squares of a constant is not quite 0
    mean = counted @ truth / counted.sum()
    left = counted @ (truth - predicted) ** 2
    whole = counted @ (truth - mean) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(varies & (whole > 0), 1 - left / whole, np.nan)


def r2(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Mean of :func:`r2_of_each` over the targets that vary; NaN without any."""
    found = r2_of_each(truth, predicted)
    known = found[~np.isnan(found)]
    return float(known.mean()) if len(known) else float("nan")


def accuracy(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Share of the rows whose class is right."""
    return float(np.mean(truth == predicted))


METRICS = {"classes": "accuracy", "labels": "mean_average_precision", "numbers": "r2"}
"""What candidates are chosen by, for each task."""


def score_of(task: str) -> Callable[[NDArray[Any], NDArray[Any]], float]:
    """Return the metric of a task: from truth, and classes said or scores, to a number."""
    scores: dict[str, Callable[[NDArray[Any], NDArray[Any]], float]] = {
        "classes": accuracy,
        "labels": mean_average_precision,
        "numbers": r2,
    }
    return scores[task]
