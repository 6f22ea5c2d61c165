"""Data on which formulas lose their digits, against scikit-learn in float64."""

import threading
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeClassifier as SklearnRidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC as SklearnSVC

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads import (
    KNeighbors,
    LinearDiscriminant,
    LinearSVC,
    LogisticRegression,
    NearestMean,
    Ridge,
    RidgeClassifier,
    folds,
    head_kind,
    select,
)
from bottleneck.heads.rows import ArrayRows
from bottleneck.heads.selection.grid import parse_settings
from bottleneck.heads.solver.engine import logistic, logistic_each, softmax
from bottleneck.heads.solver.moments import add_products, outweighing_rows
from bottleneck.heads.solver.row_pass import passes
from bottleneck.heads.solver.scaling import Weighting, standardise


def blobs(n: int, d: int, k: int, apart: float) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    return rng.normal(size=(k, d))[y] * apart + rng.normal(size=(n, d)), y


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("C", [1.0, 100.0])
def test_separable_classes_take_tens_of_passes_in_float32(k: int, C: float) -> None:
    X, y = blobs(600, 64, k, 2.0)
    X = X.astype(np.float32)
    ours = LogisticRegression(C=C, standardize=True).fit(X, y)
    wide = LogisticRegression(C=C, standardize=True).fit(X.astype(np.float64), y)
    assert ours.converged_
    assert ours.n_passes_ < 100
    assert ours.objective_ == pytest.approx(wide.objective_, rel=1e-5)


def test_losses_keep_their_digits_where_the_truth_is_all_but_certain() -> None:
    gaps = np.array([5.0, 20.0, 40.0, -40.0])
    y = np.zeros(4, np.int64)
    Z = np.stack([gaps, np.zeros(4), np.zeros(4)])
    exact = log_softmax(Z, axis=0)
    scores = Z[:, None, :].astype(np.float32)
    for row in range(4):
        part = scores[:, :, row : row + 1].copy()
        found = softmax(part, y[:1], np.ones((1, 1), np.float32))
        assert found[0] == pytest.approx(-exact[0, row], rel=1e-6)
        others = np.exp(exact[1:, row]).sum()
        assert part[0, 0, 0] == pytest.approx(-others, rel=1e-6)
    for gap in gaps:
        tail = np.exp(-gap)
        for code, score in ((1, gap), (0, -gap)):
            for kernel, target in (
                (logistic, np.array([code])),
                (logistic_each, np.array([[code]])),
            ):
                z = np.full((1, 1, 1), score, np.float32)
                found = kernel(z, target, np.ones((1, 1), np.float32))
                assert found[0] == pytest.approx(np.log1p(tail), rel=1e-6)
                assert abs(z[0, 0, 0]) == pytest.approx(tail / (1 + tail), rel=1e-6)


@pytest.mark.parametrize("far", [1e2, 1e4])
def test_a_far_class_leaves_the_discriminant_its_digits(far: float) -> None:
    X, y = blobs(900, 10, 3, 0.7)
    X[y == 2] += far
    narrow = X.astype(np.float32)
    peer = LinearDiscriminantAnalysis(solver="lsqr").fit(narrow.astype(np.float64), y)
    ours = LinearDiscriminant().fit(narrow, y)
    assert np.mean(ours.predict(narrow) == peer.predict(narrow.astype(np.float64))) > 0.995
    np.testing.assert_allclose(ours.priors_, peer.priors_)


def newton(X: NDArray[Any], t: NDArray[Any], C: float, penalty: NDArray[Any]) -> float:
    """The least ``C * sum of squared hinges + penalty . w^2 / 2``, by Newton's method."""
    w = np.zeros(X.shape[1])

    def objective(w: NDArray[Any]) -> float:
        return float(C * (np.maximum(0, 1 - t * (X @ w)) ** 2).sum() + penalty @ w**2 / 2)

    for _ in range(200):
        short = 1 - t * (X @ w)
        inside = short > 0
        gradient = -2 * C * X[inside].T @ (t * short)[inside] + penalty * w
        hessian = 2 * C * X[inside].T @ X[inside] + np.diag(penalty)
        step, size = -np.linalg.solve(hessian, gradient), 1.0
        while size > 1e-9 and objective(w + size * step) >= objective(w):
            size /= 2
        if size <= 1e-9:
            break
        w = w + size * step
    return objective(w)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("apart", [0.3, 3.0])
