"""Which runtime is taken, and what is said when there is none."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from bottleneck import runtimes
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.runtimes import choice


@pytest.fixture
def machine(monkeypatch):
    """Pretend that some frameworks are installed, and nothing is imported yet."""

    def pretend(*installed, imported=None, wanted=None, gpu=False, sees=()):
        monkeypatch.setattr(choice, "installed", lambda: installed)
        monkeypatch.setattr(runtimes, "installed", lambda: installed)
        monkeypatch.setattr(choice, "current_backend", lambda: imported)
        monkeypatch.setattr(choice, "wanted_backend", lambda: wanted)
        monkeypatch.setattr(choice, "has_gpu", lambda: gpu)
        monkeypatch.setattr(choice, "sees_gpu", sees.__contains__)

    return pretend


@pytest.mark.parametrize(
    ("installed", "options", "precision", "expected"),
    [
        (("tensorflow", "jax", "torch", "openvino"), {}, "float32", "openvino"),
        (("tensorflow", "jax"), {}, "float32", "tensorflow"),
        (("jax", "torch"), {}, "float32", "torch"),
        (("jax",), {}, "float32", "jax"),
        (("tensorflow", "jax", "openvino"), {"imported": "jax"}, "float32", "jax"),
        (("tensorflow", "jax", "openvino"), {"wanted": "tensorflow"}, "float32", "tensorflow"),
        (("tensorflow", "openvino"), {"gpu": True, "sees": ("tensorflow",)}, "float32",
         "tensorflow"),
        (("tensorflow", "torch"), {"gpu": True, "sees": ("torch",)}, "float32", "torch"),
        (("tensorflow", "jax", "torch"), {"gpu": True, "sees": ("torch", "jax")}, "float32",
         "torch"),
        (("tensorflow", "jax", "torch"), {"gpu": True, "sees": ("torch", "jax")}, "bfloat16",
         "jax"),
        (("tensorflow", "jax"), {"gpu": True, "sees": ("tensorflow", "jax")}, "float32", "jax"),
        (("tensorflow", "openvino"), {"gpu": True}, "float32", "openvino"),
        (("tensorflow", "openvino"), {"wanted": "tensorflow"}, "int8", "openvino"),
    ],
)  # fmt: skip
def test_auto(machine, installed, options, precision, expected):
    machine(*installed, **options)
    assert runtimes.choose(precision) == expected
    assert runtimes.get("auto", precision).__name__ == f"bottleneck.runtimes.{expected}"


@pytest.mark.parametrize(
    ("gpu", "devices", "expected"),
    [
        (True, [], "tensorflow"),
        (True, ["cpu"], "openvino"),
        (False, ["gpu:0"], "tensorflow"),  # whose error says what it sees
        (True, ["cpu", "gpu:1"], "tensorflow"),
    ],
)
def test_auto_looks_at_the_devices(machine, gpu, devices, expected):
    machine("tensorflow", "openvino", gpu=gpu, sees=("tensorflow",))
    assert runtimes.choose(devices=devices) == expected


def test_nothing_fitting_is_installed(machine):
    machine("tensorflow", "jax")
    with pytest.raises(RuntimeUnavailableError, match="computes in int8: openvino") as caught:
        runtimes.get("auto", "int8")
    assert "bottleneck-features[openvino]" in (caught.value.hint or "")
    assert "tensorflow, jax" in caught.value.message


def test_a_missing_framework_names_its_extra(machine):
    machine("tensorflow")
    with pytest.raises(RuntimeUnavailableError, match="torch is not installed") as caught:
        runtimes.get("torch")
    assert "bottleneck-features[torch]" in (caught.value.hint or "")


def test_wrong_names_and_precisions(machine):
    machine("tensorflow", "jax", "torch", "openvino")
    with pytest.raises(OptionError, match="'tensorflo'"):
        runtimes.get("tensorflo")
    with pytest.raises(OptionError, match="one of float32.*'int4'"):
        runtimes.get("jax", "int4")
    with pytest.raises(OptionError, match="of the torch runtime") as caught:
        runtimes.get("torch", "int8")
    assert "openvino" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("device", "expected"), [("cpu", None), (None, 0), ("gpu", 0), ("gpu:3", 3)]
)
def test_devices_by_name(device, expected):
    from bottleneck.runtimes.protocol import gpu_index

    assert gpu_index(device) == expected
    with pytest.raises(OptionError, match="'tpu'"):
        gpu_index("tpu")


@pytest.fixture
def forgotten():
    choice.gpus_seen_by.cache_clear()
    yield
    choice.gpus_seen_by.cache_clear()


def test_a_framework_is_asked_in_a_process_of_its_own(monkeypatch, forgotten):
    asked = []
    found = 'hello\ndevices: ["cpu", "gpu:0 (A)", "gpu:1 (B)"]\n'
    # Crashed, not to be imported, says nothing, sees none; sees two.
    answers = [(-11, ""), (1, ""), (0, "hello\n"), (0, 'devices: ["cpu"]\n'), (0, found)]

    def run(command, *, check, **options):
        asked.append((command[-1], options["env"]))
        done = subprocess.CompletedProcess(command, *answers[len(asked) - 1])
        if check:
            done.check_returncode()
        return done

    monkeypatch.setattr(choice.subprocess, "run", run)
    monkeypatch.setattr(choice, "gpu_makers", lambda: ("NVIDIA",))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # what this process is shown, of which
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    names = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
    said = {"given": dict(zip(names, ("0,1", None), strict=True))}
    said["shown"] = dict(zip(names, ("0", None), strict=True))
    monkeypatch.setenv("BOTTLENECK_GIVEN_DEVICES", json.dumps(said))
    for expected in (False, False, False, False, True):
        choice.gpus_seen_by.cache_clear()
        assert choice.sees_gpu("torch") is expected
    assert choice.gpus_seen_by("torch") == ("gpu:0 (A)", "gpu:1 (B)")  # remembered
    assert len(asked) == 5
    assert "bottleneck.runtimes.torch" in asked[0][0]
    assert "KERAS_BACKEND" not in asked[0][1]
    assert asked[0][1]["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_of_amds_gpus_only_frameworks_built_for_them_are_asked(monkeypatch, forgotten):
    asked = []

    def run(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, 'devices: ["cpu", "gpu:0 (MI300X)"]\n')

    monkeypatch.setattr(choice.subprocess, "run", run)
    monkeypatch.setattr(choice, "gpu_makers", lambda: ("AMD",))
    monkeypatch.setattr(choice, "rocm_builds", lambda: ("torch",))
    assert not choice.sees_gpu("tensorflow")
    assert asked == []
    assert choice.sees_gpu("torch")


@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
def test_what_a_framework_really_says(forgotten):
    """OpenVINO computes on the CPU alone, whatever machine this is."""
    assert not choice.sees_gpu("openvino")


def test_nobody_is_asked_without_a_gpu(machine, monkeypatch):
    machine("tensorflow", "jax")
    monkeypatch.setattr(choice, "sees_gpu", None)
    assert runtimes.choose() == "tensorflow"
    machine("tensorflow", "jax", gpu=True, imported="jax")
    monkeypatch.setattr(choice, "sees_gpu", None)
    assert runtimes.choose() == "jax"


def test_a_gpu_that_is_not_used_is_told(monkeypatch):
    monkeypatch.setattr(choice, "gpu_makers", lambda: ("NVIDIA",))
    told = runtimes.unused_gpu("tensorflow", "2.21", "cpu")
    assert "the CPU computes, though there is a GPU (NVIDIA): tensorflow 2.21" in told
    assert runtimes.unused_gpu("tensorflow", "2.21", "gpu:0") is None
    assert runtimes.unused_gpu("tensorflow", "2.21", "cpu", ["cpu"]) is None
    monkeypatch.setattr(choice, "gpu_makers", lambda: ())
    assert runtimes.unused_gpu("tensorflow", "2.21", "cpu") is None


@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
def test_openvino_does_not_train():
    """A pipeline that extracted with OpenVINO is told why it cannot train with Keras."""
    code = (
        "from bottleneck.backbones.keras_scope import import_keras, import_training_keras\n"
        "from bottleneck.errors import RuntimeUnavailableError\n"
        "import_keras('openvino')\n"
        "try:\n    import_training_keras()\n"
        "except RuntimeUnavailableError as error:\n    print(error, error.hint)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert "imported on the openvino backend, which only predicts" in done.stdout
    assert "bottleneck run" in done.stdout
