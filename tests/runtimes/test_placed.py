"""Devices of frameworks, and what is free on them, with stand-ins for their drivers."""

import ctypes
import os
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from bottleneck import runtimes
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.runtimes import choice, driver

GIB = 1 << 30


class Cuda:
    """NVIDIA's driver with two GPUs: 3 and 5 GiB are free. Counts the contexts it has lent."""

    def __init__(self, fails=""):
        self.fails, self.lent, self.pushed = fails, 0, []

    def __getattr__(self, name):
        if not name.startswith("cu"):
            raise AttributeError(name)
        function = getattr(type(self), f"_{name}")
        return lambda *given: 999 if name == self.fails else function(self, *given)

    def _cuInit(self, flags):
        return 0

    def _cuDeviceGet(self, device, number):
        device._obj.value = 40 + number
        return 0 if number < 2 else 101

    def _cuDevicePrimaryCtxRetain(self, context, device):
        self.lent += 1
        context._obj.value = device.value
        return 0

    def _cuDevicePrimaryCtxRelease_v2(self, device):
        self.lent -= 1
        return 0

    def _cuCtxPushCurrent_v2(self, context):
        self.pushed.append(context.value)
        return 0

    def _cuCtxPopCurrent_v2(self, context):
        self.pushed.pop()
        return 0

    def _cuMemGetInfo_v2(self, free, total):
        free._obj.value = {40: 3 * GIB, 41: 5 * GIB}[self.pushed[-1]]
        total._obj.value = 8 * GIB
        return 0


class Hip:
    """AMD's runtime with two GPUs, of which the other one is current."""

    def __init__(self):
        self.current = 0

    def hipGetDevice(self, device):
        device._obj.value = self.current
        return 0

    def hipSetDevice(self, number):
        self.current = getattr(number, "value", number)
        return 0

    def hipMemGetInfo(self, free, total):
        free._obj.value = (6 + self.current) * GIB
        return 0


@pytest.fixture
def libraries(monkeypatch):
    there = {}

    def load(name):
        if name not in there:
            raise OSError(f"{name}: cannot open shared object file")
        return there[name]

    monkeypatch.setattr(ctypes, "CDLL", load)
    return there


