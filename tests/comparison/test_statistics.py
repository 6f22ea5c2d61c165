"""Tests and intervals against scipy, against statsmodels 0.15, and against what they promise."""

import numpy as np
import pytest
from scipy import stats

from bottleneck.comparison.metrics import judge
from bottleneck.comparison.resampling import RowScores, bootstrap
from bottleneck.comparison.statistics import Difference, holm, mcnemar
from bottleneck.errors import OptionError


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
    expected = 1.0 if b == c else farther + as_far / 2
    assert mcnemar(*discordant(b, c)).mid_p == pytest.approx(expected, rel=1e-9)


def test_mcnemar_without_discordant_rows_and_with_other_rows():
    right = np.array([True, False, True])
    assert mcnemar(right, right).mid_p == mcnemar(right, right).exact == 1.0
    with pytest.raises(OptionError, match="same rows"):
        mcnemar(right, right[:2])


# multipletests(p, method="holm") of statsmodels 0.15.0.
@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.2, 0.9], [1.0, 0.6, 1.0]),
        ([0.001, 0.001, 0.02, 0.6, 0.013], [0.005, 0.005, 0.04, 0.6, 0.039]),
        ([0.2], [0.2]),
        ([], []),
    ],
)
def test_holm_is_statsmodels(raw, adjusted):
    assert holm(raw) == pytest.approx(adjusted)


def heads(n=300, accuracies=(0.85, 0.8), k=5, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    found = []
    for accuracy in accuracies:
        wrong = rng.random(n) >= accuracy
        predicted = np.where(wrong, (truth + rng.integers(1, k, n)) % k, truth)
        losses = rng.exponential(0.5, n)
        found.append(RowScores(truth, predicted, losses, rng.random(n) < 0.95))
    return found


def test_draws_score_as_scikit_learn_does():
    """A draw is a list of rows: scored by counts here, row by row there."""
    one = heads(n=40, k=4)[0]
    drawn = bootstrap([one], 4, resamples=20, seed=3)[0]
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 40, (20, 40))
    for i, chosen in enumerate(rows):
        expected = judge(one.truth[chosen], one.predicted[chosen], None, "abcd")
        assert drawn.values["accuracy"][i] == pytest.approx(expected.accuracy)
        assert drawn.values["balanced_accuracy"][i] == pytest.approx(expected.balanced_accuracy)
        assert drawn.values["macro_f1"][i] == pytest.approx(expected.macro_f1)
        assert drawn.values["log_loss"][i] == pytest.approx(one.log_losses[chosen].mean())
        assert drawn.values["top_5_accuracy"][i] == pytest.approx(one.in_top_5[chosen].mean())


def test_intervals_are_scipys():
    one, other = heads()
    first, second = bootstrap([one, other], 5, resamples=4000, seed=1)
    for name, values in (
        ("accuracy", one.right.astype(float)),
        ("log_loss", one.log_losses),
    ):
        theirs = stats.bootstrap(
            (values,), np.mean, n_resamples=4000, method="percentile", rng=2
        ).confidence_interval
        width = theirs.high - theirs.low
        assert first.intervals()[name] == pytest.approx([theirs.low, theirs.high], abs=0.06 * width)
    paired = stats.bootstrap(
        (one.right.astype(float), other.right.astype(float)),
        lambda a, b, axis=-1: np.mean(a, axis) - np.mean(b, axis),
        paired=True,
        n_resamples=4000,
        method="percentile",
        rng=2,
    ).confidence_interval
    found = first.difference(second, one.right.mean() - other.right.mean())
    width = paired.high - paired.low
    assert [found.low, found.high] == pytest.approx([paired.low, paired.high], abs=0.06 * width)


def test_p_of_the_difference():
    draws = np.array([0.1] * 990 + [-0.1] * 10)
    assert Difference.of(0.1, draws).p == pytest.approx(2 * 11 / 1001)
    assert Difference.of(0.0, np.zeros(99)).p == 1.0
    assert Difference.of(0.3, np.full(99, 0.3)).p == pytest.approx(0.02)


def test_groups_are_drawn_whole():
    """Thirty copies of ten rows know no more than ten rows."""
    ten = heads(n=10, accuracies=(0.7,), k=3, seed=4)[0]
    copies = RowScores(np.repeat(ten.truth, 30), np.repeat(ten.predicted, 30))
    groups = np.repeat(np.arange(10), 30)
    spread = {
        name: bootstrap([scores], 3, groups=of, resamples=3000)[0].values["accuracy"].std()
        for name, scores, of in (
            ("ten", ten, None),
            ("grouped", copies, groups),
            ("alone", copies, None),
            ("each its own", copies, np.full(300, -1)),
        )
    }
    assert spread["grouped"] == pytest.approx(spread["ten"], rel=0.1)
    assert spread["alone"] == pytest.approx(spread["ten"] / 30**0.5, rel=0.1)
    assert spread["each its own"] == pytest.approx(spread["alone"], rel=0.1)


def test_intervals_cover_what_they_claim():
    """Of many experiments, 90 to 97 in 100 intervals hold the true value."""
    k, n, repeats = 4, 250, 400
    rng = np.random.default_rng(8)
    # Heads that are right with a probability per class; the true scores follow.
    recall = np.array([0.95, 0.85, 0.75, 0.9])
    other = 0.8
    true_confusion = np.full((k, k), 0.0)
    for i in range(k):
        true_confusion[i] = (1 - recall[i]) / (k - 1)
        true_confusion[i, i] = recall[i]
    true_f1 = 2 * recall / (1 + true_confusion.sum(axis=0))
    truths = {
        "accuracy": recall.mean(),
        "balanced_accuracy": recall.mean(),
        "macro_f1": true_f1.mean(),
        "log_loss": 0.5,
        "difference": recall.mean() - other,
    }
    held = dict.fromkeys(truths, 0)
    for repeat in range(repeats):
        truth = rng.integers(0, k, n)
        wrong = rng.random(n) >= recall[truth]
        predicted = np.where(wrong, (truth + rng.integers(1, k, n)) % k, truth)
        # The other head errs on the same rows more often than not, as real ones do.
        shared = rng.random(n) < 0.5
        other_wrong = np.where(shared, wrong, rng.random(n) >= 2 * other - recall[truth])
        second = np.where(other_wrong, (truth + 1) % k, truth)
        pair = [
            RowScores(truth, predicted, rng.exponential(0.5, n)),
            RowScores(truth, second),
        ]
        draws = bootstrap(pair, k, resamples=400, seed=repeat)
        ends = draws[0].intervals()
        difference = draws[0].difference(draws[1], pair[0].right.mean() - pair[1].right.mean())
        ends["difference"] = [difference.low, difference.high]
        for name, value in truths.items():
            held[name] += ends[name][0] <= value <= ends[name][1]
    coverage = {name: count / repeats for name, count in held.items()}
    assert all(0.90 <= share <= 0.97 for share in coverage.values()), coverage
