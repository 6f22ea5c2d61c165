"""Which heads cannot be told apart from the best, when the best was picked on the same rows.

The head that looks best among equal ones was lucky, so testing the others against it with
pairwise tests, corrected for their number or not, finds differences where there are none: with
24 equal heads in a quarter of all comparisons. The test here repeats the picking in every draw.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.judge.resampling import RESAMPLES, Groups, drawn_means

ALPHA: Final = 0.05
"""Chance of calling any of some equal heads worse than the best of them."""

_ROUNDING: Final = 1e-12


def p_against_best(
    right: NDArray[np.bool_],
    best: int,
    groups: Groups | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Test every head against the one that was best on the same rows.

    A max-type bootstrap (after P. Westfall and S. Young, Resampling-Based Multiple Testing,
    1993): draws of the accuracies are centred, as if all heads were equally good; in each draw
    the best head is picked anew and its largest studentised lead over any other head is kept.
    A head's p-value is the share of draws whose lead is at least as large as the one observed.
    The chance of calling any head worse that is as good as the best is then the level, however
    many there are.

    Parameters
    ----------
    right : ndarray of bool, shape (n, heads)
        Whether each head got each row right.
    best : int
        The head picked as the best.
    groups, resamples, seed
        As in :func:`~bottleneck.judge.resampling.drawn_counts`.

    Returns
    -------
    ndarray of float64, shape (heads,)
        Adjusted p-values; 1 for the best itself.
    """
    values = right.astype(np.float64)
    draws = drawn_means(values, groups, resamples=resamples, seed=seed)
    return p_of_draws(values.mean(axis=0), draws, best)


def p_of_draws(
    observed: NDArray[np.float64], draws: NDArray[np.float64], best: int
) -> NDArray[np.float64]:
    """Do the same from draws at hand.

    Parameters
    ----------
    observed : ndarray of float64, shape (heads,)
        Accuracies on the rows themselves.
    draws : ndarray of float64, shape (draws, heads)
        Accuracies on each draw: :func:`~bottleneck.judge.resampling.drawn_means`.
    best : int
        The head picked as the best.
    """
    centred = draws - draws.mean(axis=0)
    # The variance of a difference, from that of each and their covariance.
    covariance = np.atleast_2d(np.cov(draws, rowvar=False))
    spread = np.sqrt(
        np.maximum(
            np.diag(covariance)[:, None] + np.diag(covariance)[None, :] - 2 * covariance, 0.0
        )
    )
    picked = centred.argmax(axis=1)
    leads = centred[np.arange(len(centred)), picked][:, None] - centred
    largest = _studentised(leads, spread[picked]).max(axis=1)
    lead = _studentised((observed[best] - observed)[None, :], spread[[best]])[0]
    exceeded = (largest[:, None] >= lead[None, :] - _ROUNDING).sum(axis=0)
    p: NDArray[np.float64] = (exceeded + 1) / (len(draws) + 1)
    p[lead <= _ROUNDING] = 1.0
    return p


def _studentised(lead: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide by the spread; heads that always differ alike do not differ."""
    found = np.zeros(np.broadcast_shapes(lead.shape, spread.shape))
    np.divide(lead, spread, out=found, where=spread > _ROUNDING)
    return found
