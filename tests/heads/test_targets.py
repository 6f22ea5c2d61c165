"""Heads of labels and of numbers, against scikit-learn on real features."""

import json
import zipfile

import numpy as np
import pytest
import sklearn.linear_model as peers
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads import (
    Head,
    MultiLabelLogisticRegression,
    Ridge,
    folds,
    select,
)
from bottleneck.heads.onnx import write_onnx
from bottleneck.heads.selection.targets import average_precision, r2, r2_of_each, strata
from bottleneck.judge import judge_targets

LABELS = ("even", "round", "large")


@pytest.fixture(scope="module")
def flags(digits):
    """Labels of which several may hold: of a digit, and one that it does not tell."""
    large = digits.X.sum(axis=1) > np.median(digits.X.sum(axis=1))
    held = [digits.y % 2 == 0, np.isin(digits.y, (0, 6, 8, 9)), large]
    return np.stack(held, axis=1).astype(np.uint8)


@pytest.fixture(scope="module")
def numbers(digits):
    """Two targets of very different size."""
    ink = digits.X.astype(np.float64).sum(axis=1)
    return np.stack([digits.y + 0.1 * np.sin(ink), 1e6 + 1e3 * ink], axis=1)


def of_labels(digits, flags, **options):
    return select(
        digits.X, flags, classes=LABELS, keys=digits.keys,
        **{"n_folds": 3, "grid": (1e-2, 1e-1)} | options,
    )  # fmt: skip


def of_numbers(digits, numbers, **options):
    return select(
        digits.X, numbers, classes=("digit", "ink"), keys=digits.keys, head="ridge",
        **{"n_folds": 3, "grid": (1e-3, 1e-2)} | options,
    )  # fmt: skip


def objective(model, Z, y, c):
    z = Z @ model.coef_.ravel() + model.intercept_
    losses = np.logaddexp(0, np.where(y == 1, -z, z))
    return c * losses.sum() + (model.coef_**2).sum() / 2


def test_logistic_regression_per_label_is_scikit_learns(digits, flags):
    Z = StandardScaler().fit_transform(digits.X.astype(np.float64))
    ours = MultiLabelLogisticRegression(C=0.1, standardize=True, tol=1e-7, gap=1e-12)
    ours.fit(digits.X.astype(np.float64), flags)
    peer = OneVsRestClassifier(peers.LogisticRegression(C=0.1, tol=1e-10, max_iter=9999))
    peer.fit(Z, flags)
    X = digits.X.astype(np.float64)
    np.testing.assert_allclose(ours.predict_proba(X), peer.predict_proba(Z), atol=1e-5)
    np.testing.assert_array_equal(ours.predict(X), peer.predict(Z))
    theirs = sum(objective(one, Z, flags[:, i], 0.1) for i, one in enumerate(peer.estimators_))
    assert ours.objective_ * 0.1 * len(Z) == pytest.approx(theirs, rel=1e-9)


def test_weights_of_rows_are_repetitions(digits, flags, rng):
    times = rng.integers(0, 3, len(flags))
    X = digits.X.astype(np.float64) / 16
    options = {"C": 0.5, "tol": 1e-8, "gap": 1e-13}
    weighted = MultiLabelLogisticRegression(**options).fit(X, flags, sample_weight=times)
    repeated = MultiLabelLogisticRegression(**options).fit(
        np.repeat(X, times, axis=0), np.repeat(flags, times, axis=0)
    )
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-5)


@pytest.mark.parametrize(
    ("Y", "message"),
    [
        (np.arange(300)[:, None] % 3, "labels of 0 and 1"),
        (np.arange(300) % 2, "shape .rows, labels."),
        (np.stack([np.arange(300) % 2, np.ones(300)], axis=1), "hold in some rows and not"),
    ],
)
def test_what_are_no_labels(digits, Y, message):
    with pytest.raises(ValueError, match=message):
        MultiLabelLogisticRegression().fit(digits.X, Y)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_ridge_is_scikit_learns(digits, numbers, rng, fit_intercept, weighted):
    X = digits.X.astype(np.float64)
    weights = rng.uniform(0.5, 2, len(X)) if weighted else None
    ours = Ridge(alpha=3.0, fit_intercept=fit_intercept).fit(X, numbers, sample_weight=weights)
    peer = peers.Ridge(alpha=3.0, fit_intercept=fit_intercept)
    peer.fit(X, numbers, sample_weight=weights)
    np.testing.assert_allclose(ours.coef_, peer.coef_, rtol=1e-7, atol=2e-6)  # targets of 1e6
    np.testing.assert_allclose(ours.predict(X), peer.predict(X), rtol=1e-9)


