"""A head of targets judged on a feature file's rows."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import HeadError
from bottleneck.heads.head import Head
from bottleneck.heads.rows import Rows
from bottleneck.heads.selection.targets import (
    Ranking,
    average_precision,
    mean_average_precision,
    r2_of_each,
)
from bottleneck.judge.intervals import (
    FEWEST_UNITS,
    RESAMPLES,
    Groups,
    Interval,
    drawn_counts,
    logit_interval,
    positive_interval,
    units_of,
    wilson_interval,
    without_parts,
)

_WORK = 200_000_000
"""Rows times targets times computed scores that intervals may cost: some seconds."""

_FEWEST = 100
"""Times that scores are computed in any case, where as many rows are independent."""

_FEWEST_HOLDING = 5
"""Independent rows per label in which it holds, below which means over labels have no interval:
an average precision of so few is too high or too low by itself."""

_Ends: TypeAlias = Callable[[NDArray[np.int64], int], dict[str, Interval | None]]
"""From what is independent, and how often the scores may be computed, to their intervals."""

_Judged: TypeAlias = tuple[dict[str, Any], tuple[str, ...], _Ends]
"""What was found, the names of the scores that intervals are of, and how they come about."""


def judge_targets(
    head: Head,
    X: ArrayLike | Rows,
    Y: ArrayLike,
    *,
    groups: Groups | None = None,
    intervals: bool = True,
) -> dict[str, Any]:
    """Judge a head of labels or numbers.

    Parameters
    ----------
    head : Head
        What is judged; call :meth:`Head.require_features` first.
    X : array or Rows, float32 or float16, shape (n, head.dim)
        Features; rows of a file are read block by block.
    Y : array, shape (n, targets)
        The targets of ``head.classes``, in that order; nothing missing.
    groups : array of int, shape (n,), optional
        Rows of one group are drawn together; -1 for a row of its own.
    intervals : bool
        Whether to give ``intervals``, which may take some seconds.

    Returns
    -------
    dict
        JSON values. Of labels: ``mean_average_precision`` (over labels that hold in a row),
        ``micro_f1``, ``macro_f1`` (over labels that hold in a row or were predicted),
        ``subset_accuracy`` (share of rows with all labels right), ``log_loss`` (mean over rows
        and labels). Of numbers: ``r2`` and ``mae``, means over targets, and ``rmse`` of each.
        Of both ``rows``, ``per_target``, and ``intervals``: 95% intervals of the means (a
        jackknife's of labels, a bootstrap's of numbers). What is not defined is None.

    Raises
    ------
    HeadError
        For no rows, targets that do not fit, or labels other than 0 and 1.
    """
    truth = np.asarray(Y)
    if truth.ndim != 2 or truth.shape[1] != len(head.classes):
        raise HeadError(f"expected {len(head.classes)} targets per row, got shape {truth.shape}")
    if not len(truth):
        raise HeadError(
            "expected rows with values of the targets to judge by, got none",
            hint="See `bottleneck info` for the splits and how many rows are done.",
        )
    if head.task == "numbers":
        judged = _numbers(head, truth.astype(np.float64), head.predict(X))
    elif np.isin(truth, (0, 1)).all():
        judged = _labels(head, truth.astype(np.uint8), head.scores(X))
    else:
        raise HeadError(f"expected labels of 0 and 1 for {', '.join(head.classes)}")
    found, names, ends = judged
    if intervals:
        found["intervals"] = _intervals(truth.shape, groups, names, ends)
    return found


def _numbers(head: Head, truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> _Judged:
    error = predicted - truth

    def score(weights: NDArray[np.float64]) -> list[float]:
        known = r2_of_each(truth, predicted, weights)
        return [_mean(known), float((weights @ np.abs(error)).mean() / weights.sum())]

    explained = r2_of_each(truth, predicted)
    known = explained[~np.isnan(explained)]
    found: dict[str, Any] = {
        "rows": len(truth),
        "r2": float(known.mean()) if len(known) else None,
        "mae": float(np.abs(error).mean()),
        "per_target": [
            {
                "target": name,
                "r2": None if np.isnan(explained[i]) else float(explained[i]),
                "mae": float(np.abs(error[:, i]).mean()),
                "rmse": float(np.sqrt((error[:, i] ** 2).mean())),
            }
            for i, name in enumerate(head.classes)
        ],
    }

    def ends(units: NDArray[np.int64], times: int) -> dict[str, Interval | None]:
        blocks = drawn_counts(len(truth), units, resamples=times)
        draws = np.array([score(weights) for counts in blocks for weights in counts])
        mae = positive_interval(found["mae"], draws[:, 1], units)
        if found["r2"] is None:
            return {"r2": None, "mae": mae}
        # What is not explained is a mean of squares over another, and above zero as they are.
        left = positive_interval(1 - found["r2"], 1 - draws[:, 0], units)
        return {"r2": None if left is None else (1 - left[1], 1 - left[0]), "mae": mae}

    return found, ("r2", "mae"), ends


def _labels(head: Head, truth: NDArray[np.uint8], scores: NDArray[np.float64]) -> _Judged:
    predicted = scores > 0
    holds = truth == 1
    right = (predicted & holds).sum(axis=0)
    called, support = predicted.sum(axis=0), holds.sum(axis=0)
    f1 = [_ratio(2 * r, c + s) for r, c, s in zip(right, called, support, strict=True)]
    defined = [value for value in f1 if value is not None]
    mean = mean_average_precision(truth, scores)
    rankings = [Ranking.of(t, s) for t, s in zip(truth.T, scores.T, strict=True)]
    both = (predicted & holds).astype(np.float64)
    either = predicted.astype(np.float64) + holds

    def score(weights: NDArray[np.float64]) -> list[float]:
        hit, size = 2 * (weights @ both), weights @ either
        with np.errstate(invalid="ignore"):
            each = hit / size
        precisions = np.array([one.average_precision(weights) for one in rankings])
        return [_mean(precisions), float(hit.sum() / max(size.sum(), 1)), _mean(each)]

    # log(1 + exp(-t z)), without overflow
    signed = np.where(holds, scores, -scores)
    losses = np.log1p(np.exp(-np.abs(signed))) + np.maximum(-signed, 0)
    found: dict[str, Any] = {
        "rows": len(truth),
        "mean_average_precision": _defined(mean),
        "micro_f1": _ratio(2 * right.sum(), called.sum() + support.sum()),
        "macro_f1": float(np.mean(defined)) if defined else None,
        "subset_accuracy": float((predicted == holds).all(axis=1).mean()),
        "log_loss": float(losses.mean()),
        "per_target": [
            {
                "target": name,
                "average_precision": _defined(average_precision(truth[:, i], scores[:, i])),
                "precision": _ratio(right[i], called[i]),
                "recall": _ratio(right[i], support[i]),
                "f1": f1[i],
                "support": int(support[i]),
            }
            for i, name in enumerate(head.classes)
        ],
    }

    def ends(units: NDArray[np.int64], times: int) -> dict[str, Interval | None]:
        def worth(where: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.array([len(np.unique(units[column])) for column in where.T])

        held, told = worth(holds), worth(holds) + worth(predicted)
        each = np.array([line["average_precision"] or np.nan for line in found["per_target"]])
        enough = held[held > 0].sum() >= _FEWEST_HOLDING * (held > 0).sum() > 0
        micro = np.array([np.nan if found["micro_f1"] is None else found["micro_f1"]])
        macro = np.array([np.nan if value is None else value for value in f1])
        without = np.array([score(weights) for weights in without_parts(units, parts=times)])
        precision, of_all, of_each = without.T
        return {
            "mean_average_precision": _of_mean(each, held, precision, units) if enough else None,
            "micro_f1": _of_mean(micro, told.sum(keepdims=True), of_all, units),
            "macro_f1": _of_mean(macro, told, of_each, units) if enough else None,
        }

    return found, ("mean_average_precision", "micro_f1", "macro_f1"), ends


def _of_mean(
    shares: NDArray[np.float64],
    worth: NDArray[np.int64],
    without: NDArray[np.float64],
    units: NDArray[np.int64],
) -> Interval | None:
    """Give the interval of a mean of shares by its jackknife.

    Where less is wrong than one row makes of it, rows left out have next to no spread: there it
    is Wilson's.

    Parameters
    ----------
    shares : ndarray of float64, shape (labels,)
        NaN where there is none.
    worth : ndarray of int64, shape (labels,)
        Independent rows behind each.
    without : ndarray of float64, shape (parts,)
        The mean with each part of the rows left out.
    units : ndarray of int64, shape (rows,)
        What is independent, from 0 on.
    """
    known = ~np.isnan(shares)
    left = without[~np.isnan(without)]
    if not known.any() or not len(left):
        return None
    share = float(shares[known].mean())
    variance = float(left.var()) * (len(left) - 1)
    # Rows that a mean over labels is worth: of labels with few, each counts for more.
    rows = known.sum() ** 2 / np.sum(1 / worth[known])
    if variance >= 1 / rows**2:
        return logit_interval(share, variance, len(left) - 1)
    return wilson_interval(share, float(rows), units)


def _intervals(
    shape: tuple[int, ...], groups: Groups | None, names: Sequence[str], ends: _Ends
) -> dict[str, list[float] | None]:
    """Give intervals of scores: computed less often where rows times targets are many.

    None where so few rows or groups are independent that nothing is known of the spread.
    """
    n, targets = shape
    units = units_of(n, groups)
    if units.max() + 1 < FEWEST_UNITS:
        return dict.fromkeys(names)
    times = int(np.clip(_WORK // (n * targets), _FEWEST, RESAMPLES))
    return {name: None if one is None else list(one) for name, one in ends(units, times).items()}


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
