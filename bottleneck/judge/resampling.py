"""Draws of the judged rows, whole groups at a time: the one resampler of train, evaluate, compare.

Rows are drawn with replacement, whole groups where rows belong to groups (frames of a video,
views of one object), because rows of a group are not independent (A. Davison and D. Hinkley,
Bootstrap Methods and their Application, 1997, section 3.8).
"""

from collections.abc import Iterator
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


def percentile_interval(draws: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the interval that holds the middle :data:`LEVEL` of the draws; None of none."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return None
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)
