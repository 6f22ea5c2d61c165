"""The pass through Keras operations against the NumPy pass, on every backend that is installed.

On a CPU: what a GPU computes differently was not run here.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from crews import ThreadCrew
from numpy.typing import NDArray

from bottleneck.backbones.keras_scope import import_training_keras
from bottleneck.cluster.holder import Holder
from bottleneck.cluster.passes import ShardWorkers
from bottleneck.errors import OptionError
from bottleneck.heads import Head, select
from bottleneck.heads.rows import ArrayRows, ShardedRows
from bottleneck.heads.solver.engine import (
    LOGISTIC,
    LOGISTIC_EACH,
    SOFTMAX,
    SQUARED_HINGE,
    Work,
    numpy_engine,
)
from bottleneck.heads.solver.keras_engine import KerasEngine, _added, _padded
from bottleneck.heads.solver.row_pass import passes
from bottleneck.heads.solver.scaling import Weighting
from bottleneck.runtimes import placed

CASES = [(SOFTMAX, 10), (SQUARED_HINGE, 10), (SQUARED_HINGE, 1), (LOGISTIC, 1), (LOGISTIC_EACH, 3)]


def work_of(loss, k, p, n, d, seed=0):
    """Some problems over three subsets, with weights of rows, and features to be shifted."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)).astype(np.float32) * 2 + 5
    y = rng.integers(0, 2, (n, k)) if loss.per_label else rng.integers(0, max(k, 2), n)
    weighting = Weighting(y, rng.random((3, n)) < 0.6, rng.uniform(0.5, 2, n))
    work = Work(
        loss=loss,
        weights=rng.normal(size=(k, p, d)).astype(np.float32) * 0.3,
        intercepts=rng.normal(size=(k, p)).astype(np.float32),
        used=np.arange(3),
        place=rng.integers(0, 3, p),
        shift=np.full(d, 5.0),
    )
    return X, work, weighting


def compare_engines(engine=None):
    """Run all cases with both engines; also called in processes with another backend."""
    engine = engine or KerasEngine()
    for loss, k in CASES:
        for p in (2, 5):
            X, work, weighting = work_of(loss, k, p, n=300, d=20)
            with passes(ArrayRows(X)) as run:
                expected = numpy_engine(run, work, weighting)
                found = engine(run, work, weighting)
            for theirs, ours in zip(expected, found, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-4)
                assert ours.dtype == np.float64
    return engine


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    """Blocks that do not divide the rows, so that the last one is padded."""
    monkeypatch.setattr("bottleneck.heads.solver.keras_engine.BLOCK_ROWS", 128)


def test_sums_are_those_of_numpy():
    engine = compare_engines()
    assert repr(engine).startswith(f"<KerasEngine {engine.backend} on ")


def test_sums_keep_what_float32_rounds_off():
    """A hundred thousand small numbers on a large one, each below half its last digit."""
    total, lost, one = np.float32(1e8), np.float32(0), np.float32(3)
    for _ in range(100_000):
        total, lost = _added(total, lost, one)
    assert np.float64(total) + np.float64(lost) == pytest.approx(1e8 + 3e5, rel=1e-8)
    assert np.float32(1e8) + one == np.float32(1e8)


@pytest.mark.parametrize(("loss", "k"), CASES)
def test_classes_travel_as_numbers_and_sums_come_back_once(loss, k):
    engine = KerasEngine()
    X, work, weighting = work_of(loss, k, 4, n=300, d=20)
    ops, sent, fetched = engine._ops, [], []

    class Watched:
        def __getattr__(self, name):
            return getattr(ops, name)

        def convert_to_tensor(self, value, *more):
            sent.append(value)
            return ops.convert_to_tensor(value, *more)

        def convert_to_numpy(self, value):
            fetched.append(tuple(value.shape))
            return ops.convert_to_numpy(value)

    engine._ops = Watched()
    with passes(ArrayRows(X)) as run:
        engine(run, work, weighting)
    codes = [value for value in sent if value.dtype == np.int32]
    assert {value.shape for value in codes} == {(128, k) if loss.per_label else (128,)}
    assert len(codes) == 3
    # Three sums and what each has lost, of all blocks: nothing of a row.
    assert fetched == [shape for shape in ((4,), (k, 4), (k * 4, 20)) for _ in range(2)]


