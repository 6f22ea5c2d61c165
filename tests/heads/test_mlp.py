"""The small network: what Keras trained is what NumPy computes, from a stream, reproducibly."""

import os
import subprocess
import sys

import numpy as np
import pytest

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads import (
    Head,
    MultiLabelPerceptron,
    MultilayerPerceptron,
    PerceptronRegressor,
    select,
)
from bottleneck.heads.kinds.epochs import batches
from bottleneck.heads.kinds.mlp import _unscaled, build
from bottleneck.heads.onnx import write_onnx
from bottleneck.heads.rows import ArrayRows, FileRows

QUICK = {"hidden": 32, "epochs": 25, "batch_size": 32, "lr": 5e-3}


@pytest.fixture(scope="module")
def trained(digits):
    return select(
        digits.X,
        digits.y,
        classes=digits.classes,
        keys=digits.keys,
        head="mlp",
        settings=QUICK,
        n_folds=3,
    )


def test_numpy_computes_what_keras_does(digits):
    head = MultilayerPerceptron(hidden=16)
    model = build(64, 10, head)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape) * 0.3 for w in model.get_weights()])
    mean, scale = digits.X.mean(axis=0), digits.X.std(axis=0) + 0.1
    Z = ((digits.X - mean) / scale).astype(np.float32)
    weights = [np.asarray(w, np.float64) for w in model.get_weights()]
    head.hidden_coef_, head.hidden_intercept_, head.coef_, head.intercept_ = _unscaled(
        weights, mean.astype(np.float64), scale.astype(np.float64)
    )
    expected = np.asarray(model.predict(Z, verbose=0))
    np.testing.assert_allclose(head.forward(digits.X), expected, atol=1e-5, rtol=1e-5)


def test_it_learns_about_as_much_as_logistic_regression(digits, trained):
    linear = select(
        digits.X, digits.y, classes=digits.classes, keys=digits.keys, grid=(1e-2,), n_folds=3
    )
    assert trained.cv[0]["mean"] > linear.cv[0]["mean"] - 0.04
    assert trained.best == {**QUICK, "dropout": 0.5}
    network = trained.estimator
    assert network.losses_[network.epoch_ - 1] == min(network.losses_)
    shares = network.predict_proba(digits.X)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_array_equal(shares.argmax(axis=1), network.predict(digits.X))


def test_the_same_seed_gives_the_same_head_from_a_file_or_an_array(digits, tmp_path):
    digits.X.tofile(tmp_path / "x.f32")
    file = FileRows(tmp_path / "x.f32", 0, digits.X.shape, np.dtype("<f4"))
    options = QUICK | {"epochs": 2}
    found = [
        MultilayerPerceptron(**options, seed=seed).fit(X, digits.y)
        for X, seed in ((digits.X, 3), (file, 3), (digits.X, 4))
    ]
    np.testing.assert_array_equal(found[0].coef_, found[1].coef_)
    np.testing.assert_array_equal(found[0].hidden_coef_, found[1].hidden_coef_)
    assert np.abs(found[0].coef_ - found[2].coef_).max() > 0.01


def test_held_out_rows_are_not_learnt_from(digits):
    """Nonsense in rows that are held out or not used at all leaves the weights as they are."""
    held, unused = np.zeros((2, 300), bool)
    held[250:275] = unused[275:] = True
    options = QUICK | {"epochs": 1}
    about = {"members": ~unused, "held_out": held}
    clean = MultilayerPerceptron(**options).fit(digits.X, digits.y, **about)
    spoilt = digits.X.copy()
    spoilt[250:] = 1e3
    other = MultilayerPerceptron(**options).fit(spoilt, digits.y, **about)
    np.testing.assert_array_equal(clean.coef_, other.coef_)
    assert clean.losses_ != other.losses_


class Recorded(ArrayRows):
    def read(self, start, stop, scratch):
        self.longest = max(getattr(self, "longest", 0), stop - start)
        return super().read(start, stop, scratch)


def test_batches_are_every_member_once_mixed_and_of_one_size(rng):
    n = 40_000
    rows = Recorded(np.arange(2 * n, dtype=np.float32).reshape(n, 2))
    y = np.arange(n) // 4000  # sorted by class, as a folder is
    members = rng.random(n) < 0.7
    found = list(batches(rows, y, members, 256, np.random.default_rng(0)))
    assert [len(X) for X, _ in found[:-1]] == [256] * (len(found) - 1)
    taken = np.concatenate([X[:, 0] for X, _ in found]).astype(int) // 2
    np.testing.assert_array_equal(np.sort(taken), np.flatnonzero(members))
    np.testing.assert_array_equal(y[taken], np.concatenate([codes for _, codes in found]))
    assert min(len(np.unique(codes)) for _, codes in found[:-1]) >= 8
    assert rows.longest == 128
    again = list(batches(rows, y, members, 256, np.random.default_rng(0)))
    np.testing.assert_array_equal(found[0][0], again[0][0])


