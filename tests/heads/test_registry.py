import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from bottleneck.errors import OptionError
from bottleneck.heads import (
    HEAD_NAMES,
    LinearSVC,
    LogisticRegression,
    RidgeClassifier,
    head_kind,
    head_names,
    parse_grid,
)

LINEAR = ("logreg", "svm", "ridge")


def test_the_heads():
    assert (*LINEAR, "lda", "nearest_mean", "knn", "mlp", "stack") == HEAD_NAMES
    assert [name for name in HEAD_NAMES if head_kind(name).parameter == "C"] == [*LINEAR]
    kinds = {name: head_kind(name) for name in LINEAR}
    built = {
        name: kind.build("classes", kind.candidates([0.25], {})[0]) for name, kind in kinds.items()
    }
    assert [type(built[n]) for n in LINEAR] == [LogisticRegression, LinearSVC, RidgeClassifier]
    assert built["logreg"].C == built["svm"].C == 0.25
    assert built["ridge"].alpha == 2.0
    assert all(estimator.standardize for estimator in built.values())
    assert head_kind("mlp").build("classes", {"hidden": 8}).hidden == 8


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_every_kind_says_what_it_is(name):
    kind = head_kind(name)
    assert kind.name == name
    assert kind.description
    assert set(kind.tasks) <= {"classes", "labels", "numbers"}
    candidates = kind.candidates(None, {})
    tried = [params.get(kind.parameter) for params in candidates]
    assert tried == sorted(tried) if kind.parameter else tried == [None]


def test_ridge_alpha_is_the_svm_convention():
    """With alpha = 1 / (2 C), both objectives are 0.5 |w|^2 + C sum(loss), times a constant."""
    rng = np.random.default_rng(0)
    X, t, w, c = rng.normal(size=(20, 3)), rng.normal(size=20), rng.normal(size=3), 0.03
    alpha = head_kind("ridge").candidates([c], {})[0]["alpha"]
    loss = ((X @ w - t) ** 2).sum()
    assert loss + alpha * w @ w == pytest.approx((0.5 * w @ w + c * loss) / c)


def test_name_without_case_and_unknown_name():
    assert head_kind("LogReg") is head_kind("logreg")
    with pytest.raises(OptionError, match="logreg, svm, ridge, lda, .* got 'rigde'") as caught:
        head_kind("rigde")
    assert caught.value.hint.startswith("Did you mean ridge? ")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nowhere_at_all:KIND", "the head 'third' of another package cannot be used"),
        ("math:pi", "cannot be used"),
        ("bottleneck.heads.kinds.lda:KIND", "expected the head 'third' .*, got 'lda'"),
    ],
)
def test_entry_points_that_are_no_heads(monkeypatch, value, message):
    points = [EntryPoint("third", value, "bottleneck.heads")]
    monkeypatch.setattr("bottleneck.heads.registry.entry_points", lambda group: points)
    assert head_names()[-1] == "third"
    with pytest.raises(OptionError, match=message):
        head_kind("third")


def test_grid_log_spaced():
    assert parse_grid("1e-4:1e1:6") == (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    ten = parse_grid("1e-4:1e1:10")
    assert len(ten) == 10
    np.testing.assert_allclose(ten, np.logspace(-4, 1, 10), rtol=1e-11)


def test_grid_list_is_sorted_without_repeats():
    assert parse_grid("1, 0.01,0.1,1") == (0.01, 0.1, 1.0)
    assert parse_grid("0.5") == (0.5,)


@pytest.mark.parametrize(
    "text",
    ["", "a", "1,,2", "0.1,-1", "0,1", "nan", "inf", "1:2", "1:10:x", "10:1:5", "1:10:1", "0:1:5"],
)
def test_grid_refused(text):
    with pytest.raises(OptionError, match="expected"):
        parse_grid(text)


def test_import_is_light():
    code = (
        "import sys, bottleneck.heads as h, bottleneck.comparison; h.HEAD_NAMES; h.parse_grid('1');"
        "print([m for m in ('numpy', 'scipy', 'sklearn', 'skops', 'joblib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
