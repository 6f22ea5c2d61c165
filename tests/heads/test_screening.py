"""Screening: the strength that the whole sweep chooses, for less."""

import numpy as np
import pytest

from benchmarks.made_features import made_features
from bottleneck.errors import OptionError
from bottleneck.heads import head_kind, select
from bottleneck.heads.rows import ArrayRows
from bottleneck.heads.selection.model_selection import choose
from bottleneck.heads.solver.row_pass import passes
from bottleneck.heads.solver.screening import Rule


def made(rng, rows, features, classes):
    """Make rows of correlated features, some with wrong labels; classes are all there."""
    y = np.arange(rows) % classes
    spread = np.arange(1, features + 1) ** -rng.choice([0.0, 0.5, 1.0])
    X = rng.choice([0.3, 0.7]) * rng.normal(size=(classes, features))[y]
    X = (X + rng.normal(size=X.shape)) * spread
    if rng.random() < 0.5:
        X = np.maximum(X, 0)
    wrong = rng.random(rows) < rng.choice([0.0, 0.1])
    y = np.where(wrong, rng.integers(classes, size=rows), y)
    return X.astype(np.float32), y


def chosen(X, y, **options):
    count = int(y.max()) + 1
    about = {"classes": [f"c{i}" for i in range(count)], "keys": [str(i) for i in range(len(y))]}
    return select(X, y, **about, jobs=1, **options)


@pytest.mark.parametrize("head", ["logreg", "svm"])
@pytest.mark.parametrize("one_se", [False, True])
@pytest.mark.parametrize("grid", [np.logspace(-4, 1, 6), np.logspace(-2, 0, 12)])
def test_the_same_strength_is_chosen(head, one_se, grid):
    """Also where twelve strengths of two decades are near ties, within a row of each other."""
    ruled_out = 0
    for seed in range(5):
        rng = np.random.default_rng([seed, len(grid)])
        X, y = made(rng, int(rng.integers(90, 400)), int(rng.integers(5, 60)), 2 + seed % 3)
        about = {"head": head, "one_se": one_se, "grid": grid}
        whole, screened = chosen(X, y, **about), chosen(X, y, **about, screen=True)
        assert screened.best == whole.best
        named = ruled_out_by(screened)
        for one, other in zip(screened.cv, whole.cv, strict=True):
            assert one == other or one["params"]["C"] in named
        np.testing.assert_array_equal(screened.estimator.coef_, whole.estimator.coef_)
        ruled_out += len(named)
    assert ruled_out > 0


def ruled_out_by(head):
    notes = [note for note in head.notes if "ruled out by screening" in note]
    tried = [entry["params"]["C"] for entry in head.cv]
    named = notes[0].removeprefix("C=").split(":")[0].split(", ") if notes else []
    return tried[len(tried) - len(named) :]


def test_strengths_that_are_ruled_out_cost_less():
    """The weakest penalties take the most passes."""
    X, y = made_features(2000, 100, 5)
    fold = np.arange(len(y)) % 5
    outside = np.stack([fold != i for i in range(5)])
    values, spent = np.logspace(-4, 4, 9), []
    for screen in (None, Rule()):
        with passes(ArrayRows(X), threads=1) as run:
            found = head_kind("logreg").sweep(
                run, y, 5, outside, values=values, parts=fold, screen=screen
            )
        spent.append(sum(one.passes for path in found.solutions for one in path))
    assert spent[1] < 0.7 * spent[0]
    assert len(found.ruled_out) >= 2


@pytest.mark.parametrize("one_se", [False, True])
def test_what_is_left_holds_the_choice_wherever_the_scores_may_be(one_se):
    rng = np.random.default_rng(0)
    rule, certain = Rule(one_se), 0
    for _ in range(300):
        folds, strengths = int(rng.integers(2, 6)), int(rng.integers(2, 8))
        share = rng.normal(0.8, 0.02, (folds, strengths)).round(2)
        unsure = np.abs(rng.normal(0, rng.choice([0.001, 0.01]), share.shape))
        left = rule.left(share, unsure)
        certain += len(left) == 1
        for _ in range(30):
            off = share + unsure * rng.uniform(-1, 1, share.shape)
            cv = [{"mean": c.mean(), "std": c.std()} for c in off.T]
            assert choose(cv, "smallest", folds if one_se else None) in left
    assert certain > 30


def test_equal_scores_are_left_together():
    share = np.array([[0.5, 0.75, 0.75]])
    assert Rule().left(share, np.zeros_like(share)).tolist() == [1, 2]