class Counted(ArrayRows):
    """Rows that remember how many of them are read at once."""

    def read(self, start, stop, scratch):
        self.pieces.append(stop - start)
        return super().read(start, stop, scratch)


@pytest.mark.parametrize(("dim", "piece"), [(1280, 128), (20 << 10, 8), (1 << 20, 1)])
def test_long_rows_are_read_in_short_pieces(dim, piece):
    rows = Counted(np.broadcast_to(np.arange(150, dtype=np.float32)[:, None], (150, dim)))
    rows.pieces = []
    stream = batches(rows, np.arange(150), np.arange(150) < 140, 4, np.random.default_rng(0))
    codes = []
    for X, own in stream:
        if not codes:  # no more than 40 MiB of rows beside the few of a batch
            assert sum(rows.pieces) * dim * 4 <= 40 << 20
        np.testing.assert_array_equal(X[:, 0], own)
        codes += own.tolist()
    assert (max(rows.pieces), sorted(codes)) == (piece, list(range(140)))


def test_saved_and_loaded_without_keras(digits, trained, recipe, tmp_path):
    head = Head.of(trained, recipe=recipe, output="avg")
    head.save(tmp_path / "m.head")
    np.save(tmp_path / "x.npy", digits.X)
    code = (
        "import sys, numpy as np; from bottleneck.heads import Head;"
        "head = Head.load(sys.argv[1]); X = np.load(sys.argv[2]);"
        "np.save(sys.argv[3], head.predict_proba(X));"
        "print(*{'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules))"
    )
    files = [tmp_path / name for name in ("m.head", "x.npy", "p.npy")]
    done = subprocess.run(
        [sys.executable, "-c", code, *files], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == []
    np.testing.assert_array_equal(np.load(files[2]), head.predict_proba(digits.X))


def test_another_runtime_agrees(digits, trained, recipe, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="checks the model; not a dependency")
    head = Head.of(trained, recipe=recipe, output="avg")
    write_onnx(head, tmp_path / "m.onnx")
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"features": digits.X}), strict=True))
    np.testing.assert_array_equal(found["label"], head.predict(digits.X))
    expected = head.predict_proba(digits.X)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-5, atol=1e-6)


def test_damaged_weights_are_refused(trained, recipe, tmp_path):
    head = Head.of(trained, recipe=recipe, output="avg")
    kept = trained.estimator.hidden_intercept_
    try:
        trained.estimator.hidden_intercept_ = kept[:-1]
        head.save(tmp_path / "bad.head")
        with pytest.raises(HeadError, match="expected float64 weights of two layers"):
            Head.load(tmp_path / "bad.head")
        trained.estimator.hidden_intercept_ = np.full_like(kept, np.nan)
        head.save(tmp_path / "bad.head")
        with pytest.raises(HeadError, match="not finite"):
            Head.load(tmp_path / "bad.head")
    finally:
        trained.estimator.hidden_intercept_ = kept


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 2}, "no setting 'layers'"),
        ({"hidden": 0}, "expected hidden to be 1 or more, got 0"),
        ({"hidden": 2.5}, "expected hidden to be 1 or more"),
        ({"dropout": 1}, "expected dropout from 0 to below 1, got 1"),
        ({"lr": "fast"}, "expected lr"),
    ],
)
def test_settings_are_checked(digits, settings, message):
    with pytest.raises(OptionError, match=message):
        select(
            digits.X,
            digits.y,
            classes=digits.classes,
            keys=digits.keys,
            head="mlp",
            settings=settings,
        )


def test_a_training_that_diverges_says_so(digits, monkeypatch):
    monkeypatch.setattr("bottleneck.heads.kinds.mlp._loss", lambda *_: float("nan"))
    with pytest.raises(HeadError, match="training diverged: give a smaller lr"):
        select(
            digits.X, digits.y, classes=digits.classes, keys=digits.keys, n_folds=0, head="mlp",
            settings={"hidden": 4, "epochs": 3},
        )  # fmt: skip


def test_of_a_training_that_diverges_late_the_best_epoch_is_kept(digits, monkeypatch):
    losses = iter([1.0, 0.5, float("nan")])
    monkeypatch.setattr("bottleneck.heads.kinds.mlp._loss", lambda *_: next(losses))
    head = MultilayerPerceptron(hidden=4, epochs=5).fit(digits.X, digits.y)
    assert (head.epoch_, head.losses_[:2]) == (2, [1.0, 0.5])