def test_the_driver_says_what_is_free(libraries):
    assert driver.free_bytes(0) is None
    cuda = libraries["libcuda.so.1"] = Cuda()
    assert [driver.free_bytes(gpu) for gpu in (0, 1, 2, None)] == [3 * GIB, 5 * GIB, None, None]
    for step in ("cuInit", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuMemGetInfo_v2"):
        cuda.fails = step
        assert driver.free_bytes(1) is None
    assert (cuda.lent, cuda.pushed) == (0, [])
    # The library of the one maker may be there and only the other one's GPUs.
    hip = libraries["libamdhip64.so"] = Hip()
    assert driver.free_bytes(1) == 7 * GIB
    assert hip.current == 0
    libraries["libcuda.so.1"] = SimpleNamespace()
    assert driver.free_bytes(0) == 6 * GIB


@pytest.mark.parametrize("name", ["libamdhip64.so", "libamdhip64.so.7", "libamdhip64.so.6"])
def test_amds_library_is_found_by_the_number_of_its_version_too(libraries, name):
    libraries[name] = Hip()
    assert [driver.free_bytes(gpu) for gpu in (0, 1)] == [6 * GIB, 7 * GIB]


def test_what_a_device_offers_is_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        runtimes.Placed("jax", "1", "cpu", nullcontext, lambda: 3)


IN_JAX = """
import jax
from bottleneck import runtimes
from bottleneck.runtimes import jax as runtime

class Gpu:
    def __init__(self, stats):
        self.memory_stats = lambda: stats

gpus = [Gpu(None), Gpu({"bytes_limit": 900, "bytes_in_use": 200}), Gpu({"bytes_in_use": 5})]
runtime._gpus = lambda jax: gpus
print([runtimes.placed("jax", f"gpu:{i}").free_bytes() for i in range(3)])
print(runtimes.placed("jax", None).name, runtimes.placed("jax", "cpu").name)
runtime._gpus = lambda jax: []
print(runtimes.placed("jax", None).name)
jax.devices = lambda kind=None: [type("Tpu", (), {"platform": kind or "tpu"})()]
print(runtimes.placed("jax", None).name, runtimes.placed("jax", "cpu").name)
"""

IN_TORCH = """
from bottleneck import runtimes
from bottleneck.backbones.keras_scope import import_keras

keras = import_keras("torch")
import torch
from keras.src.backend.torch.core import get_device

torch.cuda.device_count = lambda: 2
torch.cuda.mem_get_info = lambda gpu: (100 + gpu, 1000)
torch.backends.mps.is_available = lambda: True
for device in (None, "gpu:1", "cpu"):
    found = runtimes.placed("torch", device)
    with found.scope():
        print(found.name, get_device(), found.free_bytes())
torch.cuda.device_count = lambda: 0
print(runtimes.placed("torch", None).name, runtimes.placed("torch", "cpu").name)
"""


IN_OPENVINO = """
from bottleneck import runtimes
from bottleneck.backbones.keras_scope import import_keras

keras = import_keras("openvino")
import numpy as np
import openvino

made = openvino.compile_model
rng = np.random.default_rng(0)
weights, rows = rng.normal(size=(512, 3)).astype("f4"), rng.normal(size=(9, 512)).astype("f4")
given = keras.Input((512,))
model = keras.Model(given, keras.layers.Dense(3, use_bias=False)(given))
model.set_weights([weights])
place = runtimes.placed("openvino", None)
with place.scope(), place.exact():
    found = np.asarray(model.predict_on_batch(rows))
print(model.ov_compiled_model.get_property("INFERENCE_PRECISION_HINT").to_string())
print(np.abs(found - rows.astype("f8") @ weights).max() < 1e-4, openvino.compile_model is made)
"""


@pytest.mark.parametrize(
    ("framework", "code", "said"),
    [
        ("jax", IN_JAX, ["[None, 700, None]", "gpu:0 cpu", "cpu", "tpu cpu"]),
        (
            "torch",
            IN_TORCH,
            ["gpu:0 cuda:0 100", "gpu:1 cuda:1 101", "cpu cpu None", "mps cpu"],
        ),
        ("openvino", IN_OPENVINO, ["f32", "True True"]),
    ],
)
def test_each_framework_is_asked_about_the_device_that_is_meant(framework, code, said):
    pytest.importorskip(framework, reason="a framework that may be chosen; not a dependency")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == said


def test_tensorflow_leaves_it_to_the_driver(libraries, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one", "two"])
    assert runtimes.placed("tensorflow", None).free_bytes() is None
    libraries["libcuda.so.1"] = Cuda()
    found = runtimes.placed("tensorflow", "gpu:1")
    assert (found.framework, found.version, found.name) == ("tensorflow", tf.__version__, "gpu:1")
    assert found.free_bytes() == 5 * GIB
    assert runtimes.placed("tensorflow", "cpu").free_bytes() is None


def test_what_there_is_not_is_refused(monkeypatch):
    pytest.importorskip("tensorflow")
    monkeypatch.setattr(choice, "gpu_makers", lambda: ("AMD",))
    with pytest.raises(RuntimeUnavailableError, match=r"device gpu:9, but TensorFlow \S+ sees 0"):
        runtimes.placed("tensorflow", "gpu:9")
    with pytest.raises(OptionError, match="cpu, gpu or gpu:N for tensorflow, got 'tensorrt:1'"):
        runtimes.placed("tensorflow", "tensorrt:1")
    with pytest.raises(OptionError, match="expected the device cpu: openvino has no other"):
        runtimes.placed("openvino", "gpu:0")
    told = []
    assert runtimes.placed("tensorflow", "cpu", told.append).name == "cpu"
    assert told == []
    assert runtimes.placed("tensorflow", None, told.append).name == "cpu"
    assert len(told) == 1
    assert "the CPU computes, though there is a GPU (AMD): tensorflow " in told[0]
