"""Intervals against scipy, and against what they promise, also where that is hard."""

import numpy as np
import pytest
from scipy import stats

from bottleneck.judge.intervals import RowScores, class_intervals, share_interval, units_of
from bottleneck.judge.scores import judge

SCORES = ("accuracy", "balanced_accuracy", "macro_f1")


@pytest.mark.parametrize(("right", "n"), [(240, 300), (99, 100), (100, 100), (0, 7), (1, 30)])
def test_a_share_of_rows_has_wilsons_interval(right, n):
    ours = share_interval(np.arange(n) < right, np.arange(n))
    theirs = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_copies_add_nothing():
    """Rows repeated within groups: about the interval of the rows, a little wider (Student's)."""
    truth = np.random.default_rng(0).integers(0, 3, 200)
    predicted = np.where(np.random.default_rng(1).random(200) < 0.8, truth, (truth + 1) % 3)
    once = class_intervals(RowScores(truth, predicted), 3)
    groups = np.repeat(np.arange(200), 8)
    copies = RowScores(np.repeat(truth, 8), np.repeat(predicted, 8))
    grouped = class_intervals(copies, 3, groups)
    alone = class_intervals(copies, 3)
    for name in SCORES:
        width = np.diff(once[name])
        assert width * 0.99 < np.diff(grouped[name]) < width * 1.05
        assert np.diff(alone[name]) < 0.5 * width


def test_too_little_to_say_anything():
    rows = RowScores(np.zeros(6, np.int64), np.zeros(6, np.int64), np.ones(6))
    one_group = class_intervals(rows, 2, np.zeros(6, np.int64))
    assert one_group["accuracy"] == (0.0, 1.0)
    assert "log_loss" not in one_group
    assert class_intervals(rows, 2)["accuracy"][0] < 0.7  # six of six is not certainty


def test_the_same_judgement_has_the_same_intervals():
    truth = np.arange(60) % 3
    predicted = np.where(np.arange(60) % 7 == 0, (truth + 1) % 3, truth)
    groups = np.arange(60) // 4
    judged = judge(truth, predicted, None, "abc", groups=groups)
    assert judged.intervals == class_intervals(RowScores(truth, predicted), 3, groups)


def coverage(repeats, n, recall, *, size=1, alike=5.0, priors=None, seed=0):
    """Share of intervals that hold the true score; groups differ by a beta distribution."""
    rng = np.random.default_rng(seed)
    recall = np.asarray(recall)
    k = len(recall)
    share = np.full(k, 1 / k) if priors is None else np.asarray(priors)
    confusion = np.repeat((1 - recall)[:, None] / (k - 1), k, axis=1)
    np.fill_diagonal(confusion, recall)
    held = dict.fromkeys(SCORES, 0)
    for _ in range(repeats):
        of_group = rng.choice(k, n // size, p=share)
        truth = np.repeat(of_group, size)
        p = recall[truth]
        if size > 1:
            own = rng.beta(recall[of_group] * alike, (1 - recall[of_group]) * alike)
            p = np.repeat(own, size)
        wrong = rng.random(len(truth)) >= p
        predicted = np.where(wrong, (truth + rng.integers(1, k, len(truth))) % k, truth)
        groups = np.repeat(np.arange(n // size), size) if size > 1 else None
        found = class_intervals(RowScores(truth, predicted), k, groups)
        seen = np.bincount(truth, minlength=k) > 0
        # A score is of the classes that have rows.
        true = {
            "accuracy": share @ recall,
            "balanced_accuracy": recall[seen].mean(),
            "macro_f1": (2 * share * recall / (share + share @ confusion)).mean(),
        }
        for name in SCORES:
            held[name] += found[name][0] <= true[name] <= found[name][1]
    return {name: count / repeats for name, count in held.items()}


GROUPED = [(1, 150), (4, 600), (16, 2400)]
FEW_GROUPS = [(4, 160, 0.95), (16, 640, 0.8), (16, 640, 0.95)]
NEAR_THE_ENDS = [
    (250, [0.95, 0.85, 0.75, 0.9]),
    (100, [0.95] * 3),
    (300, [0.995] * 3),
    (30, [0.95] * 3),
    (100, [0.98] * 20),
    (60, [0.05, 0.05]),
]


@pytest.mark.parametrize(("size", "n"), GROUPED)
def test_groups_are_covered(size, n):
    found = coverage(300, n, [0.8] * 3, size=size)
    assert all(0.92 <= share <= 0.98 for share in found.values()), found


@pytest.mark.heavy
@pytest.mark.parametrize(("size", "n"), GROUPED)
def test_groups_are_covered_in_4000(size, n):
    found = coverage(4000, n, [0.8] * 3, size=size)
    assert all(0.93 <= share <= 0.97 for share in found.values()), found


@pytest.mark.heavy
@pytest.mark.parametrize(("size", "n", "recall"), FEW_GROUPS)
def test_few_groups_are_covered_in_4000(size, n, recall):
    found = coverage(4000, n, [recall] * 3, size=size)
    assert all(0.93 <= share <= 0.97 for share in found.values()), found


@pytest.mark.parametrize(("n", "recall"), NEAR_THE_ENDS)
def test_the_ends_and_tiny_classes_are_covered(n, recall):
    found = coverage(300, n, recall)
    assert all(share >= 0.90 for share in found.values()), found


@pytest.mark.heavy
@pytest.mark.parametrize(("n", "recall"), NEAR_THE_ENDS)
def test_the_ends_and_tiny_classes_are_covered_in_4000(n, recall):
    found = coverage(4000, n, recall)
    assert all(share >= 0.925 for share in found.values()), found


def test_the_log_loss_is_covered():
    rng = np.random.default_rng(5)
    held = 0
    for seed in range(200):
        losses = rng.exponential(0.5, 250)
        rows = RowScores(np.zeros(250, np.int64), np.zeros(250, np.int64), losses)
        low, high = class_intervals(rows, 2, seed=seed)["log_loss"]
        held += low <= 0.5 <= high
    assert 0.90 <= held / 200 <= 0.99


def test_ungrouped_rows_ignore_the_groups_of_none():
    rows = RowScores(np.arange(50) % 2, np.arange(50) % 2)
    assert class_intervals(rows, 2, np.full(50, -1)) == class_intervals(rows, 2)
    assert len(np.unique(units_of(50, None))) == 50
