"""Targets as heads take them, and how good predictions of them are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.kind import HeadKind, Task
from bottleneck.targets import MISSING


def require_targets(kind: HeadKind) -> list[Task]:
    """Return what a kind can predict of targets.

    Raises
    ------
    OptionError
        For a head that predicts classes only.
    """
    able: list[Task] = [task for task in kind.tasks if task != "classes"]
    if not able:
        raise OptionError(
            f"expected a head of labels or of numbers for --target, got {kind.name}",
            hint="logreg is for labels (0 and 1, or lists of labels), ridge and regressors of "
            "scikit-learn by their import path for numbers, knn and mlp for both.",
        )
    return able


def task_of_targets(kind: HeadKind, Y: NDArray[Any]) -> Task:
    """Return what a head is to predict of targets: what it can, of both what they look like.

    Raises
    ------
    OptionError
        For a head that predicts classes only.
    """
    able = require_targets(kind)
    if len(able) == 1:
        return able[0]
    return "labels" if np.isin(Y, (0, 1)).all() else "numbers"


def checked_targets(
    task: Task, Y: NDArray[Any], names: tuple[str, ...], keys: Sequence[str], head: str
) -> tuple[NDArray[Any], tuple[str, ...], list[str]]:
    """Check training targets; return those to learn (uint8 or float64), their names, and notes.

    Raises
    ------
    HeadError
        For missing values, or targets that do not vary.
    OptionError
        For other labels than 0 and 1.
    """
    return _labels(Y, names, keys, head) if task == "labels" else _numbers(Y, names, keys)


def strata(Y: NDArray[Any], task: Task) -> NDArray[np.int64]:
    """Return what folds and hold-outs are stratified by: the rarest label of a row, or nothing.

    Parameters
    ----------
    Y : ndarray, shape (n, targets)
        0 and 1 for labels.
    """
    if task != "labels":
        return np.zeros(len(Y), np.int64)
    rarest_first = np.argsort(Y.sum(axis=0, dtype=np.int64), kind="stable")
    ordered = Y[:, rarest_first] == 1
    codes: NDArray[np.int64] = np.where(
        ordered.any(axis=1), ordered.argmax(axis=1), Y.shape[1]
    ).astype(np.int64)
    return codes


def _labels(
    Y: NDArray[Any], names: tuple[str, ...], keys: Sequence[str], head: str
) -> tuple[NDArray[np.uint8], tuple[str, ...], list[str]]:
    wrong = ~np.isin(Y, (0, 1))
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise OptionError(
            f"expected labels of 0 and 1 for the head {head}, got {Y[row, column]:g} in target "
            f"{names[column]!r} of {keys[row]!r}",
            hint="Numbers are predicted by --head ridge.",
        )
    held = Y.sum(axis=0, dtype=np.int64)
    usable = (held > 0) & (held < len(Y))
    if not usable.any():
        raise HeadError(
            f"expected labels that hold in some of {len(Y)} rows and not in others, got none"
        )
    left = [name for name, good in zip(names, usable, strict=True) if not good]
    notes = []
    if left:
        shown = ", ".join(left[:5]) + (", ..." if len(left) > 5 else "")
        notes.append(f"labels left out that hold in no training row, or in all: {shown}")
    kept = tuple(name for name, good in zip(names, usable, strict=True) if good)
    return np.ascontiguousarray(Y[:, usable]).astype(np.uint8), kept, notes


def _numbers(
    Y: NDArray[Any], names: tuple[str, ...], keys: Sequence[str]
) -> tuple[NDArray[np.float64], tuple[str, ...], list[str]]:
    if Y.dtype == np.uint8 and (Y == MISSING).any():  # as columns of flags are kept
        row, column = (int(i) for i in np.argwhere(Y == MISSING)[0])
        raise HeadError(
            f"expected a value in target {names[column]!r} of {keys[row]!r}, got {MISSING}, which "
            "stands for a missing flag",
            hint="Leave such rows out; if it is a number, give the targets as floats.",
        )
    numbers = Y.astype(np.float64)
    if not np.isfinite(numbers).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
        raise HeadError(
            f"expected a number in target {names[column]!r} of {keys[row]!r}, got "
            f"{numbers[row, column]:g}"
        )
    same = np.flatnonzero((numbers == numbers[0]).all(axis=0))
    if len(same):
        raise HeadError(
            f"expected values that differ, target {names[same[0]]!r} is "
            f"{numbers[0, same[0]]:g} in all {len(numbers)} training rows"
        )
    return numbers, names, []


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
