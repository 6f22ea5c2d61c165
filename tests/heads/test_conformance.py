"""What every kind of head keeps: one suite that walks the registry.

A kind of another package is walked too: the example below ``examples/`` is registered here as if
it were installed.
"""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads import HEAD_NAMES, Head, folds, head_kind, head_names, select
from bottleneck.heads.kind import TrainingData
from bottleneck.heads.kinds.imported import ImportedTrainer
from bottleneck.heads.onnx import onnx_model
from bottleneck.heads.rows import ArrayRows, FileRows

EXAMPLES = Path(__file__).parents[2] / "examples"
IMPORTED = "sklearn.naive_bayes.GaussianNB"
NAMES = (*HEAD_NAMES, "prototypes", IMPORTED)

NETWORKS = ("mlp", "stack")

SETTINGS = {
    "stack": {"shape": "8x8x1", "epochs": 12, "batch_size": 32, "lr": 3e-3},
    "mlp": {"hidden": 16, "epochs": 15, "batch_size": 32, "lr": 5e-3},
    "lda": {"shrinkage": [0.1, 0.5]},
    "knn": {"k": [1, 5]},
}
GRIDS = {"logreg": (1e-3, 1e-2), "svm": (1e-4, 1e-3), "ridge": (1e-3, 1e-2)}

TWINS = {
    ("logreg", "classes"): lambda p: LogisticRegression(C=p["C"], tol=1e-7, max_iter=9999),
    ("logreg", "labels"): lambda p: OneVsRestClassifier(
        LogisticRegression(C=p["C"], tol=1e-7, max_iter=9999)
    ),
    ("svm", "classes"): lambda p: LinearSVC(C=p["C"], dual=False, tol=1e-7, max_iter=9999),
    ("ridge", "classes"): lambda p: RidgeClassifier(alpha=p["alpha"]),
    ("ridge", "numbers"): lambda p: Ridge(alpha=p["alpha"]),
    ("lda", "classes"): lambda p: LinearDiscriminantAnalysis("lsqr", shrinkage=p["shrinkage"]),
    ("nearest_mean", "classes"): lambda p: NearestCentroid(),
    ("knn", "classes"): lambda p: KNeighborsClassifier(p["k"], metric="cosine", algorithm="brute"),
    ("knn", "labels"): lambda p: KNeighborsRegressor(p["k"], metric="cosine", algorithm="brute"),
    ("knn", "numbers"): lambda p: KNeighborsRegressor(p["k"], metric="cosine", algorithm="brute"),
    (IMPORTED, "classes"): lambda p: GaussianNB(),
}
"""scikit-learn's classifier of the same objective, on standardised features."""

AS_THEY_ARE = {"knn", "lda"}
"""Kinds that take features as they are."""


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Let the example be found as an installed package's would."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    point = EntryPoint("prototypes", "prototype_head:KIND", "bottleneck.heads")
    monkeypatch.setattr("bottleneck.heads.registry.entry_points", lambda group: [point])
    yield
    sys.modules.pop("prototype_head", None)


def data_of(digits, task):
    if task == "classes":
        return digits.y, digits.classes
    if task == "labels":
        return np.stack([digits.y % 2, digits.y > 5], axis=1).astype(np.uint8), ("odd", "large")
    ink = digits.X.sum(axis=1)
    return np.stack([digits.y + 0.5, ink / 100.0], axis=1), ("digit", "ink")


CASES = [
    (name, task)
    for name in NAMES
    for task in (head_kind(name).tasks if name in HEAD_NAMES else ("classes",))
]


@pytest.fixture(scope="module")
def made():
    return {}


@pytest.fixture
def fitted(digits, made):
    def get(name, task="classes"):
        if (name, task) not in made:
            made[name, task] = run(digits, name, task)
        return made[name, task]

    return get


def run(digits, name, task="classes", **options):
    y, names = data_of(digits, task)
    about = {"head": name, "grid": GRIDS.get(name), "settings": SETTINGS.get(name, {})}
    about |= {"classes": names, "keys": digits.keys, "n_folds": 3} | options
    rows = about.pop("rows", digits.X)
    return select(rows, y, **about)


def test_the_example_is_walked_too():
    assert head_names() == (*HEAD_NAMES, "prototypes")