@pytest.mark.parametrize(
    ("scale", "C"), [(1e-5, 1e10), (1e-4, 1e8), (1e-2, 1e4), (1.0, 1.0), (1.0, 1e4), (100.0, 1.0)]
)
def test_converged_means_near_the_minimum(
    scale: float, C: float, apart: float, fit_intercept: bool
) -> None:
    X, y = blobs(300, 10, 2, apart)
    t = np.where(y == 1, 1.0, -1.0)
    ours = LinearSVC(C=C, fit_intercept=fit_intercept).fit(X * scale, y)
    margin = np.maximum(0, 1 - t * ours.decision_function(X * scale))
    weights = np.append(ours.coef_, ours.intercept_)
    reached = C * (margin**2).sum() + weights @ weights / 2
    # Weights of the features as drawn, so that the peer's sums are well conditioned.
    columns = np.hstack([X, np.ones((300, 1))]) if fit_intercept else X
    penalty = np.append(np.full(10, scale**-2), 1.0)[: columns.shape[1]]
    least = newton(columns, t, C, penalty)
    assert ours.converged_
    assert 1 - 1e-6 <= reached / least <= 1.001


def test_the_minimum_of_newton_is_that_of_scikit_learn() -> None:
    X, y = blobs(300, 10, 2, 0.3)
    t = np.where(y == 1, 1.0, -1.0)
    peer = SklearnSVC(C=1.0, dual=False, tol=1e-12, max_iter=100_000).fit(X, y)
    weights = np.append(peer.coef_, peer.intercept_)
    theirs = (np.maximum(0, 1 - t * peer.decision_function(X)) ** 2).sum() + weights @ weights / 2
    columns = np.hstack([X, np.ones((300, 1))])
    assert newton(columns, t, 1.0, np.ones(11)) == pytest.approx(theirs, rel=1e-6)


def test_a_small_objective_is_not_taken_for_the_minimum() -> None:
    X, y = blobs(300, 10, 2, 3.0)
    with pytest.warns(ConvergenceWarning):
        early = LinearSVC(C=1e10, max_iter=10).fit(X * 1e4, y)
    assert early.objective_ < 1e-19
    assert not early.converged_
    with warnings.catch_warnings():  # at the minimum all is rounding
        warnings.simplefilter("ignore", ConvergenceWarning)
        late = LinearSVC(C=1e10, max_iter=50).fit(X * 1e4, y)
    assert early.objective_ > 1.5 * late.objective_


@pytest.mark.parametrize("C", [1.0, 1e3, 1e7])
def test_where_the_minimum_is_out_of_reach_that_is_said(C: float) -> None:
    X, y = blobs(300, 10, 2, 3.0)
    with pytest.warns(ConvergenceWarning, match="above the minimum"):
        ours = LinearSVC(C=C, max_iter=2).fit(X, y)
    assert not ours.converged_


@pytest.mark.parametrize("at", [0, 150, 599])
def test_scaling_does_not_depend_on_where_a_row_of_another_fold_lies(at: int) -> None:
    X = np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)
    X[:, 3] = 0.1
    X[at] = 1e5
    member = np.arange(600) != at
    with passes(ArrayRows(X)) as run:
        found = standardise(run, Weighting(np.zeros(600, np.int64), member[None]))
    peer = StandardScaler().fit(X[member].astype(np.float64))
    np.testing.assert_allclose(found.mean[0], peer.mean_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.scale[0], peer.scale_, rtol=1e-5)


