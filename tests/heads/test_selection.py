from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads import HEADS, folds, select

GRID = (1e-3, 1e-2, 1e-1)

PEERS = {
    "logreg": lambda c: LogisticRegression(C=c, max_iter=5000),
    "svm": lambda c: LinearSVC(C=c, dual="auto", max_iter=5000, random_state=0),
    "ridge": lambda c: RidgeClassifier(alpha=1 / (2 * c)),
}


def run(digits, **options):
    options = {"classes": digits.classes, "keys": digits.keys, "grid": GRID} | options
    return select(digits.X, digits.y, **options)


@pytest.mark.parametrize("kind", PEERS)
def test_equals_an_explicit_loop(digits, kind):
    fitted = run(digits, head=kind, n_folds=4, seed=5)
    fold = folds(digits.keys, digits.y, n_folds=4, seed=5)
    means = []
    for c, entry in zip(GRID, fitted.cv, strict=True):
        accuracies = []
        for i in range(4):
            pipeline = make_pipeline(StandardScaler(), PEERS[kind](c))
            pipeline.fit(digits.X[fold != i], digits.y[fold != i])
            accuracies.append(pipeline.score(digits.X[fold == i], digits.y[fold == i]))
        assert entry["params"]["C"] == c
        assert entry["mean"] == pytest.approx(np.mean(accuracies), abs=1e-12)
        assert entry["std"] == pytest.approx(np.std(accuracies), abs=1e-12)
        means.append(np.mean(accuracies))
    best = GRID[int(np.argmax(means))]
    assert fitted.best["C"] == best
    whole = make_pipeline(StandardScaler(), PEERS[kind](best)).fit(digits.X, digits.y)
    np.testing.assert_allclose(
        fitted.estimator.decision_function(digits.X),
        whole.decision_function(digits.X),
        rtol=1e-3,
        atol=1e-4,
    )
    assert fitted.rows == 300
    assert fitted.dim == 64


def test_two_processes_give_the_same(digits):
    alone, together = run(digits), run(digits, jobs=2)
    assert together.cv == alone.cv
    np.testing.assert_array_equal(
        together.estimator.decision_function(digits.X), alone.estimator.decision_function(digits.X)
    )


def test_order_of_rows_does_not_change_the_scores(digits):
    shuffle = np.random.default_rng(0).permutation(300)
    there = select(
        digits.X[shuffle],
        digits.y[shuffle],
        classes=digits.classes,
        keys=[digits.keys[i] for i in shuffle],
        grid=GRID,
        head="ridge",
    )
    for ours, theirs in zip(run(digits, head="ridge").cv, there.cv, strict=True):
        assert theirs["mean"] == pytest.approx(ours["mean"], abs=1e-12)


class Spy:
    """A step that records which rows it was fitted on: the rows' number is column 0."""

    def __init__(self, log):
        self.log = log

    def fit(self, X, y):
        self.log.append(np.asarray(X)[:, 0].astype(int))
        self.classes_ = np.unique(y)
        return self

    def fit_transform(self, X):
        return self.fit(X, [0]).transform(X)

    def transform(self, X):
        return X

    def predict(self, X):
        return np.zeros(len(X), int)

    def __getitem__(self, index):
        return self


def test_held_out_rows_are_never_fitted_on(digits):
    log = []
    spy = replace(HEADS["logreg"], make=lambda params, seed: Spy(log))
    object.__setattr__(spy, "build", lambda params, seed=0: Spy(log))
    X = digits.X.copy()
    X[:, 0] = np.arange(300)
    select(X, digits.y, classes=digits.classes, keys=digits.keys, head=spy, grid=GRID, n_folds=3)
    fold = folds(digits.keys, digits.y, n_folds=3)
    *inner, final = log
    assert len(inner) == 3 * (1 + len(GRID))  # one scaler and the grid, in each fold
    for i in range(3):
        for seen in inner[i * 4 : i * 4 + 4]:
            np.testing.assert_array_equal(seen, np.flatnonzero(fold != i))
    np.testing.assert_array_equal(final, np.arange(300))