def test_ridge_in_float32_keeps_the_digits_of_large_targets(digits, numbers):
    ours = Ridge(alpha=3.0).fit(digits.X, numbers)
    peer = peers.Ridge(alpha=3.0).fit(digits.X.astype(np.float64), numbers)
    np.testing.assert_allclose(
        ours.predict(digits.X), peer.predict(digits.X.astype(np.float64)), rtol=1e-6, atol=1e-4
    )


def test_leave_one_out_is_scikit_learns(digits, numbers):
    X, y, alphas = digits.X.astype(np.float64), numbers[:, 0], np.logspace(-2, 4, 13)
    ours = Ridge(alphas=alphas).fit(X, y)
    peer = peers.RidgeCV(alphas=alphas, store_cv_results=True).fit(X, y)
    assert ours.alpha_ == peer.alpha_
    np.testing.assert_allclose(
        np.array(ours.leave_one_out_.mse) * y.var(), peer.cv_results_.mean(axis=0), rtol=1e-8
    )
    np.testing.assert_allclose(ours.coef_, peer.coef_, rtol=1e-6, atol=1e-12)


def test_average_precision_with_ties_is_scikit_learns(rng):
    for _ in range(20):
        truth = (rng.random(60) < 0.3).astype(np.uint8)
        scores = rng.integers(0, 8, 60).astype(float)
        expected = average_precision_score(truth, scores)
        assert average_precision(truth, scores) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(average_precision(np.zeros(3, np.uint8), np.arange(3.0)))


def test_labels_are_selected_by_mean_average_precision_over_folds(digits, flags):
    fitted = of_labels(digits, flags)
    fold = folds(digits.keys, strata(flags, "labels"), None, 3, 0)
    for entry in fitted.cv:
        scores = []
        for i in range(3):
            scaler = StandardScaler().fit(digits.X[fold != i])
            peer = OneVsRestClassifier(
                peers.LogisticRegression(C=entry["params"]["C"], tol=1e-8, max_iter=9999)
            ).fit(scaler.transform(digits.X[fold != i]), flags[fold != i])
            found = peer.decision_function(scaler.transform(digits.X[fold == i]))
            scores.append(average_precision_score(flags[fold == i], found, average="macro"))
        assert entry["mean"] == pytest.approx(np.mean(scores), abs=2e-3)
        assert entry["std"] == pytest.approx(np.std(scores), abs=2e-3)
    best = max(fitted.cv, key=lambda entry: entry["mean"])
    assert (fitted.best, fitted.task, fitted.report["metric"]) == (
        best["params"], "labels", "mean_average_precision"
    )  # fmt: skip


def test_numbers_are_selected_by_r2_over_folds(digits, numbers):
    fitted = of_numbers(digits, numbers)
    fold = folds(digits.keys, np.zeros(len(numbers), int), None, 3, 0)
    for entry in fitted.cv:
        scores = []
        for i in range(3):
            scaler = StandardScaler().fit(digits.X[fold != i].astype(np.float64))
            peer = peers.Ridge(alpha=entry["params"]["alpha"])
            peer.fit(scaler.transform(digits.X[fold != i]), numbers[fold != i])
            found = peer.predict(scaler.transform(digits.X[fold == i]))
            scores.append(r2_score(numbers[fold == i], found))
        assert entry["mean"] == pytest.approx(np.mean(scores), abs=1e-4)
    assert (fitted.task, fitted.report["metric"]) == ("numbers", "r2")
    scaler = StandardScaler().fit(digits.X.astype(np.float64))
    peer = peers.Ridge(alpha=fitted.best["alpha"]).fit(scaler.transform(digits.X), numbers)
    np.testing.assert_allclose(
        fitted.estimator.predict(digits.X), peer.predict(scaler.transform(digits.X)),
        rtol=1e-5, atol=1e-4,
    )  # fmt: skip


