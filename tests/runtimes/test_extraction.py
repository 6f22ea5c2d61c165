"""Whole runs on other frameworks than TensorFlow: in the recipe, and with nothing else loaded."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from fakes import write_png

ROOT = Path(__file__).parents[2]


def needs(framework):
    return pytest.param(
        framework,
        marks=pytest.mark.skipif(
            find_spec(framework) is None, reason=f"{framework} is not installed"
        ),
    )


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(14):
        write_png(tmp_path / "in" / f"{i:02d}.png", rng.integers(0, 256, (6, 6, 3)).repeat(8, 0))
    return tmp_path / "in"


def bottleneck(*arguments):
    """Run a command in its own process; its JSON, and the frameworks it imported."""
    code = (
        "import sys\nfrom bottleneck.cli.main import main\n"
        f"sys.argv = {['bottleneck', *map(str, arguments)]!r}\n"
        "try:\n    main()\nfinally:\n    print('modules', "
        "*sorted({'tensorflow', 'torch', 'openvino', 'nncf'} & set(sys.modules)), file=sys.stderr)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONPATH": str(ROOT)},
    )
    *said, last = done.stderr.strip().splitlines()
    return done, "\n".join(said), last.split()[1:]


@pytest.mark.parametrize("runtime", [needs("jax"), needs("torch"), needs("openvino")])
def test_no_other_framework_is_imported(runtime, pictures, tmp_path):
    file = tmp_path / "f.h5"
    options = ("--runtime", runtime, "--size", 32, "--json", "-q")
    done, said, loaded = bottleneck("extract", pictures, "-o", file, *options)
    assert (done.returncode, said) == (0, "")
    assert json.loads(done.stdout)["ok"] == 14
    assert set(loaded) <= {runtime}
    execution = json.loads(bottleneck("info", file, "--json")[0].stdout)["recipe"]["execution"]
    assert (execution["runtime"], execution["device"]) == (runtime, "cpu")
    assert execution["runtime_version"][0].isdigit()


@pytest.mark.skipif(
    find_spec("openvino") is None or find_spec("nncf") is None, reason="openvino is not installed"
)
def test_int8_is_in_the_recipe_and_resumes_only_as_int8(pictures, tmp_path):
    file = tmp_path / "f.h5"
    options = ("--size", 32, "--json", "-q", "--precision")
    done, said, loaded = bottleneck("extract", pictures, "-o", file, "--limit", 9, *options, "int8")
    assert (done.returncode, said) == (0, "")
    assert json.loads(done.stdout)["pending"] == 5
    assert "tensorflow" not in loaded
    execution = json.loads(bottleneck("info", file, "--json")[0].stdout)["recipe"]["execution"]
    assert execution["precision"] == "int8"
    assert (execution["calibration"]["images"], execution["calibration"]["judged"]) == (12, 2)
    cosine = execution["calibration"]["cosine"]["avg"]
    assert 0.9 < cosine["min"] <= cosine["mean"] < 1

    other, said, _ = bottleneck("extract", pictures, "-o", file, *options, "float32")
    assert other.returncode == 1
    assert "precision: float32 (this run), int8" in said
    again, said, _ = bottleneck("extract", pictures, "-o", file, *options, "int8")
    assert (again.returncode, said) == (0, "")
    assert json.loads(again.stdout)["ok"] == 5
    whole = tmp_path / "whole.h5"
    bottleneck("extract", pictures, "-o", whole, *options, "int8")
    from bottleneck import FeatureStore

    grown = tmp_path / "grown"
    shutil.copytree(pictures, grown)
    (grown / "more.png").write_bytes(next(iter(sorted(pictures.rglob("*.png")))).read_bytes())
    taken, said, _ = bottleneck(
        "extract", grown, "-o", tmp_path / "g.h5", "--reuse", whole, *options, "int8"
    )
    assert taken.returncode == 1  # calibrated on other images, and so another network
    assert "calibration_sha256: " in said

    # Calibrated twice on the same images: the same network.
    np.testing.assert_allclose(
        FeatureStore.open(file).features(), FeatureStore.open(whole).features(), rtol=1e-5
    )


def test_two_devices_compute_the_bits_of_one(pictures, tmp_path):
    """A process for each device, and a committer that imports no framework."""
    from bottleneck import FeatureStore

    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    options = ("--runtime", "tensorflow", "--size", 32, "--batch-size", 4, "--json", "-q")
    layers = ("--layer", "block2b_add", "--layer", "top_activation", "--pool", "gem")
    for file, devices in ((one, ["cpu"]), (two, ["cpu", "cpu"])):
        named = [word for device in devices for word in ("--device", device)]
        done, said, loaded = bottleneck("extract", pictures, "-o", file, *options, *layers, *named)
        assert (done.returncode, said) == (0, "")
        assert json.loads(done.stdout)["ok"] == 14
        assert loaded == (["tensorflow"] if file == one else [])
    first, second = FeatureStore.open(one), FeatureStore.open(two)
    assert first.recipe == second.recipe
    for name in first.outputs:
        assert np.array_equal(first.features(name), second.features(name))
        assert np.ptp(first.features(name), axis=0).max() > 0
    missing = bottleneck("extract", pictures, "-o", two, *options, "--layer", "no", "--overwrite",
                         "--device", "cpu", "--device", "cpu")  # fmt: skip
    assert missing[0].returncode == 2
    assert "'no'" in missing[1]
