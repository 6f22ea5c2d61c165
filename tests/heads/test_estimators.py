"""The streaming estimators against scikit-learn, and against themselves cut otherwise."""

import h5py
import numpy as np
import pytest
import sklearn.linear_model as peers
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC as PeerSVC

from bottleneck.errors import HeadError
from bottleneck.heads import (
    KNeighbors,
    LinearDiscriminant,
    LinearSVC,
    LogisticRegression,
    NearestMean,
    RidgeClassifier,
)
from bottleneck.heads.rows import ArrayRows, FileRows, rows_of
from bottleneck.store import FeatureStore
from bottleneck.store.contents import StackedRows

X, Y = load_digits(return_X_y=True)
X, Y = X[:600] / 16, Y[:600]
HARD = {"tol": 1e-8, "max_iter": 20000}


def few(classes):
    kept = np.isin(Y, range(classes))
    return X[kept], Y[kept]


def targets(codes, k):
    return np.where(codes[:, None] == (np.arange(k) if k > 2 else [1]), 1.0, -1.0)


def logistic_objective(model, X, y, C, s=None):
    z = model.decision_function(X)
    if z.ndim == 1:
        z = np.stack([np.zeros_like(z), z], axis=1)
    top = z.max(axis=1)
    losses = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top - z[np.arange(len(y)), y]
    return C * (losses * (1 if s is None else s)).sum() + (model.coef_**2).sum() / 2


def hinge_objective(model, X, y, C):
    z = model.decision_function(X).reshape(len(y), -1)
    slack = np.maximum(0, 1 - targets(y, len(model.classes_)) * z)
    return C * (slack**2).sum() + ((model.coef_**2).sum() + (model.intercept_**2).sum()) / 2