def test_one_target_alone(digits, flags, numbers):
    one = select(
        digits.X, flags[:, :1], classes=["even"], keys=digits.keys, n_folds=3, grid=(0.01, 0.1)
    )
    assert one.cv[0]["mean"] > 0.9
    assert one.estimator.predict_proba(digits.X).shape == (300, 1)
    other = select(
        digits.X, numbers[:, :1], classes=["digit"], keys=digits.keys, head="ridge", n_folds=3
    )
    assert 0.5 < max(entry["mean"] for entry in other.cv) < 1


def test_judgement_of_labels_is_scikit_learns(digits, flags, recipe):
    head = Head.of(of_labels(digits, flags), recipe=recipe, output="avg")
    found = judge_targets(head, digits.X, flags)
    probabilities, predicted = head.predict_proba(digits.X), head.predict(digits.X)
    approx = pytest.approx
    without = judge_targets(head, digits.X, flags, intervals=False)
    assert without == {name: value for name, value in found.items() if name != "intervals"}
    scored = average_precision_score(flags, probabilities)
    assert found["mean_average_precision"] == approx(scored, rel=1e-9)
    assert found["micro_f1"] == approx(f1_score(flags, predicted, average="micro"))
    assert found["macro_f1"] == approx(f1_score(flags, predicted, average="macro"))
    assert found["subset_accuracy"] == approx((flags == predicted).all(axis=1).mean())
    losses = [log_loss(flags[:, i], probabilities[:, i]) for i in range(3)]
    assert found["log_loss"] == approx(np.mean(losses), rel=1e-6)
    assert [entry["support"] for entry in found["per_target"]] == flags.sum(axis=0).tolist()


def test_judgement_of_numbers_is_scikit_learns(digits, numbers, recipe):
    head = Head.of(of_numbers(digits, numbers), recipe=recipe, output="avg")
    found = judge_targets(head, digits.X, numbers)
    predicted = head.predict(digits.X)
    assert found["r2"] == pytest.approx(r2_score(numbers, predicted))
    assert found["mae"] == pytest.approx(mean_absolute_error(numbers, predicted))
    rmse = root_mean_squared_error(numbers, predicted, multioutput="raw_values")
    assert [entry["rmse"] for entry in found["per_target"]] == pytest.approx(rmse.tolist())


def test_intervals_are_of_rows_drawn_again(digits, flags, numbers, recipe):
    """Against scikit-learn's metrics on rows really drawn."""
    head = Head.of(of_labels(digits, flags), recipe=recipe, output="avg")
    X, Y = digits.X[:120], flags[:120]
    low, high = judge_targets(head, X, Y)["intervals"]["mean_average_precision"]
    scores, rng = head.scores(X), np.random.default_rng(5)
    drawn = [rng.integers(0, 120, 120) for _ in range(400)]
    means = [average_precision_score(Y[rows], scores[rows]) for rows in drawn]
    # Near 1 no shorter than percentiles, which cover too little there.
    assert 1 <= (high - low) / np.ptp(np.percentile(means, [2.5, 97.5])) < 2.5
    assert [low, high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.02)
    head = Head.of(of_numbers(digits, numbers), recipe=recipe, output="avg")
    found = judge_targets(head, X, numbers[:120])["intervals"]["r2"]
    predicted = head.predict(X)
    means = [r2_score(numbers[rows], predicted[rows]) for rows in drawn]
    assert np.diff(found) == pytest.approx(2 * 1.98 * np.std(means), rel=0.12)
    assert found == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.03)


def test_what_is_not_defined_is_none(digits, flags, numbers, recipe):
    head = Head.of(of_labels(digits, flags), recipe=recipe, output="avg")
    nothing = judge_targets(head, digits.X[:4], np.zeros((4, 3), np.uint8))
    assert nothing["mean_average_precision"] is None
    assert nothing["per_target"][0]["recall"] is None
    head = Head.of(of_numbers(digits, numbers), recipe=recipe, output="avg")
    assert judge_targets(head, digits.X[:1], numbers[:1])["r2"] is None
    assert np.isnan(r2(np.ones((2, 1)), np.ones((2, 1))))


def test_r2_of_a_constant_is_not_defined_though_its_mean_is_rounded():
    same = np.full((40, 1), -0.1)
    assert np.isnan(r2(same, np.zeros((40, 1))))
    truth, drawn = np.append(same, [[5.0]], axis=0), np.append(np.ones(40), 0.0)
    assert np.isnan(r2_of_each(truth, np.zeros((41, 1)), drawn)).all()
    assert r2_of_each(truth, truth).tolist() == [1.0]


