"""Rows are multiplied with the problems that have them, and sums stay what they are."""

import numpy as np
import pytest

from bottleneck.heads.rows import ArrayRows
from bottleneck.heads.solver.engine import LOGISTIC, SOFTMAX, Work, numpy_engine, softmax
from bottleneck.heads.solver.row_groups import row_groups, runs
from bottleneck.heads.solver.row_pass import passes
from bottleneck.heads.solver.scaling import Weighting


def folds_left_out(rng, folds, rows):
    """Of each fold, the rows of all others."""
    return rng.integers(0, folds, rows) != np.arange(folds)[:, None]


def nested(rng, subsets, rows):
    """Shares of the rows, each within the next."""
    return rng.random(rows) < np.linspace(0.2, 0.9, subsets)[:, None]


def at_random(rng, subsets, rows):
    return rng.random((subsets, rows)) < 0.5


def a_few(rng, subsets, rows):
    """Nearly all rows are of no subset."""
    return at_random(rng, subsets, rows) & (np.arange(rows) % 9 == 0)


def nobody(rng, subsets, rows):
    return np.zeros((subsets, rows), bool)


MEMBERS = [folds_left_out, nested, at_random, a_few, nobody]


@pytest.mark.parametrize("made", MEMBERS)
@pytest.mark.parametrize("subsets", [1, 3, 5, 12])
@pytest.mark.parametrize("columns", [1, 200])
def test_every_row_is_multiplied_once_with_each_problem_that_has_it(made, subsets, columns, rng):
    inside = made(rng, subsets, 1500)
    place = np.sort(rng.integers(0, subsets, subsets + 2))
    groups = row_groups(inside, place, columns=columns, features=256)
    if groups is None:
        assert made is not nobody
        return
    times = np.zeros((len(place), 1500), int)
    for rows, problems in groups:
        times[np.ix_(problems, rows)] += 1
        assert (np.diff(problems) > 0).all()
    assert times.max(initial=0) <= 1
    assert (times[inside[place]] == 1).all()
    assert times.sum() < times.size


def test_a_fold_is_not_multiplied_with_the_rows_it_leaves_out(rng):
    inside = folds_left_out(rng, 5, 2000)
    groups = row_groups(inside, np.arange(5), columns=100, features=256)
    assert sorted(len(problems) for _, problems in groups) == [4] * 5
    assert sum(len(rows) * len(problems) for rows, problems in groups) == inside.sum()


def test_where_a_copy_costs_more_than_it_saves_blocks_stay_as_they_are(rng):
    inside = folds_left_out(rng, 5, 2000)
    assert row_groups(inside, np.arange(5), columns=1, features=256) is None
    whole = np.ones((5, 2000), bool)
    assert row_groups(whole, np.arange(5), columns=1000, features=256) is None
    assert row_groups(at_random(rng, 12, 500), np.arange(12), columns=1, features=256) is None


def test_rows_of_few_are_multiplied_together(rng):
    """Of two subsets with nine rows that only one of them has."""
    inside = np.ones((2, 1000), bool)
    inside[0, 500:509] = False
    inside[:, 600:] = False
    ((rows, problems),) = row_groups(inside, np.arange(2), columns=100, features=256)
    assert sorted(rows) == list(range(600))
    assert problems.tolist() == [0, 1]


def test_runs_of_numbers():
    assert runs(np.array([0, 1, 3, 4, 5, 9])) == [slice(0, 2), slice(3, 6), slice(9, 10)]
    assert runs(np.array([], np.int64)) == []


@pytest.mark.parametrize("made", MEMBERS)
@pytest.mark.parametrize(("loss", "k"), [(SOFTMAX, 40), (LOGISTIC, 1)])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 3, 2]])
def test_sums_are_those_of_the_definition(made, loss, k, order, rng):
    """Also of row weights that are zero, of problems in any order, and of several of a subset."""
    n, d = 1300, 64
    X = rng.normal(size=(n, d)).astype(np.float32)
    y = rng.integers(0, max(k, 2), n)
    row_weights = rng.uniform(0.5, 2, n) * (rng.random(n) < 0.9)
    weighting = Weighting(y, made(rng, 5, n), row_weights)
    used, place = np.unique(order, return_inverse=True)
    p = len(order)
    work = Work(
        loss=loss,
        weights=rng.normal(size=(k, p, d)).astype(np.float32) * 0.3,
        intercepts=rng.normal(size=(k, p)).astype(np.float32),
        used=used,
        place=place,
        shift=None,
    )
    with passes(ArrayRows(X), threads=1) as run:
        losses, residuals, products = numpy_engine(run, work, weighting)
    wide = X.astype(np.float64)
    for i, subset in enumerate(order):
        weight = weighting.members[subset] * row_weights
        Z = work.weights[:, i].astype(np.float64) @ wide.T + work.intercepts[:, i, None]
        Z = np.concatenate([np.zeros((1, n)), Z]) if k == 1 else Z
        shares = np.exp(Z) / np.exp(Z).sum(axis=0)
        truth = np.arange(len(Z))[:, None] == y
        expected = ((shares - truth) * weight)[-k:]
        assert losses[i] == pytest.approx(-(np.log(shares[y, np.arange(n)]) * weight).sum())
        np.testing.assert_allclose(residuals[:, i], expected.sum(axis=1), atol=1e-4)
        np.testing.assert_allclose(products.reshape(k, p, d)[:, i], expected @ wide, atol=1e-3)


def test_scores_may_lie_by_columns_or_by_problems(rng):
    Z = rng.normal(size=(7, 3, 50)).astype(np.float32)
    y, weights = rng.integers(0, 7, 50), rng.random((3, 50)).astype(np.float32)
    other = np.ascontiguousarray(Z.transpose(1, 0, 2)).transpose(1, 0, 2)
    np.testing.assert_array_equal(softmax(Z, y, weights), softmax(other, y, weights))
    np.testing.assert_array_equal(Z, other)
