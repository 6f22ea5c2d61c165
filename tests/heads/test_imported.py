"""Other estimators of scikit-learn as heads, where rows fit in memory."""

import zipfile

import numpy as np
import pytest
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads import Head, folds, head_kind, select
from bottleneck.heads.kinds.imported import estimator_class
from bottleneck.heads.onnx import onnx_model
from bottleneck.heads.selection.grid import parse_settings
from bottleneck.judge import judge_head, judge_targets


def fit(digits, head, **settings):
    return select(
        digits.X, digits.y, classes=digits.classes, keys=digits.keys,
        head=head, settings=settings, n_folds=3,
    )  # fmt: skip


def test_scores_are_those_of_the_classifier_itself(digits):
    fitted = fit(digits, "sklearn.svm.SVC", kernel="rbf", C=3.0)
    fold = folds(digits.keys, digits.y, n_folds=3)
    expected = [
        make_pipeline(StandardScaler(), SVC(C=3.0))
        .fit(digits.X[fold != i], digits.y[fold != i])
        .score(digits.X[fold == i], digits.y[fold == i])
        for i in range(3)
    ]
    (entry,) = fitted.cv
    assert entry["mean"] == pytest.approx(np.mean(expected))
    assert entry["std"] == pytest.approx(np.std(expected))
    assert fitted.best == {"kernel": "rbf", "C": 3.0}


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        ("sklearn.svm.SVC", {}),
        ("sklearn.naive_bayes.GaussianNB", {"var_smoothing": 0.1}),
        ("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": 3}),
    ],
)
def test_saved_without_pickle_and_read_again(digits, recipe, tmp_path, path, settings):
    head = Head.of(fit(digits, path, **settings), recipe=recipe, output="avg")
    file = tmp_path / "a.head"
    head.save(file)
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["head.json", "estimator.skops"]
    loaded = Head.load(file)
    np.testing.assert_array_equal(loaded.predict(digits.X), head.predict(digits.X))
    np.testing.assert_allclose(loaded.scores(digits.X), head.scores(digits.X), rtol=1e-12)
    assert loaded.scores(digits.X).shape == (300, 10)
    assert repr(loaded).startswith(f"<Head {path} pixels/avg 64 -> 10 classes")
    assert judge_head(loaded, digits.X, digits.y, digits.classes).accuracy > 0.8
    with pytest.raises(HeadError, match=f"dense layers, which ONNX can hold, got {path}"):
        onnx_model(loaded)
    with zipfile.ZipFile(file) as archive:
        description = archive.read("head.json")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("head.json", description)
        archive.writestr("estimator.skops", b"spoilt")
    with pytest.raises(HeadError, match="damaged"):
        Head.load(file)


def test_what_skops_does_not_trust_is_not_saved(digits, recipe, tmp_path):
    fitted = fit(digits, "sklearn.ensemble.RandomForestClassifier", n_estimators=5)
    head = Head.of(fitted, recipe=recipe, output="avg")
    assert np.mean(head.predict(digits.X) == digits.y) > 0.9
    with pytest.raises(HeadError, match="without pickle: it holds sklearn.tree._tree.Tree"):
        head.save(tmp_path / "a.head")
    with pytest.raises(HeadError, match="without pickle"):
        head_kind("sklearn.ensemble.RandomForestClassifier").require_savable({"n_estimators": 3})
    head_kind("sklearn.svm.SVC").require_savable({})
    assert not list(tmp_path.iterdir())


def test_rows_that_do_not_fit_in_memory_are_refused(digits, monkeypatch):
    monkeypatch.setattr("bottleneck.heads.kinds.imported.available_memory", lambda: 200_000.0)
    with pytest.raises(HeadError, match=r"sklearn\.svm\.SVC needs all rows in memory: 300 x 64"):
        fit(digits, "sklearn.svm.SVC")