@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")  # corners of digits are empty
@pytest.mark.parametrize(("name", "task"), list(TWINS))
def test_cross_validation_equals_an_explicit_loop_over_the_twin(digits, fitted, name, task):
    head = fitted(name, task)
    y, _ = data_of(digits, task)
    strata = y if task == "classes" else np.zeros(len(y), int)
    if task == "labels":  # the rarest label of each row
        order = np.argsort(y.sum(axis=0), kind="stable")
        strata = np.where(y.any(axis=1), (y[:, order] == 1).argmax(axis=1), 2)
    fold = folds(digits.keys, strata, n_folds=3)
    assert len(head.cv) == len(head_kind(name).candidates(GRIDS.get(name), SETTINGS.get(name, {})))
    for entry in head.cv:
        scores = []
        for i in range(3):
            twin = TWINS[name, task](entry["params"])
            if name not in AS_THEY_ARE:
                twin = make_pipeline(StandardScaler(), twin)
            twin.fit(digits.X[fold != i].astype(float), y[fold != i])
            asked, truth = digits.X[fold == i].astype(float), y[fold == i]
            if task == "classes":
                scores.append(np.mean(twin.predict(asked) == truth))
            elif task == "numbers":
                left = ((truth - twin.predict(asked)) ** 2).sum(axis=0)
                scores.append(np.mean(1 - left / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)))
            else:
                from sklearn.metrics import average_precision_score

                said = getattr(twin, "decision_function", twin.predict)(asked)
                scores.append(average_precision_score(truth, said, average="macro"))
        # A row on the border between two classes may fall to either side.
        assert entry["mean"] == pytest.approx(
            np.mean(scores), abs=2e-3 if task == "classes" else 1e-3
        )