def test_a_fold_with_an_outlier_spoils_no_other_fold_of_ridge() -> None:
    X, y = blobs(1000, 12, 4, 0.8)
    X[500] = 1e4
    X, keys = X.astype(np.float32), [str(i) for i in range(1000)]
    part = folds(keys, y, None, 5)
    ours = select(X, y, classes=list("abcd"), keys=keys, head="ridge", grid=[0.1], n_folds=5).cv
    wide = X.astype(np.float64)
    scores = [
        make_pipeline(StandardScaler(), SklearnRidgeClassifier(alpha=5.0))
        .fit(wide[part != fold], y[part != fold])
        .score(wide[part == fold], y[part == fold])
        for fold in range(5)
    ]
    assert ours[0]["mean"] == pytest.approx(np.mean(scores), abs=0.003)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_ridge_standardises_as_a_scaler_before_it(fit_intercept: bool) -> None:
    X, y = blobs(200, 6, 3, 1.0)
    X += 7
    t = X @ np.arange(6.0) + 3
    ours = Ridge(alpha=2.0, fit_intercept=fit_intercept, standardize=True).fit(X, t)
    peer = make_pipeline(StandardScaler(), SklearnRidge(alpha=2.0, fit_intercept=fit_intercept))
    np.testing.assert_allclose(ours.predict(X), peer.fit(X, t).predict(X), rtol=1e-8, atol=1e-8)
    classes = RidgeClassifier(alpha=2.0, fit_intercept=fit_intercept, standardize=True).fit(X, y)
    twin = make_pipeline(
        StandardScaler(), SklearnRidgeClassifier(alpha=2.0, fit_intercept=fit_intercept)
    ).fit(X, y)
    np.testing.assert_allclose(classes.decision_function(X), twin.decision_function(X), atol=1e-8)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_streamed_rows_that_are_not_finite_are_refused(bad: float) -> None:
    X, y = blobs(60, 4, 2, 1.0)
    head = LogisticRegression().fit(ArrayRows(X.copy()), y)
    X[41, 2] = bad
    for fit in (LogisticRegression().fit, LinearDiscriminant().fit, Ridge().fit):
        with pytest.raises(HeadError, match="row 41"):
            fit(ArrayRows(X), y)
    with pytest.raises(HeadError, match="row 41"):
        head.predict(ArrayRows(X))


@pytest.mark.parametrize("head", ["ridge", "logreg", "svm"])
def test_features_too_large_are_explained(head: str) -> None:
    X, y = blobs(60, 4, 2, 1.0)
    X[3, 1] = 1e30
    with pytest.raises(HeadError, match="squares"):
        select(
            X.astype(np.float32),
            y,
            classes=["a", "b"],
            keys=[str(i) for i in range(60)],
            head=head,
            grid=[1.0],
            n_folds=3,
        )


@dataclass
class Unlabelled:
    """What a feature file shows of itself to the check of labels."""

    labels: NDArray[np.int32]


def test_missing_labels_are_refused_with_what_to_do() -> None:
    from bottleneck.heads.kinds.estimator import _require_labels

    labels = np.array([0, 1, -1, 1], np.int32)
    with pytest.raises(HeadError, match="1 of 4") as caught:
        _require_labels(Unlabelled(labels), labels)
    assert "labels >= 0" in str(caught.value.hint)
    X, y = blobs(4, 3, 2, 1.0)
    for missing in (np.array(["a", None, "b", "a"], object), np.array([0.0, np.nan, 1.0, 0.0])):
        with pytest.raises(HeadError, match="1 of 4"):
            LogisticRegression().fit(ArrayRows(X), missing)
    assert list(LogisticRegression().fit(X, np.where(y == 1, 1, -1)).classes_) == [-1, 1]


@pytest.mark.parametrize(
    "text", ["C=Infinity", "C=-Infinity", "C=NaN", "C=1e999", "w=[1, NaN]", 'w={"a": 1e999}']
)
def test_settings_that_are_not_finite_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="finite"):
        parse_settings([text])


