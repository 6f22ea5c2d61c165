"""Tests between heads judged on the same rows: against the best, and two by two.

Which heads cannot be told apart from the best, when the best was picked on the same rows.

The head that looks best among equal ones was lucky, so testing the others against it with
pairwise tests, corrected for their number or not, finds differences where there are none: with
24 equal heads in a quarter of all comparisons. The test here repeats the picking in every draw.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import OptionError
from bottleneck.judge.intervals import RESAMPLES, Groups, units_of

ALPHA: Final = 0.05
"""Chance of calling any of some equal heads worse than the best of them."""

_ROUNDING: Final = 1e-12
"""Leads are ratios of whole numbers and their roots: what differs by less is equal."""

_BLOCK_CELLS: Final = 1 << 22
"""Signs held at once: 32 MiB."""


def p_against_best(
    right: NDArray[np.bool_],
    best: int,
    groups: Groups | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Test every head against the one that was best on the same rows.

    A max-type sign-flip test. If two heads are equally good, their difference on a row (on a
    group of rows) is as likely to be the other way round (R. Fisher, The Design of Experiments,
    1935, section 21; for one pair of heads this is McNemar's exact test). So each draw turns
    the differences of a random half of the rows round, for all heads at once; it then picks the
    best head anew and keeps its largest studentised lead over any other head (P. Westfall and
    S. Young, Resampling-Based Multiple Testing, 1993). A head's p-value is the share of draws
    whose lead is at least as large as the one observed. The chance of calling any head worse
    that is as good as the best is then the level, however many there are.

    A bootstrap of the rows does not hold the level here: it divides by a spread estimated once,
    whose own error grows with the number of pairs and with few groups (8% instead of 5% for 24
    heads and 100 groups). The spread of sign flips is known exactly.

    Parameters
    ----------
    right : ndarray of bool, shape (n, heads)
        Whether each head got each row right.
    best : int
        The head picked as the best.
    groups : ndarray of int, shape (n,), optional
        Rows of one group are turned together; -1 for a row of its own.
    resamples : int
        Draws in all.
    seed : int
        Of the draws.

    Returns
    -------
    ndarray of float64, shape (heads,)
        Adjusted p-values; 1 for the best itself.
    """
    hits = _hits_of_units(right, groups)
    spread = _spread(hits)
    observed = right.sum(axis=0, dtype=np.float64)
    lead = _studentised(observed[best] - observed, spread[best])
    exceeded = np.zeros(len(observed))
    for largest in _largest_leads(hits, spread, resamples, seed):
        exceeded += (largest[:, None] >= lead - _ROUNDING).sum(axis=0)
    p: NDArray[np.float64] = (exceeded + 1) / (resamples + 1)
    p[lead <= 0] = 1.0
    return p


def leads_of_best(
    right: NDArray[np.bool_],
    best: int,
    groups: Groups | None = None,
    *,
    alpha: float = ALPHA,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Give simultaneous intervals of the leads of the best, by the test of :func:`p_against_best`.

    An interval is above zero where, and only where, the test calls the head worse at ``alpha``:
    its half width is the lead that so few draws exceed.

    Parameters
    ----------
    right, best, groups, resamples, seed
        As there.
    alpha : float
        Chance that any of some equal heads is called worse.

    Returns
    -------
    ndarray of float64, shape (heads, 2)
        Low and high end of the accuracy of the best less each other's; zeros for itself.
    """
    hits = _hits_of_units(right, groups)
    spread = _spread(hits)
    observed = right.sum(axis=0, dtype=np.float64)
    draws = np.sort(np.concatenate([*_largest_leads(hits, spread, resamples, seed)]))[::-1]
    # So many draws may be as large as a lead whose p-value is below alpha.
    allowed = int(np.ceil(alpha * (resamples + 1))) - 2
    widest = draws[allowed] if allowed >= 0 else np.inf
    half = np.multiply(widest, spread[best], out=np.zeros(len(observed)), where=spread[best] > 0)
    lead = observed[best] - observed
    found: NDArray[np.float64] = np.stack([lead - half, lead + half], axis=1) / len(right)
    return np.clip(found, -1, 1)


def _spread(hits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return roots of the sums of squared differences: the same in every draw, either way round."""
    products = hits.T @ hits
    diagonal = np.diag(products)
    squares = diagonal[:, None] + diagonal[None, :] - 2 * products
    found: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0))
    return found


