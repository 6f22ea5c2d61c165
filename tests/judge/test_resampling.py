"""The draws that intervals and tests rest on, against rows drawn one by one and against scipy."""

import numpy as np
import pytest
from scipy import stats

from bottleneck.judge.intervals import (
    drawn_counts,
    drawn_means,
    logit_interval,
    positive_interval,
    units_of,
    without_parts,
)


def test_draws_are_rows_drawn_with_replacement():
    values = np.random.default_rng(1).normal(size=(40, 3))
    found = drawn_means(values, resamples=20, seed=3)
    rows = np.random.default_rng(3).integers(0, 40, (20, 40))
    np.testing.assert_allclose(found, [values[chosen].mean(axis=0) for chosen in rows])


def test_the_interval_of_a_mean_loss_is_students_of_its_logarithm():
    """For a mean, the spread of its logarithm is known: deviation / mean / root of n."""
    values = np.random.default_rng(0).exponential(0.5, 300)
    units = np.arange(300)
    draws = drawn_means(values[:, None], resamples=4000, seed=1)[:, 0]
    low, high = positive_interval(values.mean(), draws, units)
    spread = values.std(ddof=1) / values.mean() / 300**0.5
    expected = np.exp(stats.t.interval(0.95, 299, loc=np.log(values.mean()), scale=spread))
    assert (low, high) == pytest.approx(tuple(expected), abs=0.06 * (expected[1] - expected[0]))
    # Few rows: wider, as Student has it.
    few = positive_interval(values.mean(), draws, np.arange(5))
    assert few[0] < low < high < few[1]


def test_no_errors_tell_nothing_of_how_large_they_may_be():
    units = np.arange(20)
    assert positive_interval(0.0, np.zeros(50), units) is None
    low, high = positive_interval(0.1, np.array([0.0, 0.1, 0.2]), units)
    assert low == 0
    assert high > 0.2


def test_groups_are_drawn_whole():
    """Thirty copies of ten rows know no more than ten rows."""
    ten = np.random.default_rng(4).random((10, 1))
    copies, groups = np.repeat(ten, 30, axis=0), np.repeat(np.arange(10), 30)
    spread = {
        name: drawn_means(values, of, resamples=3000).std()
        for name, values, of in (
            ("ten", ten, None),
            ("grouped", copies, groups),
            ("alone", copies, None),
            ("each its own", copies, np.full(300, -1)),
        )
    }
    assert spread["grouped"] == pytest.approx(spread["ten"], rel=0.1)
    assert spread["alone"] == pytest.approx(spread["ten"] / 30**0.5, rel=0.1)
    assert spread["each its own"] == pytest.approx(spread["alone"], rel=0.1)
    for counts in drawn_counts(300, groups, resamples=50):
        assert (counts.reshape(len(counts), 10, 30) == counts[:, ::30][:, :, None]).all()


def test_rows_without_a_group_are_units_of_their_own():
    units = units_of(6, np.array([2, -1, 2, -1, 0, 0]))
    assert len(np.unique(units)) == 4
    assert units[0] == units[2]
    assert units[4] == units[5]
    np.testing.assert_array_equal(units_of(3, np.full(3, -1)), [0, 1, 2])


def test_the_jackknife_of_a_mean_is_its_variance():
    """Known exactly: the variance of the values over their number."""
    values = np.random.default_rng(5).exponential(1, 50)
    left = [
        weights @ values / weights.sum() for weights in without_parts(units_of(50, None), parts=99)
    ]
    assert len(left) == 50
    assert np.var(left) * 49 == pytest.approx(values.var(ddof=1) / 50, rel=1e-9)
    # Of ten groups of five, the same of the groups' means.
    groups = np.repeat(np.arange(10), 5)
    left = [weights @ values / weights.sum() for weights in without_parts(groups, parts=99)]
    means = values.reshape(10, 5).mean(axis=1)
    assert np.var(left) * 9 == pytest.approx(means.var(ddof=1) / 10, rel=1e-9)


def test_parts_are_of_whole_groups_and_every_row_is_left_out_once():
    groups = np.random.default_rng(6).permutation(np.repeat(np.arange(30), 4))
    weights = np.stack(list(without_parts(groups, parts=7)))
    assert (weights.sum(axis=0) == 6).all()
    for group in range(30):
        assert (weights[:, groups == group].std(axis=1) == 0).all()
    sizes = (weights == 0).sum(axis=1)
    assert set(sizes // 4) <= {4, 5}


def test_a_share_by_its_log_odds():
    """Against Wald's interval of the log odds of 8 of 10, by hand."""
    low, high = logit_interval(0.8, 0.8 * 0.2 / 10, 10**9)
    spread = (1 / 8 + 1 / 2) ** 0.5
    odds = 4 * np.exp(np.array([-1, 1]) * 1.959964 * spread)
    assert (low, high) == pytest.approx(tuple(odds / (1 + odds)), rel=1e-6)
    few = logit_interval(0.8, 0.8 * 0.2 / 10, 4)
    assert few[0] < low < high < few[1]
    assert logit_interval(1.0, 0.0, 5) == (1.0, 1.0)
