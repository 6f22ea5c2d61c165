"""Every runtime computes what TensorFlow computes; each in a process of its own."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent

QUICK = ("efficientnet_lite0", "mobilenet_v3_small")
FAMILIES = (
    *("convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_b0", "inception_v3"),
    *("mobilenet", "mobilenet_v2", "nasnet_mobile", "resnet50", "resnet50_v2", "vgg16", "vgg19"),
    *("xception", "inception_resnet_v2"),
)
"""One of each family that is left; many minutes of work."""

PARTS = {"single0": slice(0, 1), "single1": slice(1, 2), "part": slice(3, None)}

COSINE = {"float32": 0.99999, "bfloat16": 0.998}
"""Least cosine of an image. These are coarser and smaller than photographs, and lose more in
bfloat16; see :func:`test_bfloat16_of_real_images`."""

OPENVINO_BFLOAT16 = {"coarse": 0.995, "real": 0.99}
"""OpenVINO rounds depthwise kernels too; see docs/decisions/0005-runtimes.md."""

needs = {
    runtime: pytest.mark.skipif(
        find_spec(runtime) is None,
        reason=f"{runtime} is not installed: pip install 'bottleneck-features[{runtime}]'",
    )
    for runtime in ("jax", "torch", "openvino")
}


def parameters():
    for runtime in ("tensorflow", "jax", "torch", "openvino"):
        for precision in ("float32", "bfloat16"):
            marks = [needs[runtime]] if runtime in needs else []
            yield pytest.param(runtime, precision, QUICK, marks=marks)
            yield pytest.param(runtime, precision, FAMILIES, marks=[*marks, pytest.mark.heavy])


def built(runtime, names):
    """Leave out what Keras does not build; see :func:`test_what_keras_does_not_build`."""
    return tuple(name for name in names if (name, runtime) != ("nasnet_mobile", "torch"))


def run(output, runtime, precision, names):
    done = subprocess.run(
        [sys.executable, str(HERE / "features.py"), runtime, str(output), precision, *names],
        capture_output=True,
        text=True,
        check=False,
        # PyTorch's threads wait by spinning, which takes minutes on a machine that has other work.
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"},
    )
    if precision == "bfloat16" and "expected a CPU that computes in bfloat16" in done.stderr:
        pytest.skip("this CPU has no bfloat16")
    assert done.returncode == 0, done.stderr
    with np.load(output) as found:
        return dict(found)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Compute with TensorFlow in float32, once for each set of backbones."""
    cache = {}

    def get(names):
        if names not in cache:
            folder = tmp_path_factory.mktemp("reference")
            cache[names] = run(folder / "tensorflow.npz", "tensorflow", "float32", names)
        return cache[names]

    return get


def cosines(a, b):
    a, b = np.float64(a), np.float64(b)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize(("runtime", "precision", "names"), [*parameters()])
def test_features_are_tensorflows(reference, tmp_path, runtime, precision, names):
    theirs = reference(names)
    names = built(runtime, names)
    ours = run(tmp_path / "ours.npz", runtime, precision, names)
    least = COSINE[precision]
    if (runtime, precision) == ("openvino", "bfloat16"):
        least = OPENVINO_BFLOAT16["coarse"]
    others = {"tensorflow", "torch", "openvino"} - {runtime}
    assert others.isdisjoint(ours["frameworks"].tolist())  # Keras itself looks whether JAX is there
    for name in names:
        assert ours[f"{name}/sha256"] == theirs[f"{name}/sha256"]
        said_runtime, said_device, said_version = ours[f"{name}/says"].tolist()
        assert (said_runtime, said_device) == (runtime, "cpu")
        assert said_version[0].isdigit()
        assert ours[f"{name}/empty"].shape == (0, ours[f"{name}/whole/avg"].shape[1])
        prefix = f"{name}/whole/"
        keys = [key for key in theirs if key.startswith(prefix)]
        assert len(keys) >= 5
        for key in keys:
            assert ours[key].dtype == np.float32
            assert cosines(ours[key], theirs[key]).min() > least, key
            scale = np.abs(theirs[key]).max()
            tolerance = (2e-3 if precision == "float32" else 0.2) * scale
            np.testing.assert_allclose(ours[key], theirs[key], rtol=0, atol=tolerance)
            for part, rows in PARTS.items():
                alone = ours[key.replace("/whole/", f"/{part}/")]
                # Other batch sizes may take other routines, which round differently.
                assert cosines(alone, ours[key][rows]).min() > least, (key, part)


REAL = """
import sys
import numpy as np
from pathlib import Path
from bottleneck import backbones, runtimes
from bottleneck.images import Geometry, decode

runtime, folder, output = sys.argv[1:]
files = sorted(Path(folder).rglob("*.png"))[::31][:32]
pixels = np.stack([decode(file.read_bytes(), Geometry(224)) for file in files])
backbone = backbones.load(backbones.get("efficientnet_lite0"), backend=runtime)
found = {}
for precision in ("float32", "bfloat16"):
    step = runtimes.get(runtime, precision).compile(
        backbone, [backbones.OutputSpec()], precision=precision, device="cpu"
    )
    found[precision] = np.concatenate([step(pixels[i : i + 16])["avg"] for i in (0, 16)])
np.savez(output, **found)
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    "runtime",
    [pytest.param(name, marks=[needs[name]] if name in needs else [])
     for name in ("tensorflow", "jax", "torch", "openvino")],
)  # fmt: skip
def test_bfloat16_of_real_images(tmp_path, runtime):
    output = tmp_path / "found.npz"
    done = subprocess.run(
        [sys.executable, "-c", REAL, runtime, str(HERE.parents[1] / "data" / "sample"), output],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"},
    )
    if "expected a CPU that computes in bfloat16" in done.stderr:
        pytest.skip("this CPU has no bfloat16")
    assert done.returncode == 0, done.stderr
    with np.load(output) as found:
        least = cosines(found["bfloat16"], found["float32"]).min()
    assert least > (0.999 if runtime != "openvino" else OPENVINO_BFLOAT16["real"])
    assert least < 0.99999


@needs["openvino"]
@pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed")
def test_int8_is_close_and_not_the_same(reference, tmp_path):
    names = ("efficientnet_lite0",)
    exact = reference(QUICK)["efficientnet_lite0/whole/avg"]
    small = run(tmp_path / "int8.npz", "openvino", "int8", names)["efficientnet_lite0/whole/avg"]
    assert cosines(small, exact).min() > 0.95  # 16 images calibrate here, not hundreds
    assert np.abs(small - exact).max() > 1e-3 * np.abs(exact).max()


@needs["torch"]
def test_what_keras_does_not_build(tmp_path):
    code = (
        "from bottleneck import backbones\n"
        "try:\n"
        "    backbones.load(backbones.get('nasnet_mobile'), weights='none', backend='torch')\n"
        "except backbones.builders.BackboneError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    assert "got torch" in done.stdout
    assert "another --runtime" in done.stdout