@pytest.mark.parametrize(
    ("n", "d", "k", "apart", "C"),
    [
        (600, 40, 4, 2.0, 1e3),
        (80, 200, 3, 0.3, 1e3),
        (600, 40, 2, 0.3, 1e5),
        (600, 40, 2, 3.0, 1e4),
    ],
)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_large_strengths_of_the_squared_hinge_end_at_the_minimum_in_hundreds_of_passes(
    n: int, d: int, k: int, apart: float, C: float, fit_intercept: bool
) -> None:
    X, y = blobs(n, d, k, apart)
    weights = np.random.default_rng(1).uniform(0.5, 2, n)
    ours = LinearSVC(C=C, fit_intercept=fit_intercept).fit(X, y, sample_weight=weights)
    assert ours.converged_
    assert ours.n_passes_ < 400
    columns = np.hstack([X, np.ones((n, 1))]) if fit_intercept else X
    least = 0.0
    for code in range(k) if k > 2 else (1,):
        least += least_by_the_dual(columns, np.where(y == code, 1.0, -1.0), C * weights)
    assert ours.objective_ * C * weights.sum() == pytest.approx(least, rel=1e-4)


def least_by_the_dual(X: NDArray[Any], t: NDArray[Any], costs: NDArray[Any]) -> float:
    """The least ``sum of costs * squared hinge + w^2 / 2``.

    It is the most of ``sum of a - a K a / 2`` over a >= 0: non-negative least squares.
    """
    kernel = (X * t[:, None]) @ (X * t[:, None]).T + np.diag(1 / (2 * costs))
    root = np.linalg.cholesky(kernel)
    a, _ = nnls(root.T, np.linalg.solve(root, np.ones(len(kernel))), maxiter=10_000)
    return float(a.sum() - a @ kernel @ a / 2)


def test_a_sweep_of_the_squared_hinge_over_large_strengths_takes_hundreds_of_passes() -> None:
    X, y = blobs(600, 40, 4, 2.0)
    inside = np.stack([np.arange(600) % 3 != fold for fold in range(3)])
    with passes(ArrayRows(X.astype(np.float32)), threads=2) as run:
        grid = (1e-2, 1.0, 100.0, 1e4)
        found = head_kind("svm").sweep(run, y, 4, inside, values=grid)
        assert run.count < 1000
    assert all(one.converged for path in found.solutions for one in path)
    for member, path in zip(inside, found.solutions, strict=True):
        scaled = StandardScaler().fit_transform(X[member].astype(np.float32).astype(np.float64))
        for C, one in zip(grid[2:], path[2:], strict=True):
            alone = LinearSVC(C=C, tol=1e-12).fit(scaled, y[member])
            assert one.objective == pytest.approx(alone.objective_, rel=1e-4)


ESTIMATORS: list[Any] = [
    LogisticRegression(),
    LogisticRegression(standardize=True),
    LinearSVC(),
    RidgeClassifier(),
    RidgeClassifier(standardize=True),
    LinearDiscriminant(),
    NearestMean(),
    KNeighbors(3, metric="euclidean"),
]


MAX_ITER: dict[type, Any] = {kind: {"max_iter": 100} for kind in (LogisticRegression, LinearSVC)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ESTIMATORS, ids=str)
@pytest.mark.parametrize("power", [20, 30, 37, 150, 200, 307])
def test_large_features_are_learnt_or_refused_by_name(kind: Any, power: int, dtype: Any) -> None:
    X, y = blobs(60, 5, 2, 3.0)
    if dtype is np.float32 and power > 37:
        pytest.skip("float32 ends at 3e38")
    X = (X / np.abs(X).max() * 10.0**power).astype(dtype)
    # Raw features of 1e20 have gradients that no tolerance fits: descent then says so.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            head = clone(kind).set_params(**MAX_ITER.get(type(kind), {})).fit(X, y)
        except HeadError as error:
            refused = str(error)
        else:
            assert head.score(X, y) > 0.9
            return
    assert "squares can be summed up" in refused


@pytest.mark.parametrize("size", [1e-200, 1e-100, 1.0, 1e100, 1e200])
def test_a_direction_has_no_size(size: float) -> None:
    X, y = blobs(80, 6, 3, 1.0)
    plain = KNeighbors(5).fit(X[:60], y[:60])
    sized = KNeighbors(5).fit(X[:60] * size, y[:60])
    np.testing.assert_array_equal(sized.predict(X[60:] * size), plain.predict(X[60:]))


