"""Paired comparisons of two heads judged on the same rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import OptionError


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
        The same less half of the probability of what was observed (M. Fagerland, S. Lydersen
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
    # With equal counts both tails hold the middle: twice the tail less its probability is 1.
    mid_p = 1.0 if b == c else 2 * tail - observed
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