def test_one_strength_other_heads_and_targets_are_fitted_as_ever(rng):
    X, y = made(rng, 120, 8, 3)
    for about in ({"head": "ridge"}, {"grid": [0.1]}, {"head": "knn"}):
        whole, screened = (chosen(X, y, **about, screen=flag) for flag in (False, True))
        assert screened.cv == whole.cv
        more = [note for note in screened.notes if note not in whole.notes]
        assert more in ([], ["screening ruled out no strength: all scores are exact"])
    labels = np.stack([y == 0, y > 1], axis=1).astype(np.uint8)
    about = {"classes": ["a", "b"], "keys": [str(i) for i in range(len(y))], "n_folds": 3}
    whole, screened = (select(X, labels, **about, screen=flag) for flag in (False, True))
    assert screened.cv == whole.cv


def test_a_nested_estimate_needs_all_scores(rng):
    X, y = made(rng, 60, 4, 2)
    with pytest.raises(OptionError, match="nested estimate or screening"):
        chosen(X, y, nested=True, screen=True)


def test_heads_too_large_to_go_along_together_are_solved_in_full(monkeypatch, rng):
    X, y = made(rng, 200, 8, 3)
    monkeypatch.setattr("bottleneck.heads.solver.lockstep._MAX_COLUMNS", 14)  # 5 folds take 15
    whole, screened = (chosen(X, y, screen=flag) for flag in (False, True))
    assert screened.cv == whole.cv
    assert not ruled_out_by(screened)


def test_the_border_of_the_standard_error_is_that_of_the_choice():
    """Means may lie at the error to the last bit: of few folds, of few rows each."""
    rng = np.random.default_rng(0)
    for _ in range(4000):
        folds, rows = int(rng.choice([2, 4])), int(rng.choice([5, 10, 20]))
        share = rng.integers(rows // 2, rows + 1, (folds, 3)) / rows
        cv = [{"mean": float(one.mean()), "std": float(one.std())} for one in share.T]
        assert choose(cv, "smallest", folds) in Rule(True).left(share, np.zeros_like(share))


def test_heads_that_are_all_right_are_certain_within_the_standard_error():
    share = np.ones((5, 3))
    assert Rule(True).left(share, np.zeros_like(share)).tolist() == [0]


def test_what_was_ruled_out_is_not_said_to_meet_the_tolerance(rng):
    X, y = made(rng, 300, 30, 3)
    head = chosen(X, y, grid=np.logspace(-4, 5, 19), screen=True)
    named = ruled_out_by(head)
    assert len(named) > 5
    unmoved = [note for note in head.notes if "scores are equal" in note]
    named_too = [note.removeprefix("C=").split(":")[0].split(",") for note in unmoved]
    listed = [float(c) for cs in named_too for c in cs]
    assert all(c < 0.99 * min(named) for c in listed)


def test_heads_of_more_features_than_rows_are_not_thought_better_known_than_they_are():
    """A strength was ruled out that is better by one row: the gradient is small early."""
    rng = np.random.default_rng([5037, 77])  # drawn as the problem was found
    rows, features = int(rng.integers(40, 260)), int(rng.choice([200, 400, 800]))
    classes = int(rng.choice([2, 2, 3, 5]))
    y = np.arange(rows) % classes
    spread = np.arange(1, features + 1) ** -rng.choice([0.0, 0.5, 1.0])
    X = rng.choice([0.05, 0.1, 0.2, 0.4]) * rng.normal(size=(classes, features))[y]
    X = (X + rng.normal(size=X.shape)) * spread
    if rng.random() < 0.5:
        X = np.maximum(X, 0)
    if rng.random() < 0.5:
        X = X @ (rng.normal(size=(features, features)) / features**0.5)
    wrong = rng.random(rows) < rng.choice([0, 0.1, 0.3])
    y = np.where(wrong, rng.integers(classes, size=rows), y)
    y[: classes * 6] = np.arange(classes * 6) % classes
    _ = rng.choice(2), rng.random(), rng.integers(3), rng.integers(2, 7), rng.random()
    groups = rng.integers(-1, rows // 4, size=rows)
    about = {"head": "svm", "grid": np.logspace(-3, 2, 8), "n_folds": 4, "groups": groups}
    whole, screened = (chosen(X.astype(np.float32), y, **about, screen=on) for on in (False, True))
    assert screened.best == whole.best


def test_where_it_rules_out_nothing_it_says_so():
    X, y = made_features(120, 6, 3)
    for flag in (False, True):
        head = chosen(X, y, head="logreg", grid=[0.1, 0.1001], screen=flag)
        assert ("screening ruled out no strength: all scores are exact" in head.notes) == flag