def test_blocks_of_long_rows_are_shorter(monkeypatch):
    monkeypatch.setattr("bottleneck.heads.solver.keras_engine.BLOCK_BYTES", 7 * 20 * 4 + 3)
    X, work, *_ = work_of(SOFTMAX, 10, 3, n=300, d=20)
    with passes(ArrayRows(X)) as run:
        found = KerasEngine()._blocks(run.rows, work, 0, 300, None)
        blocks = [(a, b, tuple(block.shape)) for a, b, block in found]
    assert blocks[0] == (0, 7, (7, 20))
    assert (len(blocks), blocks[-1]) == (43, (294, 300, (7, 20)))


def test_a_head_says_which_keras_fitted_it(digits, recipe):
    fitted = select(
        digits.X, digits.y, classes=digits.classes, keys=digits.keys, grid=(0.01,), n_folds=0,
        engine="keras",
    )  # fmt: skip
    versions = Head.of(fitted, recipe=recipe, output="avg").report["versions"]
    keras = import_training_keras()
    assert versions["keras"] == keras.__version__
    assert keras.backend.backend() in versions


def test_blocks_stay_on_the_device_as_far_as_there_is_room():
    engine = KerasEngine()
    engine._room = 2 * 128 * 20 * 4  # as on a GPU: two of three blocks
    X, work, weighting = work_of(SOFTMAX, 10, 3, n=300, d=20)
    with passes(ArrayRows(X)) as run:
        first = engine(run, work, weighting)
        assert sorted(engine._kept) == [(None, 0), (None, 128)]
        X[:] = 0  # blocks that were kept are not read again, the last one is
        second = engine(run, work, weighting)
    assert second[0] != pytest.approx(first[0])
    with passes(ArrayRows(X[:256])) as run:
        kept = engine(run, work, _first(weighting, 256))
    whole, *_ = work_of(SOFTMAX, 10, 3, n=300, d=20)
    with passes(ArrayRows(whole[:256])) as run:
        expected = numpy_engine(run, work, _first(weighting, 256))
    np.testing.assert_allclose(kept[2], expected[2], rtol=2e-5, atol=2e-4)


def _first(weighting, n):
    return Weighting(weighting.y[:n], weighting.members[:, :n], weighting.row_weights[:n])


@pytest.mark.parametrize(
    ("p", "width"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 6), (7, 8), (9, 12), (13, 16), (50, 64)]
)
def test_numbers_of_problems_are_padded(p, width):
    assert _padded(p) == width


@pytest.mark.parametrize("kind", ["logreg", "svm"])
def test_a_selection_is_the_same(digits, kind):
    about = {"classes": digits.classes, "keys": digits.keys, "head": kind}
    about |= {"grid": (1e-4, 1e-3, 1e-2), "n_folds": 3}
    ours = select(digits.X, digits.y, **about)
    theirs = select(digits.X, digits.y, **about, engine="keras")
    assert theirs.best == ours.best
    for a, b in zip(theirs.cv, ours.cv, strict=True):
        assert a["mean"] == pytest.approx(b["mean"], abs=1e-2 / 3)
    assert theirs.estimator.objective_ == pytest.approx(ours.estimator.objective_, rel=1e-5)
    scores = theirs.estimator.decision_function(digits.X)
    expected = ours.estimator.decision_function(digits.X)
    np.testing.assert_allclose(scores, expected, atol=2e-3 * np.abs(expected).max())
    assert any(note.startswith("fitted through Keras: ") for note in theirs.notes)


def test_a_selection_of_labels_is_the_same(digits):
    flags = np.stack([digits.y % 2, digits.y > 4], axis=1).astype(np.uint8)
    about = {"classes": ["odd", "large"], "keys": digits.keys, "grid": (1e-3, 1e-2), "n_folds": 3}
    ours = select(digits.X, flags, **about)
    theirs = select(digits.X, flags, **about, engine="keras")
    assert theirs.best == ours.best
    assert theirs.estimator.predict_proba(digits.X) == pytest.approx(
        ours.estimator.predict_proba(digits.X), abs=1e-3
    )


