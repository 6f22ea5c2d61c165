"""Which runtime is taken, and what is said when there is none."""

import pytest

from bottleneck import runtimes
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.runtimes import choice


@pytest.fixture
def machine(monkeypatch):
    """Pretend that some frameworks are installed, and nothing is imported yet."""

    def pretend(*installed, imported=None, wanted=None, gpu=False, for_gpu=()):
        monkeypatch.setattr(choice, "installed", lambda: installed)
        monkeypatch.setattr(runtimes, "installed", lambda: installed)
        monkeypatch.setattr(choice, "current_backend", lambda: imported)
        monkeypatch.setattr(choice, "wanted_backend", lambda: wanted)
        monkeypatch.setattr(choice, "has_gpu", lambda: gpu)
        monkeypatch.setattr(choice, "_built_for_gpu", for_gpu.__contains__)

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
        (("tensorflow", "openvino"), {"gpu": True, "for_gpu": ("tensorflow",)}, "float32",
         "tensorflow"),
        (("tensorflow", "torch"), {"gpu": True, "for_gpu": ("torch",)}, "float32", "torch"),
        (("tensorflow", "openvino"), {"gpu": True}, "float32", "openvino"),
        (("tensorflow", "openvino"), {"wanted": "tensorflow"}, "int8", "openvino"),
    ],
)  # fmt: skip
def test_auto(machine, installed, options, precision, expected):
    machine(*installed, **options)
    assert runtimes.choose(precision) == expected
    assert runtimes.get("auto", precision).__name__ == f"bottleneck.runtimes.{expected}"


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
    from bottleneck.runtimes.place import gpu_index

    assert gpu_index(device) == expected
    with pytest.raises(OptionError, match="'tpu'"):
        gpu_index("tpu")