def test_no_jobs_are_refused(digits):
    with pytest.raises(OptionError, match="1 or more jobs"):
        select(digits.X, digits.y, classes=digits.classes, keys=digits.keys, head="mlp", jobs=0)


def test_it_has_no_strength(digits):
    with pytest.raises(OptionError, match="expected no --C for mlp"):
        select(digits.X, digits.y, classes=digits.classes, keys=digits.keys, head="mlp", grid=[1.0])


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_any_backend_of_keras_trains_it(digits, tmp_path, backend):
    pytest.importorskip(backend, reason="a backend of Keras; not a dependency")
    np.savez(tmp_path / "d.npz", X=digits.X, y=digits.y)
    code = (
        "import sys, numpy as np; from bottleneck.heads import MultilayerPerceptron as M;"
        "d = np.load(sys.argv[1]); options = dict(hidden=32, epochs=15, batch_size=32, lr=5e-3);"
        "a, b = (M(**options).fit(d['X'], d['y']) for _ in range(2));"
        "import keras; print(keras.backend.backend(), 'tensorflow' in sys.modules,"
        " (a.coef_ == b.coef_).all(), a.score(d['X'], d['y']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "d.npz"],
        env={**os.environ, "KERAS_BACKEND": backend},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    name, tensorflow, same, score = done.stdout.split()
    assert (name, tensorflow, same) == (backend, "False", "True")
    assert float(score) > 0.95


def test_labels_have_a_probability_each(digits):
    """As scikit-learn's logistic regression of each label, about as good, on rows not seen."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    flags = np.stack([digits.y % 2, digits.y > 5], axis=1).astype(np.uint8)
    used = np.arange(300) < 200
    network = MultiLabelPerceptron(**QUICK).fit(digits.X, flags, members=used)
    asked, truth = digits.X[~used], flags[~used]
    found = network.predict_proba(asked)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-network.decision_function(asked))))
    np.testing.assert_array_equal(network.predict(asked), found > 0.5)
    for column in range(2):
        peer = LogisticRegression(C=0.01, max_iter=999).fit(digits.X[used], flags[used, column])
        theirs = log_loss(truth[:, column], peer.predict_proba(asked))
        assert log_loss(truth[:, column], found[:, column]) < theirs + 0.05


def test_the_losses_told_are_those_of_keras(digits):
    """On the held-out rows, by the weights of the epoch that was kept."""
    import keras

    held = np.arange(300) >= 270
    flags = np.stack([digits.y % 2, digits.y > 5], axis=1).astype(np.uint8)
    numbers = np.stack([digits.y * 1.0, 1e6 + 1e3 * digits.X.sum(axis=1)], axis=1)
    short = QUICK | {"epochs": 2}
    by_label = MultiLabelPerceptron(**short).fit(digits.X, flags, held_out=held)
    expected = keras.losses.BinaryCrossentropy()(
        flags[held].astype(np.float32), by_label.predict_proba(digits.X[held]).astype(np.float32)
    )
    assert by_label.losses_[by_label.epoch_ - 1] == pytest.approx(float(expected), rel=1e-4)
    regressor = PerceptronRegressor(**short).fit(digits.X, numbers, held_out=held)
    errors = (regressor.predict(digits.X[held]) - numbers[held]) / numbers[~held].std(axis=0)
    assert regressor.losses_[regressor.epoch_ - 1] == pytest.approx(np.mean(errors**2), rel=1e-9)


def test_numbers_of_very_different_size_are_learnt_alike(digits):
    used = np.arange(300) % 3 > 0
    ink = digits.X.sum(axis=1, dtype=np.float64)
    numbers = np.stack([ink, 1e6 + 1e3 * ink], axis=1)
    network = PerceptronRegressor(**QUICK | {"epochs": 30}).fit(digits.X, numbers, members=used)
    said = network.predict(digits.X[~used])
    for column in range(2):
        assert np.corrcoef(said[:, column], numbers[~used, column])[0, 1] ** 2 > 0.8
    spoilt = numbers.copy()
    spoilt[~used] = 1e9  # not used: nor is what targets are scaled by
    other = PerceptronRegressor(**QUICK | {"epochs": 30}).fit(digits.X, spoilt, members=used)
    np.testing.assert_array_equal(other.coef_, network.coef_)


@pytest.mark.parametrize(
    ("made", "y", "message"),
    [
        (MultiLabelPerceptron, np.full((300, 1), 2), "expected labels of 0 and 1"),
        (PerceptronRegressor, np.full((300, 1), np.nan), "NaN|finite numbers"),
        (PerceptronRegressor, np.arange(300.0), "of shape .rows, targets."),
    ],
)
def test_odd_targets_are_refused(digits, made, y, message):
    with pytest.raises(ValueError, match=message):
        made(**QUICK).fit(digits.X, y)