def test_strengths_that_change_nothing_are_noted(digits, flags):
    fitted = of_labels(digits, flags, grid=(1e-2, 1.0000001e-2))
    assert any("heads of the C before meet the tolerance" in note for note in fitted.notes)


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_a_saved_head_predicts_the_same(digits, flags, numbers, recipe, tmp_path, kind):
    fitted = of_labels(digits, flags) if kind == "labels" else of_numbers(digits, numbers)
    head = Head.of(fitted, recipe=recipe, output="avg")
    head.save(tmp_path / "a.head")
    loaded = Head.load(tmp_path / "a.head")
    assert (loaded.task, loaded.classes) == (kind, fitted.classes)
    with zipfile.ZipFile(tmp_path / "a.head") as archive:  # 2 is read as a head of classes
        assert json.loads(archive.read("head.json"))["version"] == 3
    np.testing.assert_array_equal(loaded.predict(digits.X), head.predict(digits.X))
    np.testing.assert_array_equal(loaded.scores(digits.X), head.scores(digits.X))
    if kind == "labels":
        np.testing.assert_array_equal(loaded.predict_proba(digits.X), head.predict_proba(digits.X))
    else:
        assert loaded.predict_proba(digits.X) is None
    assert repr(loaded).endswith(f"{len(fitted.classes)} {kind}>")


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_another_runtime_agrees(digits, flags, numbers, recipe, tmp_path, kind):
    runtime = pytest.importorskip("onnxruntime", reason="checks the model; not a dependency")
    fitted = of_labels(digits, flags) if kind == "labels" else of_numbers(digits, numbers)
    head = Head.of(fitted, recipe=recipe, output="avg")
    write_onnx(head, tmp_path / "a.onnx")
    session = runtime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"features": digits.X}), strict=True))
    np.testing.assert_allclose(found["scores"], head.scores(digits.X), rtol=1e-5, atol=1e-5)
    if kind == "labels":
        expected = head.predict_proba(digits.X)
        np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-5, atol=1e-7)
    else:
        assert names == ["scores"]
    assert session.get_modelmeta().custom_metadata_map["task"] == kind


def test_labels_that_never_vary_are_left_out_and_named(digits, flags):
    wide = np.concatenate([flags, np.ones((300, 1), np.uint8)], axis=1)
    fitted = select(
        digits.X, wide, classes=[*LABELS, "always"], keys=digits.keys, n_folds=3, grid=(0.01,)
    )
    assert fitted.classes == LABELS
    assert any("always" in note for note in fitted.notes)


def test_folds_spread_the_rarest_labels(digits):
    rare = np.zeros((300, 2), np.uint8)
    rare[:6, 0] = rare[:200, 1] = 1
    fold = folds(digits.keys, strata(rare, "labels"), None, 3, 0)
    assert np.bincount(fold[:6], minlength=3).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"head": "svm"},
            OptionError,
            "expected a head of labels or of numbers .* got svm",
        ),
        ({"head": "sklearn.svm.SVC"}, OptionError, "expected a head of labels or of numbers"),
        ({"Y": np.arange(300)[:, None]}, OptionError, "got 2 in target 'x' of 'two/2.png'"),
        ({"Y": np.ones((300, 1)), "head": "ridge"}, HeadError, "'x' is 1 in all 300"),
        ({"Y": np.ones((300, 1), np.uint8)}, HeadError, "hold in some of 300 rows"),
        ({"Y": np.full((300, 1), np.nan), "head": "ridge"}, HeadError, "got nan"),
        (
            {
                "Y": np.where(np.arange(300) == 7, 255, np.arange(300) % 2).astype(np.uint8)[
                    :, None
                ],
                "head": "ridge",
            },
            HeadError,
            "missing flag",
        ),
        ({"Y": np.ones((299, 1))}, HeadError, "expected 1 targets and a key for each"),
        ({"n_folds": 0}, OptionError, "2 or more folds to choose among"),
        ({"jobs": 0}, OptionError, "1 or more jobs"),
    ],
)
def test_wrong_combinations_say_what_to_do(digits, options, error, message):
    Y = options.pop("Y", (np.arange(300) % 2)[:, None])
    with pytest.raises(error, match=message):
        select(digits.X, Y, classes=["x"], keys=digits.keys, **options)
