import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from bottleneck.errors import HeadError, RecipeMismatchError
from bottleneck.heads import Head, select
from bottleneck.recipe import Recipe


def rewrite(path, **members):
    """Write a head's zip anew with some members replaced (None: left out)."""
    with zipfile.ZipFile(path) as source:
        content = {name: source.read(name) for name in source.namelist()}
    content |= {name.replace("_", "."): data for name, data in members.items()}
    with zipfile.ZipFile(path, "w") as target:
        for name, data in content.items():
            if data is not None:
                target.writestr(name, data)


def edit(path, **fields):
    with zipfile.ZipFile(path) as source:
        description = json.loads(source.read("head.json"))
    rewrite(path, head_json=json.dumps(description | fields))


@pytest.fixture
def saved(make_head, tmp_path):
    path = tmp_path / "digits.head"
    make_head("logreg").save(path)
    return path


@pytest.mark.parametrize("kind", ["logreg", "svm", "ridge"])
def test_roundtrip_is_bitwise(make_head, digits, tmp_path, kind):
    head, path = make_head(kind), tmp_path / "a.head"
    head.save(path)
    loaded = Head.load(str(path))
    np.testing.assert_array_equal(loaded.predict(digits.X), head.predict(digits.X))
    np.testing.assert_array_equal(loaded.scores(digits.X), head.scores(digits.X))
    if kind == "logreg":
        proba = loaded.predict_proba(digits.X)
        np.testing.assert_array_equal(proba, head.predict_proba(digits.X))
        np.testing.assert_array_equal(proba.argmax(axis=1), head.predict(digits.X))
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
        assert proba.dtype == np.float64
    else:
        assert loaded.predict_proba(digits.X) is None
    assert np.mean(loaded.predict(digits.X) == digits.y) > 0.9
    assert loaded.classes == digits.classes
    assert loaded.report == head.report
    assert loaded.recipe == head.recipe
    assert repr(loaded) == repr(head)


def test_repr(make_head):
    c = make_head("logreg").report["best"]["C"]
    assert repr(make_head("logreg")) == f"<Head logreg C={c:g} pixels/avg 64 -> 10 classes>"


def test_report_says_how_it_was_trained(saved):
    report = Head.load(saved).report
    assert report["rows"] == 300
    assert report["features"] == 64
    assert [entry["params"]["C"] for entry in report["cv"]] == [0.001, 0.01]
    assert report["manifest_sha256"] == "cd"
    assert report["left_out"] == {"failed": 2}
    assert {"bottleneck", "python", "scikit-learn", "numpy"} <= set(report["versions"])


def test_predictions_are_as_of_the_estimator(make_head, fitted, digits):
    X = np.tile(digits.X, (20, 1))  # 6000 rows: more than a block
    head = make_head("logreg")
    np.testing.assert_array_equal(head.predict(X), fitted("logreg").estimator.predict(X))
    np.testing.assert_allclose(
        head.scores(X), fitted("logreg").estimator.decision_function(X), rtol=1e-3, atol=1e-4
    )
    assert head.predict(X[:0]).shape == (0,)
    assert head.scores(X[:0]).shape == head.predict_proba(X[:0]).shape == (0, 10)


def test_two_classes_have_two_columns(digits, recipe):
    rows = np.flatnonzero(digits.y < 2)
    fitted = select(
        digits.X[rows],
        digits.y[rows],
        classes=digits.classes,
        keys=[digits.keys[i] for i in rows],
        head="svm",
        grid=(0.01,),
    )
    head = Head.of(fitted, recipe=recipe, output="avg")
    scores = head.scores(digits.X[rows])
    np.testing.assert_array_equal(scores[:, 0], -scores[:, 1])
    np.testing.assert_array_equal(scores.argmax(axis=1), head.predict(digits.X[rows]))


def test_same_head_same_bytes(saved, make_head, tmp_path):
    first = saved.read_bytes()
    make_head("logreg").save(saved)
    Head.load(saved).save(tmp_path / "again.head")
    assert saved.read_bytes() == first
    assert (tmp_path / "again.head").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.head", "digits.head"]


def test_file_is_readable_and_holds_no_pickle(saved):
    with zipfile.ZipFile(saved) as archive:
        assert archive.namelist() == ["head.json", "coef.npy", "intercept.npy"]
        description = json.loads(archive.read("head.json"))
        arrays = [archive.read(name) for name in archive.namelist()[1:]]
    assert description["format"] == "bottleneck-head"
    assert description["version"] == 2
    assert description["recipe"]["identity"]["backbone"] == "pixels"
    for data in arrays:
        assert np.load(io.BytesIO(data), allow_pickle=False).dtype == np.float64


def test_heads_from_before_the_first_release_are_refused(saved):
    edit(saved, version=1)
    with pytest.raises(HeadError, match="version 2 or 3, got 1") as caught:
        Head.load(saved)
    assert "train it again" in caught.value.hint


