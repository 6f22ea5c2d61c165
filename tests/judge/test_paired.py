"""Paired comparisons against scipy and statsmodels 0.15."""

import numpy as np
import pytest
from scipy import stats

from bottleneck.errors import OptionError
from bottleneck.judge.tests import PairedDifference, mcnemar


def discordant(b, c, both=50, neither=20):
    """Two heads of which only the first is right b times, only the second c times."""
    first = [True] * b + [False] * c + [True] * both + [False] * neither
    second = [False] * b + [True] * c + [True] * both + [False] * neither
    return np.array(first), np.array(second)


# p-values that statsmodels 0.15.0 gives: mcnemar([[50, b], [c, 20]], exact=True).
STATSMODELS_MCNEMAR = {
    (10, 3): 0.09228515625,
    (5, 5): 1.0,
    (25, 9): 0.00904118549078703,
    (1, 0): 1.0,
    (0, 7): 0.015625,
    (120, 87): 0.025899541336068893,
}


@pytest.mark.parametrize(("b", "c"), STATSMODELS_MCNEMAR)
def test_exact_mcnemar_is_statsmodels_and_scipys(b, c):
    found = mcnemar(*discordant(b, c))
    assert (found.only_first, found.only_second) == (b, c)
    assert found.exact == pytest.approx(STATSMODELS_MCNEMAR[b, c], rel=1e-9)
    assert found.exact == pytest.approx(stats.binomtest(b, b + c, 0.5).pvalue, rel=1e-9)


@pytest.mark.parametrize(("b", "c"), [*STATSMODELS_MCNEMAR, (3, 10), (2, 1)])
def test_mid_p_sums_the_tails_with_half_of_the_middle(b, c):
    n = b + c
    # By the definition: all outcomes at least as far from the middle, those as far half.
    probability = np.array([stats.binom.pmf(i, n, 0.5) for i in range(n + 1)])
    distance = np.abs(np.arange(n + 1) - n / 2)
    here = abs(b - n / 2)
    farther = probability[distance > here + 1e-9].sum()
    as_far = probability[np.abs(distance - here) < 1e-9].sum()
    assert mcnemar(*discordant(b, c)).mid_p == pytest.approx(farther + as_far / 2, rel=1e-9)


def test_mcnemar_without_discordant_rows_and_with_other_rows():
    right = np.array([True, False, True])
    assert mcnemar(right, right).mid_p == mcnemar(right, right).exact == 1.0
    with pytest.raises(OptionError, match="same rows"):
        mcnemar(right, right[:2])


def test_p_of_the_difference():
    draws = np.array([0.1] * 990 + [-0.1] * 10)
    assert PairedDifference.of(0.1, draws).p == pytest.approx(2 * 11 / 1001)
    assert PairedDifference.of(0.0, np.zeros(99)).p == 1.0
    assert PairedDifference.of(0.3, np.full(99, 0.3)).p == pytest.approx(0.02)
