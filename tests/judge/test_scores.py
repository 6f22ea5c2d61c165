import json

import numpy as np
import pytest
from sklearn import metrics

from bottleneck.errors import HeadError
from bottleneck.judge import ClassJudgement, judge


def test_by_hand():
    judgement = judge([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2], None, ("a", "b", "c"))
    assert judgement.rows == 6
    assert judgement.accuracy == pytest.approx(4 / 6)
    assert judgement.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert judgement.macro_f1 == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert judgement.log_loss is None
    assert judgement.confusion == ((2, 1, 0), (0, 1, 1), (0, 0, 1))
    a, b, c = judgement.per_class
    assert (a.name, a.precision, a.recall, a.support) == ("a", 1.0, pytest.approx(2 / 3), 3)
    assert (b.precision, b.recall, b.f1, b.support) == (0.5, 0.5, 0.5, 2)
    assert (c.precision, c.recall, c.f1, c.support) == (0.5, 1.0, pytest.approx(2 / 3), 1)


def test_log_loss_by_hand():
    probabilities = [[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [1.0, 0.0, 0.0]]
    judgement = judge([0, 1, 2], [0, 1, 0], probabilities, ("a", "b", "c"))
    floor = np.finfo(np.float64).eps
    expected = -(np.log(0.5) + np.log(0.8) + np.log(floor)) / 3
    assert judgement.log_loss == pytest.approx(expected, rel=1e-6)


def test_against_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, 500)
    probabilities = rng.dirichlet(np.ones(6), 500)
    probabilities[np.arange(500), truth] += 0.5
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    judgement = judge(truth, predicted, probabilities.astype(np.float32), list("abcdef"))
    assert judgement.accuracy == metrics.accuracy_score(truth, predicted)
    assert judgement.balanced_accuracy == pytest.approx(
        metrics.balanced_accuracy_score(truth, predicted), abs=1e-12
    )
    assert judgement.macro_f1 == pytest.approx(
        metrics.f1_score(truth, predicted, average="macro"), abs=1e-12
    )
    assert judgement.log_loss == pytest.approx(metrics.log_loss(truth, probabilities), rel=1e-5)
    np.testing.assert_array_equal(judgement.confusion, metrics.confusion_matrix(truth, predicted))


def test_absent_classes():
    """c has no rows but is predicted, d has neither: c costs macro F1, d does not."""
    judgement = judge([0, 0, 1, 1], [0, 2, 1, 1], None, ("a", "b", "c", "d"))
    assert judgement.per_class[2] == ClassJudgement("c", 0.0, None, 0.0, 0)
    assert judgement.per_class[3] == ClassJudgement("d", None, None, None, 0)
    assert judgement.balanced_accuracy == pytest.approx((0.5 + 1) / 2)
    assert judgement.macro_f1 == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert len(judgement.confusion) == 4


def test_never_predicted():
    judgement = judge([0, 1], [0, 0], None, ("a", "b"))
    assert judgement.per_class[1] == ClassJudgement("b", None, 0.0, 0.0, 1)


def test_json_has_the_documented_keys_and_no_nan():
    judgement = judge([0, 1], [0, 0], [[0.9, 0.1], [0.6, 0.4]], ("a", "b"))
    value = json.loads(json.dumps(judgement.to_json(), allow_nan=False))
    assert list(value) == [
        "rows",
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "log_loss",
        "per_class",
        "confusion",
        "unknown_classes",
        "calibration_error",
        "top_5_accuracy",
        "intervals",
    ]
    assert value["per_class"][1] == {
        "class": "b",
        "precision": None,
        "recall": 0.0,
        "f1": 0.0,
        "support": 1,
    }
    assert value["confusion"] == [[1, 0], [1, 0]]
    assert repr(judgement) == "<Judgement accuracy 0.5000, macro F1 0.3333, 2 rows, 2 classes>"


def test_refusals():
    with pytest.raises(HeadError, match="rows to judge by, got none"):
        judge([], [], None, ("a",))
    with pytest.raises(HeadError, match="one prediction per row"):
        judge([0, 1], [0], None, ("a", "b"))
    with pytest.raises(HeadError, match="true codes from 0 to 1, got -1 to 1"):
        judge([-1, 1], [0, 1], None, ("a", "b"))
    with pytest.raises(HeadError, match="predicted codes from 0 to 1, got 0 to 2"):
        judge([0, 1], [0, 2], None, ("a", "b"))
    with pytest.raises(HeadError, match=r"probabilities of shape \(2, 2\)"):
        judge([0, 1], [0, 1], [[1.0], [1.0]], ("a", "b"))
    for bad in ([[0.5, 0.2], [0.5, 0.5]], [[1.5, -0.5], [0.5, 0.5]], [[np.nan, 1], [0.5, 0.5]]):
        with pytest.raises(HeadError, match="sum to one"):
            judge([0, 1], [0, 1], bad, ("a", "b"))


def test_calibration_error_by_hand():
    probabilities = [[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.45, 0.55]]
    judged = judge([0, 1, 1, 1], [0, 0, 1, 1], probabilities, ("a", "b"))
    # bins of 0.9 (two rows, half right), 0.7 and 0.55 (right)
    assert judged.calibration_error == pytest.approx((2 * 0.4 + 0.3 + 0.45) / 4)
    assert judge([0, 1], [0, 1], None, ("a", "b")).calibration_error is None


def test_top_5_accuracy():
    names = tuple("abcdefg")
    scores = np.tile(np.arange(7.0), (3, 1))
    judged = judge([6, 2, 1], [6, 6, 6], None, names, scores=scores)
    assert judged.top_5_accuracy == pytest.approx(2 / 3)
    ties = judge([4, 5, 6], [0, 0, 0], None, names, scores=np.zeros((3, 7)))
    assert ties.top_5_accuracy == pytest.approx(1 / 3)
    assert judge([0, 1], [0, 1], None, ("a", "b"), scores=np.eye(2)).top_5_accuracy is None


def test_intervals_agree_with_resampled_rows_away_from_the_ends():
    from sklearn.metrics import balanced_accuracy_score, f1_score

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    predicted = np.where(rng.uniform(size=400) < 0.8, truth, rng.integers(0, 3, 400))
    judged = judge(truth, predicted, None, ("a", "b", "c"))
    draws = rng.integers(0, 400, (500, 400))
    by_rows = {
        "accuracy": [np.mean(truth[i] == predicted[i]) for i in draws],
        "balanced_accuracy": [balanced_accuracy_score(truth[i], predicted[i]) for i in draws],
        "macro_f1": [f1_score(truth[i], predicted[i], average="macro") for i in draws],
    }
    for name, values in by_rows.items():
        low, high = judged.intervals[name]
        assert low < getattr(judged, name) < high
        np.testing.assert_allclose((low, high), np.percentile(values, [2.5, 97.5]), atol=0.01)
    assert judge(truth, predicted, None, ("a", "b", "c")).intervals == judged.intervals
