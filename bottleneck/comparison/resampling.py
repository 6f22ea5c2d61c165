"""Bootstrap of the judged rows: one set of draws for all heads, so that differences are paired.

Rows are drawn with replacement, whole groups where rows belong to groups (frames of a video,
views of one object), because rows of a group are not independent (A. Davison and D. Hinkley,
Bootstrap Methods and their Application, 1997, section 3.8).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.statistics import Difference

RESAMPLES = 2000
"""Draws: the ends of a 95% interval are then steady to about a twentieth of its width."""

LEVEL = 0.95
"""Share of the draws inside an interval."""

SCORES = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "top_5_accuracy",
    "log_loss",
)
"""What gets an interval. The calibration error gets none: it is a sum of absolute values, so
resampling only ever adds to it and no percentile of the draws means anything."""

_BLOCK_CELLS = 1 << 22
"""Drawn counts held at once: 32 MiB."""


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


@dataclass(frozen=True, eq=False)
class Draws:
    """Scores of one head over the draws.

    Parameters
    ----------
    values : mapping of str to ndarray of float64, shape (draws,)
        By name; scores the head does not have are missing.
    """

    values: Mapping[str, NDArray[np.float64]]

    def intervals(self) -> dict[str, list[float]]:
        """Return the 95% percentile interval of every score."""
        tail = 100 * (1 - LEVEL) / 2
        return {
            name: [float(end) for end in np.percentile(draws, [tail, 100 - tail])]
            for name, draws in self.values.items()
        }

    def difference(self, other: "Draws", mean: float) -> Difference:
        """Compare the accuracy with another head's, draw by draw."""
        return Difference.of(mean, self.values["accuracy"] - other.values["accuracy"], LEVEL)


def bootstrap(
    heads: list[RowScores],
    n_classes: int,
    *,
    groups: NDArray[np.integer[Any]] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Draws]:
    """Draw the rows again and again and score every head on each draw.

    Parameters
    ----------
    heads : list of RowScores
        All judged on the same rows in the same order.
    n_classes : int
        Codes are below it.
    groups : ndarray of int, shape (n,), optional
        Rows of one group are drawn together; -1 for a row of its own.
    resamples : int
        Draws.
    seed : int
        Of the draws.
    """
    n = len(heads[0].truth)
    parts = [
        [_score(head, n_classes, counts) for head in heads]
        for counts in _drawn_counts(n, groups, resamples, seed)
    ]
    return [
        Draws({name: np.concatenate([part[i][name] for part in parts]) for name in parts[0][i]})
        for i in range(len(heads))
    ]


def _drawn_counts(
    n: int, groups: NDArray[np.integer[Any]] | None, resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each row was drawn: blocks of shape (draws, n)."""
    rng = np.random.default_rng(seed)
    units = np.arange(n)
    if groups is not None and (groups >= 0).any():
        alone = np.where(groups < 0, groups.max() + 1 + np.arange(n), groups)
        units = np.unique(alone, return_inverse=True)[1]
    n_units = int(units.max()) + 1
    step = max(1, _BLOCK_CELLS // max(n, n_units))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = rng.integers(0, n_units, (count, n_units))
        drawn += np.arange(count)[:, None] * n_units
        per_unit = np.bincount(drawn.ravel(), minlength=count * n_units).reshape(count, n_units)
        yield per_unit[:, units].astype(np.float64)


def _score(
    head: RowScores, n_classes: int, counts: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    total = counts.sum(axis=1)
    right = head.right.astype(np.float64)
    support = _by_class(head.truth, n_classes, counts)
    called = _by_class(head.predicted, n_classes, counts)
    hits = _by_class(head.truth, n_classes, counts * right)
    with np.errstate(invalid="ignore"):
        recall, f1 = hits / support, 2 * hits / (support + called)
    scores = {
        "accuracy": counts @ right / total,
        "balanced_accuracy": np.nanmean(recall, axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
    }
    if head.in_top_5 is not None:
        scores["top_5_accuracy"] = counts @ head.in_top_5.astype(np.float64) / total
    if head.log_losses is not None:
        scores["log_loss"] = counts @ head.log_losses / total
    return scores


def _by_class(
    codes: NDArray[np.int64], n_classes: int, counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum counts by class: shape (draws, classes)."""
    from scipy.sparse import csr_array

    n = len(codes)
    members = csr_array((np.ones(n), (codes, np.arange(n))), shape=(n_classes, n))
    sums: NDArray[np.float64] = (members @ counts.T).T
    return sums
