"""Confidence intervals of scores, and the one resampler of whole groups behind them.

Draws of the judged rows, whole groups at a time: the one resampler of train, evaluate, compare.

Rows are drawn with replacement, whole groups where rows belong to groups (frames of a video,
views of one object), because rows of a group are not independent (A. Davison and D. Hinkley,
Bootstrap Methods and their Application, 1997, section 3.8).

A percentile bootstrap of an accuracy has no width where every row is right, and covers far less
than it claims near there. So shares of rows get Wilson's interval, with the number of rows that
the groups are worth; means over classes get the same from the variance of the mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 2000
"""Draws: the ends of a 95% interval are then steady to about a twentieth of its width."""

LEVEL: Final = 0.95
"""Confidence of every interval."""

FEWEST_UNITS: Final = 10
"""Independent rows or groups below which draws say nothing of the spread."""

_BLOCK_CELLS: Final = 1 << 22
"""Drawn counts held at once: 32 MiB."""

Groups = NDArray[np.integer[Any]]
"""Of each row, shape (n,): rows of one group belong together; -1 for a row of its own."""


def units_of(n: int, groups: Groups | None) -> NDArray[np.int64]:
    """Number what is independent: a group, or a row without one; shape (n,), from 0 on."""
    if groups is None or not (groups >= 0).any():
        return np.arange(n)
    alone = np.where(groups < 0, groups.max() + 1 + np.arange(n), groups)
    found: NDArray[np.int64] = np.unique(alone, return_inverse=True)[1]
    return found


def drawn_counts(
    n: int, groups: Groups | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each row was drawn: blocks of shape (draws, n).

    Parameters
    ----------
    n : int
        Rows.
    groups : ndarray of int, shape (n,), optional
        Rows of one group are drawn together; -1 for a row of its own.
    resamples : int
        Draws in all.
    seed : int
        Of the draws.
    """
    rng = np.random.default_rng(seed)
    units = units_of(n, groups)
    n_units = int(units.max()) + 1
    step = max(1, _BLOCK_CELLS // max(n, n_units))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = rng.integers(0, n_units, (count, n_units))
        drawn += np.arange(count)[:, None] * n_units
        per_unit = np.bincount(drawn.ravel(), minlength=count * n_units).reshape(count, n_units)
        yield per_unit[:, units].astype(np.float64)


def drawn_means(
    values: NDArray[np.float64],
    groups: Groups | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the mean of every column over the rows of each draw.

    Parameters
    ----------
    values : ndarray of float64, shape (n, columns)
        One set of draws serves all columns, so that their differences are paired.
    groups, resamples, seed
        As in :func:`drawn_counts`.

    Returns
    -------
    ndarray of float64, shape (resamples, columns)
    """
    return np.concatenate(
        [
            counts @ values / counts.sum(axis=1, keepdims=True)
            for counts in drawn_counts(len(values), groups, resamples=resamples, seed=seed)
        ]
    )


def without_parts(
    units: NDArray[np.int64], *, parts: int, seed: int = 0
) -> Iterator[NDArray[np.float64]]:
    """Yield weights of the rows with a part left out: 0 in it, else 1; each of shape (n,).

    A jackknife's: the variance of a score is ``parts - 1`` times the variance of what it comes
    to without each part (J. Shao and D. Tu, The Jackknife and Bootstrap, 1995, section 2.3).

    Parameters
    ----------
    units : ndarray of int64, shape (n,)
        What is independent, from 0 on; never divided between parts.
    parts : int
        At most so many, of about as many units each; every unit one where there are no more.
    seed : int
        Of which units are in a part.
    """
    n_units = int(units.max()) + 1
    parts = min(parts, n_units)
    part = (np.random.default_rng(seed).permutation(n_units) % parts)[units]
    for left_out in range(parts):
        yield (part != left_out).astype(np.float64)


Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class RowScores:
    """What the scores of one head are made of, row by row.

    Parameters
    ----------
    truth, predicted : ndarray of int64, shape (n,)
        Codes.
    log_losses : ndarray of float64, shape (n,), or None
        Negative log probability of the true class.
    in_top_5 : ndarray of bool, shape (n,), or None
        Whether the true class is among the five of the highest scores.
    """

    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    log_losses: NDArray[np.float64] | None = None
    in_top_5: NDArray[np.bool_] | None = None

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each row is right, shape (n,)."""
        return np.equal(self.truth, self.predicted)


def class_intervals(
    rows: RowScores, n_classes: int, groups: Groups | None = None, *, seed: int = 0
) -> dict[str, Interval]:
    """Give a 95% interval of every score that has a valid one.

    Parameters
    ----------
    rows : RowScores
        One head on the judged rows.
    n_classes : int
        Codes are below it.
    groups : ndarray of int, shape (n,), optional
        Rows of one group belong together; -1 for a row of its own.
    seed : int
        Of the draws for the log loss.

    Returns
    -------
    dict of str to (low, high)
        ``accuracy``, ``top_5_accuracy``, ``balanced_accuracy``, ``macro_f1``, ``log_loss``.
        The log loss has none where fewer than ten rows or groups are independent; of a single
        group every share is possible, from 0 to 1. The calibration error never has one: it is
        a sum of absolute values, and resampling only ever adds to it.
    """
    units = units_of(len(rows.truth), groups)
    n_units = int(units.max()) + 1
    found = {"accuracy": share_interval(rows.right, units)}
    if rows.in_top_5 is not None:
        found["top_5_accuracy"] = share_interval(rows.in_top_5, units)
    found |= _means_over_classes(rows, n_classes, units)
    if rows.log_losses is not None and n_units >= FEWEST_UNITS:
        draws = drawn_means(rows.log_losses[:, None], groups, seed=seed)[:, 0]
        loss = float(rows.log_losses.mean())
        if (interval := positive_interval(loss, draws, units)) is not None:
            found["log_loss"] = interval
    return found


def share_interval(holds: NDArray[np.bool_], units: NDArray[np.int64]) -> Interval:
    """Give Wilson's interval of a share of rows.

    E. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22,
    1927. Where rows come in groups, they count as fewer: as many as would have the variance of
    the groups' sums, and the quantile is Student's (E. Korn and B. Graubard, Confidence
    intervals for proportions with small expected number of positive counts, Survey
    Methodology 24, 1998).

    Parameters
    ----------
    holds : ndarray of bool, shape (n,)
        What the share is of.
    units : ndarray of int, shape (n,)
        What is independent, from 0 on: :func:`~bottleneck.judge.intervals.units_of`.
    """
    return wilson_interval(float(np.mean(holds)), len(holds) / _design_effect(holds, units), units)


def _design_effect(holds: NDArray[np.bool_], units: NDArray[np.int64]) -> float:
    """Return how many rows tell as much of a share as one independent row does; at least 1."""
    n, n_units, share = len(holds), int(units.max()) + 1, float(np.mean(holds))
    if n_units == n:
        return 1.0
    if share in (0.0, 1.0):  # nothing says how alike the rows of a group are: as alike as can be
        return n / n_units
    variance = _variance_of_sum((holds - share) / n, units)
    found = max(1.0, variance / (share * (1 - share) / n))
    # Half a group more, as alike as can be: of few groups, the one that differs may be unseen.
    return (found * n_units + 0.5 * n / n_units) / (n_units + 0.5)


def positive_interval(
    value: float, draws: NDArray[np.float64], units: NDArray[np.int64]
) -> Interval | None:
    """Give an interval of a mean error or loss: Student's, of its logarithm.

    The spread of the logarithms is that of the draws. Errors are skewed and above zero, so that
    percentiles of draws cover too little where rows or groups are few.

    Parameters
    ----------
    value : float
        What was found on the rows themselves.
    draws : ndarray of float64, shape (resamples,)
        The same on rows drawn again; NaN where it was not defined.
    units : ndarray of int64, shape (rows,)
        What is independent, from 0 on.

    Returns
    -------
    (low, high) or None
        None where nothing is off, or only one thing is independent: that says nothing of what
        errors there may be.
    """
    from scipy.special import stdtrit

    n_units = int(units.max()) + 1
    above = draws[draws > 0]
    if not value > 0 or n_units < 2 or not len(above):
        return None
    spread = float(np.log(above).std()) * np.sqrt(n_units / (n_units - 1))
    factor = float(np.exp(stdtrit(n_units - 1, 1 - (1 - LEVEL) / 2) * spread))
    # Where some draws have no error at all, no error is possible.
    return (0.0 if (draws == 0).any() else value / factor), value * factor


def logit_interval(share: float, variance: float, freedom: int) -> Interval:
    """Give an interval of a mean of shares by its variance: Student's, of its log odds.

    Shares are skewed near 0 and 1, and their estimated variance falls as they come near: an
    interval that is symmetric in the share itself covers too little there.

    Parameters
    ----------
    share : float
        From 0 to 1.
    variance : float
        Of ``share``.
    freedom : int
        Degrees of freedom of ``variance``.
    """
    from scipy.special import expit, logit, stdtrit

    inside = share * (1 - share)
    if not inside > 0:
        return share, share
    width = float(stdtrit(freedom, 1 - (1 - LEVEL) / 2)) * np.sqrt(variance) / inside
    return float(expit(logit(share) - width)), float(expit(logit(share) + width))


def _means_over_classes(
    rows: RowScores, n_classes: int, units: NDArray[np.int64]
) -> dict[str, Interval]:
    """Give intervals of the balanced accuracy and the macro F1.

    The variance is that of the linear part of the score (the delta method), at least that of
    shares shrunk away from 0 and 1 by a right and a wrong row each: where a class has no error
    among few rows, the rows themselves have no spread.
    """
    right = rows.right
    support = np.bincount(rows.truth, minlength=n_classes)
    called = np.bincount(rows.predicted, minlength=n_classes)
    hits = np.bincount(rows.truth[right], minlength=n_classes)
    effect = _design_effect(right, units)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, f1 = hits / support, 2 * hits / (support + called)
    found = {}
    by_truth = (right - recall[rows.truth]) / support[rows.truth]
    by_both = (2 * right - f1[rows.truth]) / (support + called)[rows.truth] - (
        f1[rows.predicted] / (support + called)[rows.predicted]
    )
    for name, scores, linear in (
        ("balanced_accuracy", recall, by_truth),
        ("macro_f1", f1, by_both),
    ):
        known = ~np.isnan(scores)
        count = int(known.sum())
        seen = known & (support > 0)
        n = support[seen] / effect
        shrunk = (scores[seen] * n + 1) / (n + 2)
        least = float(np.sum(shrunk * (1 - shrunk) / n)) / count**2
        variance = max(_variance_of_sum(linear / count, units), least)
        middle = float(shrunk.sum()) / count
        worth = middle * (1 - middle) / variance
        found[name] = wilson_interval(float(np.nanmean(scores)), worth, units)
    return found


def _variance_of_sum(parts: NDArray[np.float64], units: NDArray[np.int64]) -> float:
    """Estimate the variance of a sum over rows whose units are independent."""
    sums = np.bincount(units, parts)
    return float(np.sum((sums - sums.mean()) ** 2)) * len(sums) / max(len(sums) - 1, 1)


def wilson_interval(share: float, n: float, units: NDArray[np.int64]) -> Interval:
    """Give Wilson's interval of a share that is worth so many rows; Student's if they are grouped.

    Parameters
    ----------
    share : float
        From 0 to 1.
    n : float
        Rows it is worth.
    units : ndarray of int64, shape (rows,)
        What is independent, from 0 on.
    """
    from scipy.special import ndtri, stdtrit

    level, n_units = 1 - (1 - LEVEL) / 2, int(units.max()) + 1
    grouped = n_units < len(units)
    if grouped and n_units == 1:  # nothing is known of how groups differ
        return 0.0, 1.0
    z = float(stdtrit(n_units - 1, level) if grouped else ndtri(level))
    width = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = (share + z**2 / (2 * n) - width) / (1 + z**2 / n)
    high = (share + z**2 / (2 * n) + width) / (1 + z**2 / n)
    # Rounding must not put the share itself outside.
    return max(0.0, min(float(low), share)), min(1.0, max(float(high), share))
