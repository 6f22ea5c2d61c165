import subprocess
import sys

import numpy as np
import pytest

from bottleneck.errors import OptionError
from bottleneck.heads import (
    HEAD_NAMES,
    HEADS,
    LinearSVC,
    LogisticRegression,
    RidgeClassifier,
    head_spec,
    parse_grid,
)

LINEAR = ("logreg", "svm", "ridge")


def test_the_heads():
    assert (*LINEAR, "mlp") == HEAD_NAMES
    assert [name for name, head in HEADS.items() if head.linear] == [*LINEAR]
    built = {name: HEADS[name].build(HEADS[name].parameters(0.25)) for name in LINEAR}
    assert [type(built[n]) for n in LINEAR] == [LogisticRegression, LinearSVC, RidgeClassifier]
    assert built["logreg"].C == built["svm"].C == 0.25
    assert built["ridge"].alpha == 2.0
    assert all(estimator.standardize for estimator in built.values())
    assert [HEADS[n].estimator for n in LINEAR] == [type(built[n]).__name__ for n in LINEAR]
    network = HEADS["mlp"].build({"hidden": 8})
    assert (type(network).__name__, network.hidden) == (HEADS["mlp"].estimator, 8)


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_probabilities_as_the_catalogue_says(name):
    head = HEADS[name]
    params = head.parameters(1.0) if head.linear else {}
    assert hasattr(head.build(params), "predict_proba") == head.probabilities


def test_ridge_alpha_is_the_svm_convention():
    """With alpha = 1 / (2 C), both objectives are 0.5 |w|^2 + C sum(loss), times a constant."""
    rng = np.random.default_rng(0)
    X, t, w, c = rng.normal(size=(20, 3)), rng.normal(size=20), rng.normal(size=3), 0.03
    alpha = HEADS["ridge"].parameters(c)["alpha"]
    loss = ((X @ w - t) ** 2).sum()
    assert loss + alpha * w @ w == pytest.approx((0.5 * w @ w + c * loss) / c)


def test_name_without_case_and_unknown_name():
    assert head_spec("LogReg") is HEADS["logreg"]
    with pytest.raises(OptionError, match="logreg, svm, ridge, mlp, got 'rigde'") as caught:
        head_spec("rigde")
    assert caught.value.hint.startswith("Did you mean ridge? ")


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
