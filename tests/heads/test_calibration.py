"""Probabilities from scores, by a temperature found on rows left out."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from bottleneck.errors import OptionError
from bottleneck.heads import Head, head_kind, select
from bottleneck.heads.rows import ArrayRows
from bottleneck.heads.selection.model_selection import fit_temperature, two_columns
from bottleneck.heads.solver.held_out import out_of_fold_scores
from bottleneck.heads.solver.row_pass import passes
from bottleneck.judge import judge_head


def of_scores(scores, temperature):
    powers = np.exp(scores / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("true", [0.2, 1.0, 7.0])
def test_the_temperature_labels_were_drawn_with_is_found(rng, true):
    scores = rng.normal(size=(20000, 4))
    chances = of_scores(scores, true).cumsum(axis=1)
    y = (rng.random((20000, 1)) > chances).sum(axis=1)
    found = fit_temperature(scores, y)
    assert found == pytest.approx(true, rel=0.1)
    least = log_loss(y, of_scores(scores, found))
    for other in (0.97 * found, 1.03 * found):
        assert log_loss(y, of_scores(scores, other)) > least


def test_scores_that_tell_all_stay_finite():
    scores = np.array([[1.0, -1.0], [-1.0, 1.0]])
    temperature = fit_temperature(scores, np.array([0, 1]))
    assert 0 < temperature < 0.1  # a loss of 2e-9 or less


@pytest.mark.parametrize("classes", [2, 10])
def test_scores_are_of_heads_that_never_saw_the_row(digits, classes):
    kept = digits.y < classes
    X, y = digits.X[kept], digits.y[kept]
    fold = np.arange(len(y)) % 3
    outside = np.stack([fold != i for i in range(3)])
    with passes(ArrayRows(X), block_rows=64) as run:
        swept = head_kind("svm").sweep(run, y, classes, outside, values=[1e-3, 1e-2])
        scores = two_columns(out_of_fold_scores(run, outside, swept, at=1))
    assert scores.shape == (len(y), classes)
    for i in range(3):
        coef, intercept = swept.head(i, 1)
        own = X[fold == i].astype(float) @ coef.T + intercept
        if classes == 2:
            own = np.concatenate([-own, own], axis=1)
        np.testing.assert_allclose(scores[fold == i], own, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["svm", "ridge", "logreg"])
@pytest.mark.parametrize("classes", [2, 10])
def test_a_calibrated_head(digits, recipe, tmp_path, kind, classes):
    kept = digits.y < classes
    X, y = digits.X[kept], digits.y[kept]
    keys = [key for key, inside in zip(digits.keys, kept, strict=True) if inside]
    about = {"classes": digits.classes, "keys": keys, "head": kind, "grid": [1e-3], "n_folds": 3}
    plain = Head.of(select(X, y, **about), recipe=recipe, output="avg")
    head = Head.of(select(X, y, **about, calibrate=True), recipe=recipe, output="avg")
    np.testing.assert_array_equal(head.predict(X), plain.predict(X))
    path = tmp_path / "a.head"
    head.save(path)
    loaded = Head.load(path)
    probabilities = loaded.predict_proba(X)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), head.predict(X))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    expected = of_scores(head.scores(X), head.report["temperature"])
    np.testing.assert_allclose(probabilities, expected, rtol=1e-9)
    judged = judge_head(loaded, X, y, digits.classes)
    assert judged.log_loss == pytest.approx(log_loss(y, probabilities))
    assert (plain.predict_proba(X) is None) == (kind != "logreg")


def test_needs_rows_left_out(digits):
    with pytest.raises(OptionError, match="2 or more folds to calibrate"):
        select(
            digits.X, digits.y, classes=digits.classes, keys=digits.keys,
            grid=[1e-3], n_folds=0, calibrate=True,
        )  # fmt: skip
