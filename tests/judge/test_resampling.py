"""The draws that intervals and tests rest on, against rows drawn one by one and against scipy."""

import numpy as np
import pytest
from scipy import stats

from bottleneck.judge.intervals import drawn_counts, drawn_means, percentile_interval, units_of


def test_draws_are_rows_drawn_with_replacement():
    values = np.random.default_rng(1).normal(size=(40, 3))
    found = drawn_means(values, resamples=20, seed=3)
    rows = np.random.default_rng(3).integers(0, 40, (20, 40))
    np.testing.assert_allclose(found, [values[chosen].mean(axis=0) for chosen in rows])


def test_percentile_intervals_are_scipys():
    values = np.random.default_rng(0).exponential(0.5, 300)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=2
    ).confidence_interval
    ours = percentile_interval(drawn_means(values[:, None], resamples=4000, seed=1))
    assert ours == pytest.approx(tuple(theirs), abs=0.06 * (theirs.high - theirs.low))
    assert percentile_interval(np.array([np.nan])) is None


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