def test_what_it_cannot_compute_is_refused(digits):
    with pytest.raises(OptionError, match="expected the engine numpy or keras, got 'cuda'"):
        select(digits.X, digits.y, classes=digits.classes, keys=digits.keys, engine="cuda")
    X, work, weighting = work_of(SOFTMAX, 10, 2, n=20, d=4)
    with (
        passes(ArrayRows(X.astype(np.float64))) as run,
        pytest.raises(OptionError, match="expected float32 or float16 features"),
    ):
        KerasEngine()(run, work, weighting)


@dataclass(frozen=True)
class InMemory:
    array: NDArray[np.float32]

    def open(self):
        return ArrayRows(self.array)


@pytest.mark.parametrize(("kind", "kept"), [("logreg", 0), ("logreg", 3), ("svm", 100)])
def test_workers_that_hold_shards_compute_what_one_machine_does(digits, monkeypatch, kind, kept):
    """Bit for bit, whoever holds them; blocks stay on their devices as far as there is room."""
    block_bytes = 4 * 128 * digits.X.shape[1]
    monkeypatch.setattr("bottleneck.heads.solver.keras_engine.KEPT_SHARE", 1)

    def on_gpu(backend, device):
        found = placed(backend, "cpu")
        return replace(found, name="gpu:0", free_bytes=lambda: kept * block_bytes)

    monkeypatch.setattr("bottleneck.heads.solver.keras_engine.placed", on_gpu)
    shards = {i: digits.X[i * 250 : (i + 1) * 250] for i in range(-(-len(digits.X) // 250))}
    about = {"classes": digits.classes, "keys": digits.keys, "head": kind}
    about |= {"grid": (1e-3, 1e-1), "n_folds": 3}

    def fit(workers=None, engine="keras"):
        rows = ShardedRows({i: ArrayRows(part) for i, part in shards.items()}, workers)
        found = select(rows, digits.y, **about, engine=engine)
        scores = [entry["mean"] for entry in found.cv]
        return found, (found.estimator.coef_, found.estimator.intercept_, np.array(scores))

    here, learnt = fit()
    ours, expected = fit(engine="numpy")
    assert here.best == ours.best
    assert here.estimator.objective_ == pytest.approx(ours.estimator.objective_, rel=1e-5)
    np.testing.assert_allclose(learnt[2], expected[2], atol=1e-2 / 3)
    for count, losses in [(1, {}), (2, {}), (3, {}), (3, {1: 4})]:
        crew = ThreadCrew(count, lambda: Holder(1, engine="keras"), losses)
        workers = ShardWorkers(crew, {i: InMemory(part) for i, part in shards.items()})
        found, away = fit(workers)
        assert len(crew.losses) == len(losses)
        for mine, its in zip(away, learnt, strict=True):
            np.testing.assert_array_equal(mine, its)
        assert here.notes[-1].endswith(", gpu:0")
        away_from = here.notes[-1].removesuffix("gpu:0")
        assert f"{away_from}by the workers of a cluster, on gpu:0" in found.notes
        engines = [member.worker._engine for member in crew.there]
        blocks = [len(engine._kept) for engine in engines]
        homes = workers._homes.items()
        own = [
            sum(-(-len(shards[i]) // 128) for i, home in homes if home is member)
            for member in crew.there
        ]
        assert blocks == [min(kept, count) for count in own]
        for member in crew.there:
            member.worker.forget()
        assert [len(engine._kept) for engine in engines] == [0] * len(engines)
        crew.close()


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_agree(backend):
    pytest.importorskip(backend, reason="a backend of Keras; not a dependency")
    code = (
        "import bottleneck.heads.solver.keras_engine as e; e.BLOCK_ROWS = 128;"
        "from test_keras_engine import compare_engines;"
        "engine = compare_engines(); import sys;"
        "print(engine.backend, 'tensorflow' in sys.modules)"
    )
    here = os.path.dirname(__file__)
    given = filter(None, [os.environ.get("PYTHONPATH")])
    path = os.pathsep.join([here, os.path.dirname(here), *given])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split() == [backend, "False"]