@pytest.mark.parametrize("size", [1e-40, 1e-200])
@pytest.mark.parametrize("kind", ESTIMATORS[1:2] + ESTIMATORS[4:7], ids=str)
def test_tiny_features_are_refused_by_name(kind: Any, size: float) -> None:
    X, y = blobs(60, 5, 2, 3.0)
    with pytest.raises(HeadError, match="expected features of 1e-"):
        clone(kind).fit((X * size).astype(np.float32 if size == 1e-40 else np.float64), y)


def test_a_tiny_feature_among_others_is_a_constant() -> None:
    X, y = blobs(60, 5, 2, 3.0)
    X = X.astype(np.float32)
    wider = np.hstack([X, np.random.default_rng(0).normal(size=(60, 1)).astype(np.float32) * 1e-40])
    one = LogisticRegression(standardize=True).fit(X, y)
    two = LogisticRegression(standardize=True).fit(wider, y)
    np.testing.assert_allclose(two.coef_[:, :5], one.coef_, rtol=1e-4)
    assert np.abs(two.coef_[:, 5:]).max() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", [LogisticRegression, LinearSVC, RidgeClassifier])
@pytest.mark.parametrize("weights", [{0: -1, 1: 1}, {0: 0, 1: 0}, {0: np.nan, 1: 1}, {0: np.inf}])
def test_odd_class_weights_are_refused(kind: Any, weights: Any) -> None:
    X, y = blobs(30, 3, 2, 1.0)
    with pytest.raises(ValueError, match="expected finite class weights"):
        kind(class_weight=weights).fit(X, y)


@pytest.mark.parametrize("C", [0, -1, np.inf, np.nan, None, "1"])
@pytest.mark.parametrize("kind", [LogisticRegression, LinearSVC])
def test_odd_strengths_are_refused(kind: Any, C: Any) -> None:
    X, y = blobs(30, 3, 2, 1.0)
    with pytest.raises(ValueError, match="expected C above zero"):
        kind(C=C).fit(X, y)


def test_a_discriminant_needs_more_rows_than_classes() -> None:
    with pytest.raises(ValueError, match="expected more rows than the 2 classes, got 2"):
        LinearDiscriminant().fit(np.eye(2), [0, 1])


@pytest.mark.parametrize("far", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("kind", ["ridge", "lda"])
def test_an_outlier_leaves_other_rows_their_digits(kind: str, far: float) -> None:
    """Of float32, against scikit-learn in float64: one row of 1e5 has cost lda all digits."""
    X, y = blobs(1000, 12, 4, 0.8)
    X[500], X[501, :3] = far, -far / 3
    X = X.astype(np.float32)
    wide = X.astype(np.float64)
    ours: Any
    peer: Any
    if kind == "ridge":
        ours = RidgeClassifier(alpha=0.05, standardize=True)
        peer = make_pipeline(StandardScaler(), SklearnRidgeClassifier(alpha=0.05))
    else:
        ours, peer = LinearDiscriminant(), LinearDiscriminantAnalysis(solver="lsqr")
    expected = peer.fit(wide, y).decision_function(wide)
    found = ours.fit(X, y).decision_function(wide)
    near = np.delete(np.arange(1000), [500, 501])
    scale = expected[near].std(axis=0).min()
    np.testing.assert_allclose(found[near], expected[near], atol=1e-4 * scale)


def test_rows_that_outweigh_are_the_far_ones() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 64)).astype(np.float32)
    rows[:, 5] *= 1e4  # a scale is no outlier
    assert not outweighing_rows(rows).any()
    rows[[3, 700]] += 1e6
    rows[44] += 1e3  # seen once those are gone
    assert np.flatnonzero(outweighing_rows(rows)).tolist() == [3, 44, 700]
    assert not outweighing_rows(rows.astype(np.float64)).any()
    sparse = np.where(rng.random((2000, 64)) < 0.01, 1, 0).astype(np.float32)
    assert outweighing_rows(sparse).mean() < 0.01
    assert not outweighing_rows(np.zeros((5, 3), np.float32)).any()