@pytest.mark.parametrize(("name", "task"), CASES)
def test_the_file_holds_the_head(digits, fitted, recipe, tmp_path, name, task):
    head = Head.of(fitted(name, task), recipe=recipe, output="avg")
    head.save(tmp_path / "a.head")
    head.save(tmp_path / "b.head")
    if name != IMPORTED:  # skops numbers objects by where they are in memory
        assert (tmp_path / "a.head").read_bytes() == (tmp_path / "b.head").read_bytes()
    loaded = Head.load(tmp_path / "a.head")
    assert (loaded.kind, loaded.task, loaded.best) == (head.kind, task, head.best)
    assert repr(loaded) == repr(head)
    np.testing.assert_array_equal(loaded.predict(digits.X), head.predict(digits.X))
    np.testing.assert_array_equal(loaded.scores(digits.X), head.scores(digits.X))
    ours, theirs = head.predict_proba(digits.X), loaded.predict_proba(digits.X)
    assert (ours is None) == (theirs is None)
    if ours is not None:
        np.testing.assert_array_equal(ours, theirs)
    loaded.save(tmp_path / "b.head")
    assert Head.load(tmp_path / "b.head").best == head.best


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_row_alone_is_as_in_a_batch(digits, fitted, name, task):
    head = fitted(name, task)
    batch, scores = head.predict(digits.X), head.scores(digits.X)
    for row in (0, 17, 299):
        alone = digits.X[row : row + 1]
        np.testing.assert_allclose(head.predict(alone)[0], batch[row], rtol=1e-12)
        near = 1e-5 if name == "stack" else 1e-9  # it computes in float32
        np.testing.assert_allclose(head.scores(alone)[0], scores[row], rtol=near, atol=near)
    assert head.scores(digits.X[:0]).shape == (0, len(head.classes))
    asked, found = head.answers(digits.X)
    np.testing.assert_allclose(found, scores, rtol=1e-12)
    expected = head.predict_proba(digits.X)
    assert (asked is None) == (expected is None)
    if asked is not None:
        np.testing.assert_allclose(asked, expected, rtol=1e-12)
        assert task == "labels" or np.allclose(asked.sum(axis=1), 1)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(digits, fitted, name):
    head = fitted(name)
    assert np.mean(head.predict(digits.X) == digits.y) > 0.85
    assert max(entry["mean"] for entry in head.cv) > 0.8
    np.testing.assert_array_equal(head.scores(digits.X).argmax(axis=1), head.predict(digits.X))


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n not in NETWORKS]
)  # its folds are those of all
def test_groups_are_not_torn_apart(digits, name, monkeypatch):
    """Rows that a group shares are left out together: the trainer is told so by the folds."""
    groups = (np.arange(len(digits.y)) // 5).astype(np.int32)
    kind, seen = head_kind(name), []
    trainer_of = type(kind).trainer

    def watched(self, data):
        manager = trainer_of(self, data)
        trainer = manager.__enter__()
        score = trainer.score

        def spy(members, candidates, parts):
            seen.append((members.copy(), data.groups))
            return score(members, candidates, parts)

        trainer.score = spy
        manager.__enter__ = lambda *_: trainer

        class Opened:
            def __enter__(self):
                return trainer

            def __exit__(self, *error):
                return manager.__exit__(*error)

        return Opened()

    monkeypatch.setattr(type(kind), "trainer", watched)
    run(digits, name, groups=groups)
    (members, told), *_ = seen
    np.testing.assert_array_equal(told, groups)
    for member in members:
        for group in np.unique(groups):
            assert len(set(member[groups == group])) == 1
    assert not members.all(axis=0).any()


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n not in NETWORKS]
)  # which draws other batches
def test_rows_left_out_are_not_learnt_from(digits, name):
    """Scores of a fold are the same whatever the labels of its own rows: only the truth moves."""
    kind = head_kind(name)
    (params, *_) = kind.candidates(GRIDS.get(name), SETTINGS.get(name, {}))
    parts = (np.arange(len(digits.y)) % 2).astype(np.int32)
    members = np.stack([parts != 0, parts != 1])
    found = []
    for spoilt in (False, True):
        y = digits.y.copy()
        if spoilt:
            y[parts == 0] = 9 - y[parts == 0]
        data = TrainingData(ArrayRows(digits.X), y, 10, "classes", digits.keys)
        with kind.trainer(data) as trainer:
            found.append(trainer.score(members, [params], parts).scores(0)[parts == 0])
    np.testing.assert_allclose(found[0], found[1], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_file_are_as_those_in_memory(digits, fitted, tmp_path, name):
    path = tmp_path / "rows.bin"
    digits.X.astype("<f4").tofile(path)
    rows = FileRows(path, 0, digits.X.shape, np.dtype("<f4"))
    head, other = fitted(name), run(digits, name, rows=rows)
    assert other.cv == head.cv
    np.testing.assert_array_equal(other.predict(digits.X), head.predict(digits.X))
    np.testing.assert_allclose(other.scores(rows), head.scores(digits.X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in NAMES if n != IMPORTED])
def test_weights_are_honoured_or_not_taken(digits, name):
    """A row of weight 2 counts like the row twice; estimators without weights have no such word."""
    import inspect

    kind = head_kind(name)
    (params, *_) = kind.candidates(GRIDS.get(name), SETTINGS.get(name, {}))
    estimator = kind.build("classes", params)
    if "sample_weight" not in inspect.signature(estimator.fit).parameters:
        with pytest.raises(TypeError, match="sample_weight"):
            estimator.fit(digits.X, digits.y, sample_weight=np.ones(len(digits.y)))
        return
    weights = np.where(np.arange(len(digits.y)) < 60, 2.0, 1.0)
    weighed = kind.build("classes", params).fit(
        digits.X.astype(float), digits.y, sample_weight=weights
    )
    twice = np.concatenate([np.arange(60), np.arange(len(digits.y))])
    repeated = estimator.fit(digits.X[twice].astype(float), digits.y[twice])
    np.testing.assert_allclose(
        weighed.decision_function(digits.X), repeated.decision_function(digits.X), atol=5e-3
    )


@pytest.mark.parametrize(("name", "task"), CASES)
def test_onnx_says_what_predict_says(digits, fitted, recipe, name, task):
    head = Head.of(fitted(name, task), recipe=recipe, output="avg")
    if not len(head_kind(name).layers(head.estimator)):
        with pytest.raises(HeadError, match=f"which ONNX can hold, got {name}"):
            onnx_model(head)
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(
        onnx_model(head).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"features": digits.X}), strict=True))
    np.testing.assert_allclose(found["scores"], head.scores(digits.X), rtol=1e-5, atol=1e-4)
    if task == "classes":
        np.testing.assert_array_equal(found["label"], head.predict(digits.X))
    expected = head.predict_proba(digits.X)
    assert ("probabilities" in found) == (expected is not None and task != "numbers")
    if "probabilities" in found:
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in NETWORKS])  # which needs more rows
def test_curves_and_few_shots(digits, name):
    assert head_kind(name).few_rows
    about = {"settings": {}, "grid": None, "n_folds": 3}
    if head_kind(name).parameter == "C":
        about["grid"] = (1e-2,)
    elif name in SETTINGS:
        about["settings"] = {key: value[:1] for key, value in SETTINGS[name].items()}
    head = run(digits, name, curve=(0.5, 1.0), shots=(2,), **about)
    half, whole = head.report["curve"]
    assert whole["mean"] == pytest.approx(head.cv[0]["mean"], abs=1e-12)
    assert half["rows"] < whole["rows"]
    assert head.report["shots"][0]["rows"] == 20
    assert 0.2 < head.report["shots"][0]["mean"] < whole["mean"]