@pytest.mark.parametrize("C", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_logistic_regression_reaches_the_optimum(C, classes):
    X_, y = few(classes)
    best = peers.LogisticRegression(C=C, **HARD).fit(X_, y)
    least = logistic_objective(best, X_, y, C)
    for dtype in (np.float64, np.float32):
        ours = LogisticRegression(C=C).fit(X_.astype(dtype), y)
        assert logistic_objective(ours, X_, y, C) == pytest.approx(least, rel=1e-5)
        assert ours.objective_ * C * len(y) == pytest.approx(least, rel=1e-5)
        assert ours.gradient_norm_ <= 1e-4
        assert ours.duality_gap_ >= ours.objective_ - least / (C * len(y)) - 1e-6
        np.testing.assert_allclose(ours.predict_proba(X_), best.predict_proba(X_), atol=0.01)
        assert ours.coef_.shape == best.coef_.shape


@pytest.mark.parametrize("classes", [2, 10])
def test_linear_svc_reaches_the_optimum(classes):
    X_, y = few(classes)
    best = PeerSVC(C=0.5, dual=False, tol=1e-9, max_iter=100000).fit(X_, y)
    for dtype in (np.float64, np.float32):
        ours = LinearSVC(C=0.5).fit(X_.astype(dtype), y)
        assert hinge_objective(ours, X_, y, 0.5) == pytest.approx(
            hinge_objective(best, X_, y, 0.5), rel=1e-5
        )


@pytest.mark.parametrize("kind", [LogisticRegression, LinearSVC, RidgeClassifier])
@pytest.mark.parametrize("balance", [None, "balanced", {0: 2.0, 3: 0.5}])
def test_weights_are_as_in_scikit_learn(kind, balance):
    s = np.random.default_rng(0).uniform(0, 2, len(Y))
    s[::7] = 0
    ours = kind(class_weight=balance, **({} if kind is RidgeClassifier else {"tol": 1e-8}))
    ours.fit(X, Y, sample_weight=s)
    make, options = {
        LogisticRegression: (peers.LogisticRegression, HARD),
        LinearSVC: (PeerSVC, {"dual": False, "tol": 1e-9, "max_iter": 100000}),
        RidgeClassifier: (peers.RidgeClassifier, {}),
    }[kind]
    peer = make(class_weight=balance, **options).fit(X, Y, sample_weight=s)
    if kind is LinearSVC and balance:
        return  # liblinear weights a class's rows in its own problem only
    np.testing.assert_allclose(
        ours.decision_function(X), peer.decision_function(X), rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize("kind", [LogisticRegression, LinearSVC, RidgeClassifier, NearestMean])
def test_standardising_is_fitting_on_scaled_rows(kind):
    far = X + 200.0  # in float32, sums of squares would cancel
    far[:, 5] = 3.7  # constant
    options = {} if kind in (RidgeClassifier, NearestMean) else {"tol": 1e-7}
    scaled = StandardScaler().fit_transform(far)
    apart = kind(**options).fit(scaled, Y)
    for dtype, tolerance in ((np.float64, 1e-3), (np.float32, 0.05)):
        folded = kind(standardize=True, **options).fit(far.astype(dtype), Y)
        np.testing.assert_allclose(
            folded.decision_function(far.astype(dtype)),
            apart.decision_function(scaled),
            rtol=tolerance,
            atol=tolerance,
        )
    assert np.isfinite(folded.coef_).all()


@pytest.mark.parametrize("kind", [LogisticRegression, LinearSVC])
@pytest.mark.parametrize("standardize", [False, True])
def test_the_curvature_only_changes_the_way(kind, standardize, monkeypatch):
    for classes in (2, 10):
        X_, y = few(classes)
        options = {"tol": 1e-7, "standardize": standardize, "C": 3.0}
        with monkeypatch.context() as patch:
            suits = "bottleneck.heads.solver.lockstep.curvature_suits"
            patch.setattr(suits, lambda *about: False)
            plain = kind(**options).fit(X_, y)
            patch.setattr(suits, lambda *about: True)
            guided = kind(**options).fit(X_, y)
            patch.setattr("bottleneck.heads.solver.curvature._MAX_COUPLED", 0)
            uncoupled = kind(**options).fit(X_, y)
            without = kind(fit_intercept=False, **options).fit(X_, y)
        if kind is LogisticRegression and classes == 10:
            assert guided.n_iter_ < plain.n_iter_
        for other in (guided, uncoupled):
            assert other.objective_ == pytest.approx(plain.objective_, rel=1e-6)
            np.testing.assert_allclose(
                other.decision_function(X_), plain.decision_function(X_), atol=0.05
            )
        assert (without.intercept_ == 0).all() or standardize


def test_leave_one_out_is_leaving_one_out():
    X_, y, alphas = X[:80], Y[:80], (0.1, 3.0, 50.0)
    s = np.random.default_rng(1).uniform(0.5, 2, 80)
    ours = RidgeClassifier(alphas=alphas).fit(X_, y, sample_weight=s)
    for alpha, accuracy, mse in zip(
        alphas, ours.leave_one_out_.accuracy, ours.leave_one_out_.mse, strict=True
    ):
        right, squares = [], []
        for i in range(80):
            rest = np.arange(80) != i
            model = peers.RidgeClassifier(alpha=alpha).fit(X_[rest], y[rest], sample_weight=s[rest])
            z = model.decision_function(X_[i : i + 1])[0]
            right.append(z.argmax() == y[i])
            squares.append(((z - targets(y[i : i + 1], 10)[0]) ** 2).mean())
        assert accuracy == pytest.approx(np.average(right, weights=s), abs=1e-12)
        assert mse == pytest.approx(np.average(squares, weights=s), rel=1e-9)
    best = max(ours.leave_one_out_.accuracy)
    assert ours.leave_one_out_.accuracy[alphas.index(ours.alpha_)] == best


def test_ridge_path_solves_every_alpha():
    ours = RidgeClassifier(alphas=(1.0, 10.0)).fit(X.astype(np.float32), Y)
    for alpha in (1e-2, 1.0, 1e3):
        peer = peers.RidgeClassifier(alpha=alpha).fit(X, Y)
        coef, intercept = ours.path_.solve(alpha)
        np.testing.assert_allclose(coef, peer.coef_, atol=2e-4)
        np.testing.assert_allclose(intercept, peer.intercept_, atol=2e-4)


@pytest.mark.parametrize("shrinkage", [0.0, 0.2, 1.0])
def test_linear_discriminant(shrinkage):
    ours = LinearDiscriminant(shrinkage).fit(X, Y)
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage or None).fit(X, Y)
    np.testing.assert_allclose(ours.decision_function(X), peer.decision_function(X), atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), peer.predict_proba(X), atol=1e-8)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("block", [64, 512])
def test_nearest_neighbours(metric, block, monkeypatch):
    monkeypatch.setattr("bottleneck.heads.solver.row_pass.BLOCK_ROWS", block)
    ours = KNeighbors(7, metric=metric).fit(X[:400], Y[:400])
    peer = KNeighborsClassifier(7, metric=metric, algorithm="brute").fit(X[:400], Y[:400])
    distances, numbers = ours.kneighbors(X[400:])
    theirs, their_numbers = peer.kneighbors(X[400:])
    np.testing.assert_allclose(distances, theirs, atol=1e-7)
    beyond = peer.kneighbors(X[400:], 8)[0]
    apart = np.diff(beyond, prepend=-1) > 1e-6  # equally near ones in any order
    apart = apart[:, :-1] & apart[:, 1:]
    np.testing.assert_array_equal(numbers[apart], their_numbers[apart])
    # Of equally near ones scikit-learn's rounding decides who is the seventh: votes may differ.
    clear = beyond[:, 7] - beyond[:, 6] > 1e-6
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(ours.predict(X[400:])[clear], peer.predict(X[400:])[clear])


@pytest.mark.parametrize("kind", [LogisticRegression, LinearSVC, RidgeClassifier])
def test_blocks_and_threads_do_not_matter(kind):
    X32 = X.astype(np.float32)
    options = {} if kind is RidgeClassifier else {"tol": 1e-6}
    whole = kind(block_rows=10000, threads=1, **options).fit(X32, Y).coef_
    for block_rows, threads in ((7, 1), (64, 2), (256, 3)):
        cut = kind(block_rows=block_rows, threads=threads, **options).fit(X32, Y)
        np.testing.assert_allclose(cut.coef_, whole, atol=5e-3)
    one, three = (kind(block_rows=64, threads=t, **options).fit(X32, Y) for t in (1, 3))
    if kind is not RidgeClassifier:
        np.testing.assert_array_equal(one.coef_, three.coef_)  # bitwise