def test_what_is_no_estimator_of_targets_is_refused(digits):
    for path, what in [
        ("os.system", "expected an estimator of scikit-learn"),
        ("sklearn.svm.Missing", "there is no"),
        ("sklearn.nowhere.SVC", "there is no"),
        ("sklearn.decomposition.PCA", "expected a classifier or regressor, got"),
        ("sklearn.base.clone", "expected a classifier or regressor, got"),
    ]:
        with pytest.raises(OptionError, match=what):
            estimator_class(path)
    with pytest.raises(OptionError, match="has no parameter 'kernle'"):
        fit(digits, "sklearn.svm.SVC", kernle="rbf")
    with pytest.raises(HeadError, match=r"SVC refused .* 'kernel'"):
        fit(digits, "sklearn.svm.SVC", kernel="round")


def test_settings():
    assert parse_settings(["a=1", "b=0.5", "c=true", "d=rbf", "e=[1, 2]", "f=a=b"]) == {
        "a": 1, "b": 0.5, "c": True, "d": "rbf", "e": [1, 2], "f": "a=b",
    }  # fmt: skip
    with pytest.raises(OptionError, match="expected name=value, got 'rbf'"):
        parse_settings(["rbf"])


@pytest.mark.parametrize("targets", [1, 2])
def test_regressors_predict_numbers(digits, recipe, tmp_path, targets):
    Y = np.stack([digits.y * 1.5 + 3, digits.X[:, 20] - digits.X[:, 40]], axis=1)[:, :targets]
    names = ("digit", "ink")[:targets]
    fitted = select(
        digits.X, Y, classes=names, keys=digits.keys, n_folds=3,
        head="sklearn.neighbors.KNeighborsRegressor", settings={"n_neighbors": 3},
    )  # fmt: skip
    theirs = make_pipeline(StandardScaler(), KNeighborsRegressor(3))
    fold = folds(digits.keys, np.zeros(len(Y), int), n_folds=3)
    expected = []
    for i in range(3):
        theirs.fit(digits.X[fold != i], Y[fold != i])
        expected.append(r2_score(Y[fold == i], theirs.predict(digits.X[fold == i])))
    assert fitted.cv[0]["mean"] == pytest.approx(np.mean(expected))
    file = tmp_path / "a.head"
    Head.of(fitted, recipe=recipe, output="avg").save(file)
    loaded = Head.load(file)
    assert (loaded.task, loaded.classes) == ("numbers", names)
    theirs.fit(digits.X, Y)
    np.testing.assert_allclose(loaded.predict(digits.X), theirs.predict(digits.X).reshape(Y.shape))
    judged = judge_targets(loaded, digits.X, Y)
    expected = r2_score(Y, theirs.predict(digits.X), multioutput="raw_values")
    assert [one["r2"] for one in judged["per_target"]] == pytest.approx(expected)
    assert judged["r2"] == pytest.approx(np.mean(expected))


def test_a_regressor_of_one_target_says_so(digits):
    Y = np.stack([digits.y, digits.X[:, 20]], axis=1).astype(float)
    with pytest.raises(HeadError, match=r"sklearn\.svm\.SVR refused") as caught:
        select(digits.X, Y, classes=("a", "b"), keys=digits.keys, n_folds=3, head="sklearn.svm.SVR")
    assert caught.value.hint == "It may take one --target only."
    one = select(
        digits.X, Y[:, :1], classes=("a",), keys=digits.keys, n_folds=3, head="sklearn.svm.SVR"
    )
    assert one.cv[0]["mean"] > 0.5


def test_classifiers_and_regressors_are_told_apart(digits):
    with pytest.raises(OptionError, match="tells classes apart, got sklearn.svm.SVR"):
        fit(digits, "sklearn.svm.SVR")
    with pytest.raises(OptionError, match="for --target, got sklearn.svm.SVC"):
        select(digits.X, digits.X[:, :1], classes=("a",), keys=digits.keys, head="sklearn.svm.SVC")