def test_ties_take_the_smallest_c():
    X = np.array([[-2.0], [2.0]] * 10, np.float32)
    fitted = select(
        X, [0, 1] * 10, classes=("a", "b"), keys=[str(i) for i in range(20)], grid=(10, 0.1, 1)
    )
    assert [entry["mean"] for entry in fitted.cv] == [1.0, 1.0, 1.0]
    assert fitted.best == {"C": 0.1}
    assert any("smallest of the grid" in note for note in fitted.notes)


def test_features_stay_float32(digits, monkeypatch):
    seen = []
    fit = LogisticRegression.fit

    def recorded(self, X, y):
        seen.append(X.dtype)
        return fit(self, X, y)

    monkeypatch.setattr(LogisticRegression, "fit", recorded)
    half = select(
        digits.X.astype(np.float16),
        digits.y,
        classes=digits.classes,
        keys=digits.keys,
        grid=(0.01,),
    )
    assert set(seen) == {np.dtype(np.float32)}
    assert half.cv == run(digits, grid=(0.01,)).cv  # small integers are exact in both


def test_classes_without_rows_are_not_part_of_the_head(digits):
    rows = np.flatnonzero((digits.y == 2) | (digits.y == 7))
    fitted = select(
        digits.X[rows],
        digits.y[rows],
        classes=digits.classes,
        keys=[digits.keys[i] for i in rows],
        grid=(0.01,),
    )
    assert fitted.classes == ("two", "seven")
    assert fitted.estimator.classes_.tolist() == [0, 1]


def test_not_converged_is_noted_not_printed(digits):
    hasty = replace(
        HEADS["logreg"], make=lambda params, seed: LogisticRegression(C=params["C"], max_iter=2)
    )
    fitted = run(digits, head=hasty, grid=(0.1, 1.0), n_folds=3)
    assert any(
        note.startswith("cross-validation, C=0.1, 3 of 3 folds: ConvergenceWarning")
        for note in fitted.notes
    )
    assert any(note.startswith("final fit") for note in fitted.notes)
    assert fitted.report()["notes"] == list(fitted.notes)


@pytest.mark.parametrize("kind", PEERS)
def test_default_grids_converge(digits, kind):
    notes = run(digits, head=kind, grid=None, n_folds=2).notes
    assert not [note for note in notes if "Warning" in note]


def test_thin_classes_are_noted(digits):
    keep = (digits.y < 2) | (np.arange(300) < 4)
    rows = np.flatnonzero(keep)
    fitted = select(
        digits.X[rows],
        digits.y[rows],
        classes=digits.classes,
        keys=[digits.keys[i] for i in rows],
        grid=(0.01,),
    )
    assert "classes with fewer rows than the 5 folds: 2 (two, three)" in fitted.notes


def test_without_cross_validation(digits):
    fitted = run(digits, grid=(0.01,), n_folds=0)
    assert fitted.cv == ()
    assert fitted.best == {"C": 0.01}
    with pytest.raises(OptionError, match="choose among 3 values"):
        run(digits, n_folds=0)


def test_refusals(digits):
    bad = digits.X.copy()
    bad[17, 3] = np.nan
    with pytest.raises(HeadError, match=r"row 17 \('seven/17.png'\)"):
        select(bad, digits.y, classes=digits.classes, keys=digits.keys)
    with pytest.raises(HeadError, match="training rows, got none"):
        select(digits.X[:0], [], classes=digits.classes, keys=[])
    with pytest.raises(HeadError, match="2 rows of 'a' only"):
        select(digits.X[:2], [0, 0], classes=("a",), keys=["x", "y"])
    with pytest.raises(HeadError, match="labels from 0 to 9, got -1"):
        select(digits.X, digits.y - 1, classes=digits.classes, keys=digits.keys)
    with pytest.raises(HeadError, match="for each of 300 rows"):
        select(digits.X, digits.y[:5], classes=digits.classes, keys=digits.keys)
    with pytest.raises(HeadError, match="expected features of shape"):
        select(digits.X[0], digits.y, classes=digits.classes, keys=digits.keys)
    with pytest.raises(OptionError, match="got 0"):
        run(digits, jobs=0)
    with pytest.raises(OptionError, match="positive finite"):
        run(digits, grid=(0.1, -1))
