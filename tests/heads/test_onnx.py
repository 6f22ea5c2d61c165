"""Heads as ONNX models: what another runtime computes of them, and what their bytes say."""

import json
import sys

import numpy as np
import pytest

from bottleneck.errors import RuntimeUnavailableError
from bottleneck.heads import Head, select
from bottleneck.heads.onnx import onnx_model, write_onnx


@pytest.mark.parametrize("kind", ["logreg", "svm", "ridge"])
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("calibrate", [False, True])
def test_another_runtime_agrees(digits, recipe, tmp_path, kind, classes, calibrate):
    pytest.importorskip("onnx", reason="an extra")
    runtime = pytest.importorskip("onnxruntime", reason="checks the model; not a dependency")
    kept = digits.y < classes
    X, y = digits.X[kept], digits.y[kept]
    fitted = select(
        X, y, classes=digits.classes, keys=[str(i) for i in range(len(y))], head=kind,
        grid=[1e-3], n_folds=3, calibrate=calibrate,
    )  # fmt: skip
    head = Head.of(fitted, recipe=recipe, output="avg")
    path = tmp_path / "head.onnx"
    write_onnx(head, path)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"features": X}), strict=True))
    np.testing.assert_array_equal(found["label"], head.predict(X))
    np.testing.assert_allclose(found["scores"], head.scores(X), rtol=1e-6, atol=1e-6)
    expected = head.predict_proba(X)
    if expected is None:
        assert "probabilities" not in found
    else:
        np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-5, atol=1e-7)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(head.classes)
    assert json.loads(about["recipe"])["identity"]["backbone"] == "pixels"


def test_the_reference_checker_accepts_it(make_head):
    onnx = pytest.importorskip("onnx", reason="an extra")
    model = onnx_model(make_head("logreg"))
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node][:3] == ["Cast", "MatMul", "Add"]


def test_its_package_is_an_extra(make_head, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RuntimeUnavailableError, match="the package onnx") as caught:
        write_onnx(make_head("logreg"), tmp_path / "head.onnx")
    assert "bottleneck-features[onnx]" in caught.value.hint
    assert list(tmp_path.glob("*.onnx")) == []
