"""The level of "distinguishable from the best", and that real differences are found."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from bottleneck.judge.tests import ALPHA, leads_of_best, mcnemar, p_against_best


@pytest.fixture(autouse=True)
def _one_thread():
    """Thousands of small products are faster without other threads to wait for."""
    with threadpool_limits(1):
        yield


def equal_heads(rng, k, n, *, alike=0.6, size=1, accuracy=0.8):
    """Right or wrong of k equally good heads, which err on the same rows more often than not."""

    def latent(rows):
        common = rng.standard_normal((rows, 1), np.float32)
        own = rng.standard_normal((rows, k), np.float32)
        return alike**0.5 * common + (1 - alike) ** 0.5 * own

    found = latent(n)
    if size > 1:
        found = (found + np.repeat(latent(n // size), size, axis=0)) / 2**0.5
    return found < norm.ppf(accuracy)


def false_calls(k, repeats, *, n=600, size=1, **about):
    """Share of comparisons of equal heads in which any was called worse than the best."""
    rng = np.random.default_rng([k, size])
    groups = np.repeat(np.arange(n // size), size) if size > 1 else None
    calls = 0
    for seed in range(repeats):
        right = equal_heads(rng, k, n, size=size, **about)
        best = int(right.mean(axis=0).argmax())
        p = p_against_best(right, best, groups, resamples=400, seed=seed)
        calls += p.min() < ALPHA
    return calls / repeats


ROWS_IN_GROUPS = [(1, 600), (4, 1000), (16, 1600)]
"""Rows of a group, and rows in all."""


@pytest.mark.parametrize(("size", "n"), ROWS_IN_GROUPS)
@pytest.mark.parametrize("k", [6, 12, 24])
def test_equal_heads_are_told_apart_at_the_level(k, size, n):
    """500 trials: a level of 5% gives 2 to 8% with more than 99% probability."""
    assert 0.02 <= false_calls(k, 500, size=size, n=n) <= 0.08


@pytest.mark.heavy
@pytest.mark.parametrize(("size", "n"), ROWS_IN_GROUPS)
@pytest.mark.parametrize("k", [6, 12, 24])
def test_the_level_in_4000_comparisons(k, size, n):
    """Measured: 4.4 to 5.4%."""
    assert 0.04 <= false_calls(k, 4000, size=size, n=n) <= 0.06


@pytest.mark.heavy
@pytest.mark.parametrize(
    "few",
    [
        {"k": 24, "n": 480, "size": 16},
        {"k": 6, "n": 480, "size": 16},
        {"k": 24, "n": 200, "accuracy": 0.95},
        {"k": 24, "n": 300, "accuracy": 0.98, "alike": 0.9},
        {"k": 2, "n": 40},
    ],
    ids=str,
)
def test_few_groups_and_few_errors_call_no_more(few):
    """What so few can say falls short of the level, and never goes beyond it."""
    assert false_calls(repeats=2000, **few) <= 0.06


def found_worse(gaps, repeats=60, *, k=6, n=1000, size=1):
    """For each gap in accuracy of half of the heads, how many of them are called worse."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(n // size), size) if size > 1 else None
    shares = []
    for gap in gaps:
        called = 0.0
        for seed in range(repeats):
            both = equal_heads(rng, k, n, size=size, accuracy=0.85)
            worse = equal_heads(rng, k, n, size=size, accuracy=0.85 - gap)
            right = np.concatenate([both[:, : k // 2], worse[:, k // 2 :]], axis=1)
            best = int(right.mean(axis=0).argmax())
            p = p_against_best(right, best, groups, resamples=400, seed=seed)
            called += float((p[k // 2 :] < ALPHA).mean())
        shares.append(called / repeats)
    return shares


@pytest.mark.parametrize("size", [1, 4])
def test_what_is_worse_is_found_the_surer_the_worse_it_is(size):
    found = found_worse([0.0, 0.03, 0.06, 0.12], size=size)
    assert all(less < more for less, more in pairwise(found))
    assert found[0] < 0.06
    assert found[-1] > 0.95


def test_what_is_worse_is_found_beside_what_is_equal():
    rng = np.random.default_rng(0)
    right = np.concatenate(
        [equal_heads(rng, 3, 1000, accuracy=0.9), equal_heads(rng, 3, 1000, accuracy=0.8)], axis=1
    )
    best = int(right.mean(axis=0).argmax())
    p = p_against_best(right, best)
    assert p[best] == 1
    assert (p[:3] > 0.05).all()
    assert (p[3:] < 0.01).all()


@pytest.mark.parametrize("gap", [0.005, 0.02, 0.05])
def test_of_two_heads_it_is_mcnemars_exact_test(gap):
    rng = np.random.default_rng(3)
    right = np.stack([rng.random(800) < 0.85, rng.random(800) < 0.85 - gap], axis=1)
    best = int(right.mean(axis=0).argmax())
    exact = mcnemar(right[:, 0], right[:, 1]).exact
    found = p_against_best(right, best, resamples=40_000)[1 - best]
    assert found == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 40_000) ** 0.5 + 1e-4)


def test_heads_that_agree_everywhere_do_not_differ():
    right = np.random.default_rng(0).random((100, 1)) < 0.8
    np.testing.assert_array_equal(p_against_best(np.repeat(right, 3, axis=1), 0), [1, 1, 1])


def test_groups_take_evidence_away():
    rng = np.random.default_rng(1)
    few = rng.random((30, 2)) < (0.85, 0.75)
    many = np.repeat(few, 20, axis=0)
    alone = p_against_best(many, 0)[1]
    groups = np.repeat(np.arange(30), 20)
    grouped = p_against_best(many, 0, groups)[1]
    assert alone < 0.001 < grouped
    # Copies in groups tell what the rows tell once.
    assert grouped == p_against_best(few, 0)[1]


def test_rows_on_which_all_agree_say_nothing():
    rng = np.random.default_rng(2)
    right = rng.random((200, 4)) < (0.9, 0.85, 0.8, 0.8)
    padded = np.concatenate([right, np.ones((500, 4), bool), np.zeros((90, 4), bool)])
    best = int(right.mean(axis=0).argmax())
    np.testing.assert_array_equal(p_against_best(padded, best), p_against_best(right, best))


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6])
def test_an_interval_of_a_lead_is_above_zero_where_the_test_calls_it(alpha):
    rng = np.random.default_rng(3)
    called = 0
    for seed in range(20):
        right = equal_heads(rng, 5, 150)
        right[:, 1] &= rng.random(150) < rng.uniform(0.7, 1)
        groups = np.repeat(np.arange(50), 3) if seed % 2 else None
        best = int(right.mean(axis=0).argmax())
        p = p_against_best(right, best, groups, seed=seed)
        found = leads_of_best(right, best, groups, alpha=alpha, seed=seed)
        np.testing.assert_array_equal(found[:, 0] > 1e-12, p < alpha)
        lead = right[:, best].mean() - right.mean(axis=0)
        np.testing.assert_allclose(found.mean(axis=1), lead, atol=1e-12)
        called += int((p < alpha).sum())
    assert 5 < called < 40


def test_too_few_draws_tell_nothing():
    right = np.array([[True, False]] * 30)
    assert (leads_of_best(right, 0, alpha=0.001, resamples=100)[1] == [-1, 1]).all()