def test_order_of_rows_does_not_matter():
    shuffle = np.random.default_rng(0).permutation(len(Y))
    one = LogisticRegression(tol=1e-6).fit(X, Y)
    two = LogisticRegression(tol=1e-6).fit(X[shuffle], Y[shuffle])
    np.testing.assert_allclose(one.coef_, two.coef_, atol=1e-3)
    taken = LogisticRegression(tol=1e-6).fit(ArrayRows(X, shuffle), Y[shuffle])
    np.testing.assert_array_equal(taken.coef_, two.coef_)


@pytest.mark.parametrize("dtype", ["<f2", "<f4"])
def test_every_place_rows_can_be_in(tmp_path, dtype):
    stored = X.astype(dtype)
    raw = tmp_path / "rows.bin"
    raw.write_bytes(b"head" + stored.tobytes())
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["X"] = stored
        in_memory = LogisticRegression().fit(stored, Y)
        from_dataset = LogisticRegression().fit(file["X"], Y)
        from_file = LogisticRegression().fit(FileRows(raw, 4, stored.shape, stored.dtype), Y)
        np.testing.assert_array_equal(from_dataset.coef_, in_memory.coef_)
        np.testing.assert_array_equal(from_file.coef_, in_memory.coef_)
        np.testing.assert_array_equal(from_dataset.predict(file["X"]), in_memory.predict(stored))
    some = np.flatnonzero(np.arange(len(Y)) % 5 != 2)
    part = LogisticRegression().fit(FileRows(raw, 4, stored.shape, stored.dtype, some), Y[some])
    np.testing.assert_array_equal(part.coef_, LogisticRegression().fit(stored[some], Y[some]).coef_)


def test_features_of_other_programs(tmp_path):
    """Compressed in an HDF5 file, mapped, in several arrays: nothing that is read in place."""
    stored = X.astype(np.float32)
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file.create_dataset("X", data=stored, chunks=(100, 4), compression="gzip")
    np.save(tmp_path / "rows.npy", stored)
    expected = LogisticRegression().fit(stored, Y).coef_
    some = np.flatnonzero(np.arange(len(Y)) % 5 != 2)
    of_some = LogisticRegression().fit(stored[some], Y[some]).coef_
    for store in (
        FeatureStore.open(tmp_path / "rows.h5", features="X"),
        FeatureStore.open(tmp_path / "rows.npy"),
    ):
        np.testing.assert_array_equal(LogisticRegression().fit(store, Y).coef_, expected)
        part = LogisticRegression().fit(rows_of(store, store.output_name(), some), Y[some])
        np.testing.assert_array_equal(part.coef_, of_some)
    parts = StackedRows(np.array_split(stored, 3))
    np.testing.assert_array_equal(LogisticRegression().fit(parts, Y).coef_, expected)


def test_separable_rows_and_a_large_c():
    X_ = np.array([[-2.0], [-1.0], [1.0], [2.0]] * 5, np.float32)
    y = (X_[:, 0] > 0).astype(int)
    ours = LogisticRegression(C=1e6).fit(X_, y)
    assert ours.converged_
    assert ours.predict(X_).tolist() == y.tolist()
    peer = peers.LogisticRegression(C=1e6, tol=1e-9, max_iter=10000).fit(X_.astype(float), y)
    ours = LogisticRegression(C=1e6, tol=1e-9).fit(X_.astype(float), y)
    np.testing.assert_allclose(ours.coef_, peer.coef_, rtol=0.02)


def test_what_was_reached_is_reported():
    with pytest.warns(ConvergenceWarning, match=r"stopped after 3 steps: gradient .* above the m"):
        hasty = LogisticRegression(max_iter=3).fit(X, Y)
    assert not hasty.converged_
    assert hasty.n_iter_ == 3
    done = LogisticRegression(tol=1e-6).fit(X, Y)
    assert hasty.objective_ - done.objective_ <= hasty.duality_gap_
    assert done.gap_ < 1e-7 < hasty.gap_


def test_refusals():
    with pytest.raises(ValueError, match="C above zero"):
        LogisticRegression(C=0).fit(X, Y)
    with pytest.raises(ValueError, match="1 class"):
        RidgeClassifier().fit(X[:5], np.zeros(5))
    with pytest.raises(ValueError, match="at least one non-zero"):
        LogisticRegression().fit(X, Y, sample_weight=np.zeros(len(Y)))
    with pytest.raises(HeadError, match="a label for each of 600 rows"):
        LogisticRegression().fit(ArrayRows(X), Y[:5])
    bad = X.astype(np.float32)
    bad[300, 2] = np.nan
    for kind in (LogisticRegression, RidgeClassifier, LinearSVC):
        with pytest.raises(ValueError, match="finite"):
            kind().fit(ArrayRows(bad), Y)