@pytest.mark.parametrize("codes", [False, True])
def test_products_are_sums_over_rows(codes: bool) -> None:
    """Weighted, with and without far rows, with one base and with one per class."""
    rng = np.random.default_rng(1)
    block = rng.normal(3, 1, (300, 6)).astype(np.float32)
    block[7] = 1e5
    block[9, 2] = -2e5
    y, weights = rng.integers(0, 3, 300), rng.uniform(0.5, 2, 300)
    bases = rng.normal(3, 0.1, (3, 6)).astype(np.float32)
    picked = (y == np.arange(3)[:, None]) * weights
    sums, gram = np.zeros((3, 6)), np.zeros((6, 6))
    add_products(sums, gram, picked, block, weights, bases=bases, codes=y if codes else None)
    exact = block.astype(np.float64) - bases[y if codes else 0].astype(np.float64)
    np.testing.assert_allclose(sums, picked @ exact, rtol=1e-6, atol=1e-3)
    expected = (exact.T * weights) @ exact
    size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(gram / size, expected / size, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [Ridge, RidgeClassifier])
def test_rows_fitted_exactly_say_nothing_of_being_left_out(kind: Any, dtype: Any) -> None:
    """No penalty and more features than rows: scores were sums of rounding, and the best."""
    X, y = blobs(40, 60, 2, 0.3)
    X = X.astype(dtype)
    with pytest.raises(ValueError, match="leaves something to predict"):
        kind(alphas=[0.0]).fit(X, y)
    ours = kind(alphas=[0.0, 1.0, 30.0]).fit(X, y)
    assert np.isnan(ours.leave_one_out_.mse[0])
    assert ours.alpha_ > 0
    errors = []
    for i in range(40):
        rest = np.arange(40) != i
        peer = SklearnRidge(alpha=1.0).fit(X[rest].astype(float), (2 * y - 1.0)[rest])
        errors.append((peer.predict(X[i : i + 1].astype(float))[0] - (2 * y - 1.0)[i]) ** 2)
    of_numbers = np.mean(errors) / 4 / np.var(y)  # targets divided by their deviation
    expected = np.mean(errors) if kind is RidgeClassifier else of_numbers
    assert ours.leave_one_out_.mse[1] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("large", [300.0, 1e4])
def test_large_centred_features_take_hardly_more_passes(large: float) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(400) % 10
    X = rng.normal(size=(400, 20)) + 0.5 * rng.normal(size=(10, 20))[y]
    X = (X - X.mean(axis=0)).astype(np.float32)
    plain, scaled = (
        LogisticRegression(C=10.0, threads=1).fit(X * np.float32(by), y) for by in (1.0, large)
    )
    assert plain.converged_
    assert scaled.converged_
    assert scaled.n_passes_ < 3 * plain.n_passes_


@pytest.mark.parametrize("rows", [60, 20000])
@pytest.mark.parametrize("kind", [LogisticRegression(), LinearSVC()], ids=str)
def test_centred_features_whose_squares_overflow_are_refused_by_name(kind: Any, rows: int) -> None:
    y = np.arange(rows) % 3
    X = np.random.default_rng(0).normal(size=(rows, 5))
    X = 1e25 * (X - X.mean(axis=0))
    with pytest.raises(HeadError, match="squares can be summed up"):
        clone(kind).fit(X.astype(np.float32), y)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "kind", [LogisticRegression, LinearSVC, Ridge, LinearDiscriminant, NearestMean]
)
def test_overflow_is_named_and_not_warned_of_in_any_thread(kind: Any, threads: int) -> None:
    y = np.arange(4000) % 2
    X = np.random.default_rng(0).normal(size=(4000, 5)) * 1e200
    with pytest.raises(HeadError, match="squares can be summed up"):
        kind(threads=threads).fit(X, y)


def test_threads_of_a_pass_take_errors_of_numpy_as_their_caller_does() -> None:
    together = threading.Barrier(2)

    def over_in(rows: NDArray[np.float64]) -> str:
        together.wait(timeout=30)  # so that each is in a thread of its own
        return str(np.geterr()["over"])

    X = np.ones((2, 1))
    for over in ("ignore", "raise"):
        with passes(ArrayRows(X), threads=2) as run, np.errstate(over=over):
            assert run.each(over_in, [X, X]) == [over, over]