def _largest_leads(
    hits: NDArray[np.float64], spread: NDArray[np.float64], resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Yield the largest studentised lead of the best of each draw: blocks of shape (draws,)."""
    for signs in _signs(resamples, len(hits), seed):
        sums = signs @ hits
        picked = sums.argmax(axis=1)
        yield _studentised(sums.max(axis=1)[:, None] - sums, spread[picked]).max(axis=1)


def _hits_of_units(right: NDArray[np.bool_], groups: Groups | None) -> NDArray[np.float64]:
    """Count what each head got right in each independent unit, where not all got as many."""
    units = units_of(len(right), groups)
    hits = np.stack([np.bincount(units, column) for column in right.T], axis=1)
    told: NDArray[np.float64] = hits[(hits != hits[:, :1]).any(axis=1)]
    return told


def _signs(resamples: int, n: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield random signs: blocks of shape (draws, n)."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK_CELLS // max(n, 1))
    for start in range(0, resamples, step):
        coins = rng.integers(0, 2, (min(step, resamples - start), n), np.int8)
        yield (2 * coins - 1).astype(np.float64)


def _studentised(lead: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide by the spread; heads that are right equally often everywhere do not differ."""
    found = np.zeros_like(lead)
    np.divide(lead, spread, out=found, where=spread > 0)
    return found


@dataclass(frozen=True)
class McNemar:
    """McNemar's test: do two heads err on equally many rows?

    Only rows that one gets right and the other wrong tell them apart. Under the null
    hypothesis each such row falls to either side like a coin.

    Parameters
    ----------
    only_first, only_second : int
        Rows that only the first, only the second head gets right.
    exact : float
        Two-sided exact p-value: twice the smaller tail of the binomial, at most 1.
    mid_p : float
        The same with what is just as far from the middle counted half (M. Fagerland, S. Lydersen
        and P. Laake, The McNemar test for binary matched-pairs data, BMC Medical Research
        Methodology 13:91, 2013, which recommends it: the exact test is needlessly cautious).
    """

    only_first: int
    only_second: int
    exact: float
    mid_p: float


def mcnemar(first_right: ArrayLike, second_right: ArrayLike) -> McNemar:
    """Test two heads on the rows both were judged on.

    Parameters
    ----------
    first_right, second_right : array of bool, shape (n,)
        Whether each head got each row right.
    """
    from scipy.stats import binom

    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    if first.shape != second.shape or first.ndim != 1:
        raise OptionError(f"expected the same rows for both, got {first.shape}, {second.shape}")
    b, c = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    if b + c == 0:
        return McNemar(b, c, 1.0, 1.0)
    tail = float(binom.cdf(min(b, c), b + c, 0.5))
    observed = float(binom.pmf(min(b, c), b + c, 0.5))
    exact = min(1.0, 2 * tail)
    # With equal counts both tails are of the same middle.
    mid_p = 1 - observed / 2 if b == c else 2 * tail - observed
    return McNemar(b, c, exact, mid_p)


@dataclass(frozen=True)
class PairedDifference:
    """How much better one head is than another, by a paired bootstrap.

    Parameters
    ----------
    mean : float
        Accuracy of the first less that of the second on the rows themselves.
    low, high : float
        95% percentile interval over the draws.
    p : float
        Two-sided: twice the smaller share of draws on either side of zero, each with one draw
        added so that it is never zero (A. Davison and D. Hinkley, Bootstrap Methods and their
        Application, 1997, section 4.2).
    """

    mean: float
    low: float
    high: float
    p: float

    @classmethod
    def of(cls, mean: float, draws: NDArray[np.float64], level: float = 0.95) -> "PairedDifference":
        """Summarise draws of the difference, shape (draws,)."""
        tail = 100 * (1 - level) / 2
        low, high = np.percentile(draws, [tail, 100 - tail])
        # A difference of equal counts may be off zero by rounding.
        below, above = np.sum(draws <= 1e-12), np.sum(draws >= -1e-12)
        p = 2 * (min(below, above) + 1) / (len(draws) + 1)
        return cls(float(mean), float(low), float(high), float(min(1.0, p)))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "p": self.p}