def test_loading_imports_nothing_heavy(saved):
    """How long it takes is measured in benchmarks/heads.py."""
    code = (
        "import sys; from bottleneck.heads import Head;"
        f"Head.load({str(saved)!r}); print(' '.join(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = set(result.stdout.decode().split())
    assert "sklearn.base" in loaded
    heavy = {"tensorflow", "keras", "sklearn.linear_model", "PIL", "click"}
    assert not heavy & loaded
    assert "bottleneck.heads.selection.model_selection" not in loaded


def test_loads_without_tensorflow(saved):
    code = (
        "import sys, numpy; from bottleneck.heads import Head;"
        f"print(Head.load({str(saved)!r}).predict(numpy.zeros((1, 64), 'f4')).shape);"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["(1,)", "[]"]


def test_failed_write_keeps_the_old_head(saved, make_head, monkeypatch, tmp_path):
    before = saved.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(HeadError, match="No space left on device"):
        make_head("ridge").save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["digits.head"]


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"coef_npy": None}, "no coef"),
        ({"coef_npy": npy(np.zeros((10, 64), np.float32))}, "expected float64 weights"),
        ({"coef_npy": npy(np.full((10, 64), np.nan))}, "not finite"),
        ({"intercept_npy": npy(np.zeros(9))}, r"\(9,\)"),
        ({"coef_npy": npy(np.array([{}], object))}, "is not a head, or is damaged"),
    ],
)
def test_weights_that_do_not_fit(saved, members, message):
    rewrite(saved, **members)
    with pytest.raises(HeadError, match=message):
        Head.load(saved)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": 4}, "format version 2 or 3, got 4"),
        ({"format": "other"}, "another kind of file"),
        ({"kind": "forest"}, "got 'forest'"),
        ({"dim": 65}, "features of 65 named, 64 fitted"),
        ({"classes": ["a", "b"]}, "2 classes named, 10 fitted"),
        ({"report": {}}, "KeyError 'best'"),
        ({"recipe": None}, "TypeError"),
    ],
)
def test_description_that_does_not_fit(saved, fields, message):
    edit(saved, **fields)
    with pytest.raises(HeadError, match=message) as caught:
        Head.load(saved)
    if "version" in fields:
        assert "Update the package" in caught.value.hint


def test_files_that_are_not_heads(saved, tmp_path):
    with pytest.raises(HeadError, match="there is no head at"):
        Head.load(tmp_path / "none.head")
    with pytest.raises(HeadError, match="cannot read the head"):
        Head.load(tmp_path)
    text = tmp_path / "x.txt"
    text.write_text("hello")
    with pytest.raises(HeadError, match="is not a head, or is damaged"):
        Head.load(text)
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(HeadError, match="another kind of file"):
        Head.load(text)
    rewrite(saved, intercept_npy=None)
    with pytest.raises(HeadError, match="damaged"):
        Head.load(saved)


def test_damage_anywhere_is_explained(saved, make_head, digits):
    """Cut at, or with a byte changed at, many places: a HeadError or the very same head."""
    good, expected = saved.read_bytes(), make_head("logreg").scores(digits.X)
    explained = 0
    for at in range(0, len(good), len(good) // 150):
        for content in (good[:at], good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :]):
            saved.write_bytes(content)
            try:
                scores = Head.load(saved).scores(digits.X)
            except HeadError:
                explained += 1
            else:
                np.testing.assert_array_equal(scores, expected)
    assert explained > 250


def test_require_features(make_head, recipe):
    head = make_head("logreg")
    assert head.require_features(recipe, "avg", 64) == []
    other = Recipe({**recipe.identity, "size": 16, "weights": {"sha256": "ff"}}, recipe.execution)
    with pytest.raises(RecipeMismatchError) as caught:
        head.require_features(other, "avg", 64)
    assert "size: 8 (head), 16 (features)" in caught.value.message
    assert f"weights.sha256: {'ab' * 32} (head), ff (features)" in caught.value.message
    with pytest.raises(RecipeMismatchError, match="output 'avg', the features are of 'max'"):
        head.require_features(recipe, "max", 64)
    with pytest.raises(HeadError, match="features of length 64, the features have 65"):
        head.require_features(recipe, "avg", 65)
    low = Recipe(recipe.identity, {"precision": "bfloat16", "device": "GPU"})
    assert head.require_features(low, "avg", 64) == [
        "the head was trained on float32 features, these are bfloat16"
    ]


def test_tuples_in_a_recipe_are_no_difference(fitted, recipe):
    tuples = Recipe({**recipe.identity, "scale": (1.0, 2.0)}, recipe.execution)
    lists = Recipe({**recipe.identity, "scale": [1.0, 2.0]}, recipe.execution)
    head = Head.of(fitted("ridge"), recipe=tuples, output="avg")
    assert head.require_features(lists, "avg", 64) == []
    assert head.require_features(tuples, "avg", 64) == []


def test_other_outputs_of_the_network_do_not_matter(fitted, recipe):
    avg, top = {"layer": None, "pool": "avg"}, {"layer": "top", "pool": "avg"}

    def with_outputs(**outputs):
        return Recipe({**recipe.identity, "outputs": outputs}, recipe.execution)

    head = Head.of(fitted("ridge"), recipe=with_outputs(avg=avg, top=top), output="avg")
    assert head.recipe.identity["outputs"] == {"avg": avg}
    assert head.require_features(with_outputs(avg=avg), "avg", 64) == []
    with pytest.raises(RecipeMismatchError, match=r"outputs.avg.layer: null \(head\), top"):
        head.require_features(with_outputs(avg=top), "avg", 64)


def test_predict_refuses_what_does_not_fit(make_head, digits):
    head = make_head("logreg")
    with pytest.raises(HeadError, match="length 64, the features given have 63"):
        head.predict(digits.X[:, 1:])
    bad = digits.X.copy()
    bad[5, 0] = np.inf
    with pytest.raises(HeadError, match="NaN or infinity in row 5"):
        head.predict(bad)