@pytest.mark.parametrize("name", [n for n in NAMES if n not in NETWORKS])
def test_the_smallest_share_has_as_many_rows_as_the_head_needs(digits, name):
    """So that none fails over its curve once all else is fitted."""
    about = {"settings": {}, "grid": None, "n_folds": 3}
    if head_kind(name).parameter == "C":
        about["grid"] = (1e-2,)
    elif name in SETTINGS:
        about["settings"] = {key: value[:1] for key, value in SETTINGS[name].items()}
    (least,) = run(digits, name, curve=(1e-6,), **about).report["curve"]
    assert least["rows"] == 10 * head_kind(name).few_rows


@pytest.mark.parametrize("asked", [{"curve": (0.001, 1.0)}, {"shots": (1, 20)}])
def test_a_head_that_needs_more_rows_is_refused_before_the_fit(digits, asked, monkeypatch):
    """Which of scikit-learn's need how many nobody says: the fewest are tried first."""
    name = "sklearn.discriminant_analysis.LinearDiscriminantAnalysis"
    fitted = []
    score = ImportedTrainer.score

    def counted(self, members, *rest):
        fitted.append(int(members.sum(axis=1).max()))
        return score(self, members, *rest)

    monkeypatch.setattr(ImportedTrainer, "score", counted)
    about = {"settings": {}, "grid": None, "n_folds": 3}
    with pytest.raises(HeadError, match="can be fitted on 10 rows.*number of classes") as caught:
        run(digits, name, **asked, **about)
    assert "larger shares" in caught.value.hint
    assert fitted == [10]


@pytest.mark.parametrize("curve", [(0.0, 1.0), (1.5,), (-0.1,)])
def test_shares_that_are_none_are_refused_before_the_fit(digits, curve):
    with pytest.raises(OptionError, match="shares above 0 and at most 1"):
        run(digits, "ridge", curve=curve, settings={}, grid=(1.0,), n_folds=3)


def test_too_many_rows_for_neighbours_are_refused_before_anything_is_fitted():
    kind = head_kind("knn")
    kind.require_size(500_000, 1280)
    with pytest.raises(HeadError, match=r"at most 559016 rows of 1280 .* knn, got 600000"):
        kind.require_size(600_000, 1280)
    head_kind("ridge").require_size(10**9, 10**4)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in NETWORKS])
def test_calibrated_probabilities(digits, name):
    head = run(digits, name, calibrate=True)
    found = head.predict_proba(digits.X)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    own = found[np.arange(len(digits.y)), digits.y]
    assert -np.log(np.maximum(own, 1e-12)).mean() < np.log(10) / 2  # chance is log 10


@pytest.mark.parametrize("name", NAMES)
def test_who_learns_from_few_rows_learns_from_as_many_as_it_says(name, digits):
    """Otherwise a comparison that draws learning curves with it would end there."""
    kind = head_kind(name)
    assert kind.few_rows == {"lda": 2, "mlp": 0, "stack": 0}.get(name, 1)
    per_class = [np.flatnonzero(digits.y == code)[: kind.few_rows] for code in range(10)]
    rows = np.concatenate(per_class)
    X = digits.X.astype(np.float32)[rows]
    data = TrainingData(
        rows=ArrayRows(X),
        y=digits.y[rows].astype(np.int64),
        outputs=len(digits.classes),
        task="classes",
        keys=[digits.keys[row] for row in rows],
        engine=kind.engines[0],
    )
    settings = SETTINGS.get(name, {})
    candidate = kind.candidates(GRIDS.get(name), settings)[0]
    if not kind.few_rows:
        return
    with kind.trainer(data) as trainer:
        estimator, _ = trainer.final(candidate, None, 0)
    assert np.mean(estimator.predict(X) == data.y) > 0.9
