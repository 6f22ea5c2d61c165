"""Fine-tuning and deployed models compute where that was asked for, and say where that is.

There is no GPU here: devices of the CPU stand in for two of them.
"""

import numpy as np
import pytest
from stand_ins import lines_beside

import bottleneck
from bottleneck.adapt.deployed import open_deployed
from bottleneck.errors import OptionError, RuntimeUnavailableError

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of Keras

IN_JAX = """
import sys
from pathlib import Path
from threading import Thread

import jax
import keras
import numpy as np

import bottleneck
from bottleneck.adapt import finetune
from bottleneck.adapt.deployed import open_deployed
from bottleneck.runtimes import jax as runtime

runtime._gpus = lambda jax: jax.devices("cpu")[1:]
folder, output = map(Path, sys.argv[1:])
places, precisions = set(), []

def seen(function):
    def call(self, *given, **more):
        found = [variable.value for variable in self.variables] + [jax.numpy.zeros(())]
        places.update(device.id for value in found for device in value.devices())
        precisions[:] = [jax.config.jax_default_matmul_precision]
        return function(self, *given, **more)
    return call

for name in ("train_on_batch", "predict_on_batch"):
    setattr(keras.Model, name, seen(getattr(keras.Model, name)))
tuned = bottleneck.finetune(
    folder / "h.head", folder / "photos", output / "m.keras",
    epochs=1, views=1, workers=1, device="gpu:1",
).to_json()
print(tuned["backend"], tuned["device"], places)
places.clear()
for device in ("gpu", "cpu"):
    model = open_deployed(output / "m.keras", device)
    images = np.zeros((2, *model.geometry.shape), np.uint8)
    thread = Thread(target=model.compute, args=(images,))  # as the service does
    thread.start()
    thread.join()
    print(model.device, places, precisions, jax.config.jax_default_matmul_precision)
    places.clear()
"""

IN_TENSORFLOW = """
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from dataclasses import replace

import bottleneck
from bottleneck.adapt import deployed
from bottleneck.runtimes import tensorflow as runtime

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
placed = runtime.placed

def stood_in(device):
    if device in (None, "cpu"):
        return placed("cpu")
    scope = partial(tf.device, f"cpu:{int(device[-1]) + 1}")
    return replace(placed("cpu"), name=device, scope=scope)

runtime.placed = stood_in
folder, output = map(Path, sys.argv[1:])
places = []

def asarray(value, dtype):
    if hasattr(value, "device"):
        places.append(value.device[-5:])
        places.append(tf.config.experimental.tensor_float_32_execution_enabled())
    return np.asarray(value, dtype)

deployed.np = SimpleNamespace(asarray=asarray, uint8=np.uint8, float32=np.float32, array=np.array,
                              concatenate=np.concatenate)
bottleneck.export(folder / "h.head", output / "m", deploy=True, images=folder / "photos/test")
print(places)
for device in ("gpu:1", "gpu:0", None):
    model = deployed.open_deployed(output / "m", device)
    places.clear()
    model.compute(np.zeros((1, *model.geometry.shape), np.uint8))
    print(model.device, *places)
print(tf.config.experimental.tensor_float_32_execution_enabled())
"""

STACKED = """
import sys
from pathlib import Path

import jax
import keras
import numpy as np

import bottleneck
from bottleneck.heads import Head
from bottleneck.runtimes import jax as runtime

runtime._gpus = lambda jax: jax.devices("cpu")[1:]
folder, output = map(Path, sys.argv[1:])
head, features = str(output / "h.head"), str(output / "f.h5")
places, asked = set(), keras.Model.predict_on_batch

def predict_on_batch(model, rows):
    found = [variable.value for variable in model.variables] + [jax.numpy.zeros(())]
    places.update(device.id for value in found for device in value.devices())
    return asked(model, rows)

def told(*what):
    print(*what, *sorted(places))
    places.clear()

keras.Model.predict_on_batch = predict_on_batch
test = folder / "photos/test"
for device in (None, "cpu", "gpu:1"):
    judged = bottleneck.evaluate(head, features, device=device).to_json()
    told(judged["rows"], round(judged["log_loss"], 3))
    devices = device or ()
    for sources in (features, test)[: 1 if device == "gpu:1" else 2]:  # a process shown gpu:1
        found = bottleneck.predict(
            head, sources, devices=devices, runtime="jax", workers=1, top_k="all"
        )
        told(len(found.records), round(sum(row["probability"] for row in found.records), 2))
notes = []
loaded = [Head.load_beside(head, [one], notes.append) for one in ("tensorrt:1", "gpu:7")]
loaded.append(bottleneck.heads.load(head, device="gpu:0"))
places.clear()
for one in loaded:
    one.scores(np.zeros((1, one.dim), np.float32))
    told(one.estimator.device)
print(*notes)
tuned = bottleneck.finetune(
    head, folder / "photos", output / "m.keras", epochs=1, views=1, workers=1, device="gpu:1"
)
told(tuned.to_json()["device"])
"""


def said(code, backend, *given):
    pytest.importorskip(backend, reason="a backend of Keras; not a dependency")
    return lines_beside(3, code, *given, KERAS_BACKEND=backend)


def test_fine_tuning_and_a_keras_model_compute_where_they_are_told_to(trained, tmp_path):
    lines = said(IN_JAX, "jax", trained, tmp_path)
    assert lines == ["jax gpu:1 {2}", "gpu:0 {1} ['highest'] None", "cpu {0} ['highest'] None"]


def test_a_saved_model_computes_where_it_is_told_to(trained, tmp_path):
    lines = said(IN_TENSORFLOW, "tensorflow", trained, tmp_path)
    # Each with whether products are rounded to TF32, as they are outside.
    told = ["gpu:1 CPU:2 False", "gpu:0 CPU:1 False", "cpu CPU:0 False"]
    assert lines == ["['CPU:0', False]", *told, "True"]


def test_a_stack_computes_where_it_is_told_to(trained, tmp_path):
    bottleneck.extract(
        trained / "photos", tmp_path / "f.h5", layers="block7a_expand_conv", pool="none", size=64
    )
    (tmp_path / "net.toml").write_text('[[layers]]\ntype = "GlobalAveragePooling2D"\n')
    settings = (f"net={tmp_path / 'net.toml'}", "epochs=2")
    bottleneck.train(tmp_path / "f.h5", tmp_path / "h.head", head="stack", settings=settings, cv=0)
    judged = bottleneck.evaluate(tmp_path / "h.head", tmp_path / "f.h5", device="cpu").to_json()
    rows = [
        bottleneck.predict(tmp_path / "h.head", tmp_path / one, top_k="all").records
        for one in ("f.h5", trained / "photos/test")
    ]
    sums = [[len(one), round(sum(row["probability"] for row in one), 2)] for one in rows]
    lines = said(STACKED, "jax", trained, tmp_path)
    for place, count in ((1, 2), (0, 2), (2, 1)):  # by default the first GPU
        assert lines.pop(0) == f"{judged['rows']} {judged['log_loss']:.3f} {place}"
        for n, total in sums[:count]:
            assert lines.pop(0) == f"{n} {total} {place}"
    # TensorRT's GPU is that of others, too; where there is none, it is as by default, and told.
    assert lines[:3] == ["gpu:1 2", "None 1", "gpu:0 1"]
    assert lines[3].startswith(
        "the head stack is not computed where the backbone is: expected the device gpu:7, but JAX"
    )
    assert lines[4:] == ["gpu:1 2"]


def test_a_head_that_numpy_computes_has_no_gpu(trained):
    judge = bottleneck.evaluate
    with pytest.raises(OptionError, match="cpu for the head logreg, which NumPy computes, got gpu"):
        judge(trained / "h.head", trained / "f.h5", device="gpu")
    with pytest.raises(OptionError, match="expected the device cpu, gpu or gpu:N, got 'gpu0'"):
        judge(trained / "h.head", trained / "f.h5", device="gpu0")
    found = [judge(trained / "h.head", trained / "f.h5", device=one) for one in (None, "cpu")]
    assert found[0].to_json() == found[1].to_json()
    # Beside a backbone the option is that one's.
    rows = bottleneck.predict(trained / "h.head", trained / "f.h5", devices="gpu:1").records
    assert len(rows) == 66


@pytest.fixture(scope="module")
def onnx_model(trained, tmp_path_factory):
    for package in ("tf2onnx", "onnxruntime"):
        pytest.importorskip(package, reason="the extra `deploy` is missing")
    place = tmp_path_factory.mktemp("model") / "m.onnx"
    done = bottleneck.export(
        trained / "h.head", place, deploy=True, images=trained / "photos/test", device="cpu"
    )
    assert done.device == "cpu"
    return place


@pytest.fixture
def sessions(monkeypatch):
    """An ONNX Runtime that says it has CUDA: what loads, what it was asked for, its devices."""
    import onnxruntime

    made = onnxruntime.InferenceSession
    loadable, asked, devices = ["CUDAExecutionProvider"], [], []

    def session(path, providers):
        asked.append(providers)
        found = made(path, providers=["CPUExecutionProvider"])
        monkeypatch.setattr(found, "get_providers", lambda: [*loadable, "CPUExecutionProvider"])
        return found

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: devices)
    return loadable, asked, devices


def test_an_onnx_model_computes_by_cuda_where_that_was_asked_for(onnx_model, sessions, monkeypatch):
    loadable, asked, devices = sessions
    monkeypatch.setattr("bottleneck.runtimes.onnxruntime.gpu_makers", lambda: ("NVIDIA",))
    device = type("Device", (), {"ep_name": "CUDAExecutionProvider"})
    devices += [device, device]
    for wanted, name in ((None, "gpu:0"), ("gpu:1", "gpu:1"), ("cpu", "cpu")):
        assert open_deployed(onnx_model, wanted).device == name
    cpu = "CPUExecutionProvider"
    assert asked == [
        [("CUDAExecutionProvider", {"device_id": 0, "use_tf32": 0}), cpu],
        [("CUDAExecutionProvider", {"device_id": 1, "use_tf32": 0}), cpu],
        [cpu],
    ]
    devices.pop()
    monkeypatch.setattr(
        "bottleneck.gpus.shows_one", lambda: True
    )  # a command, which is shown this one only
    assert open_deployed(onnx_model, "gpu:1").device == "gpu:1"
    assert asked[-1] == [("CUDAExecutionProvider", {"device_id": 0, "use_tf32": 0}), cpu]
    monkeypatch.setattr("bottleneck.gpus.shows_one", lambda: False)
    loadable.clear()  # of a provider whose libraries are missing it makes a session without it
    with pytest.raises(RuntimeUnavailableError, match="to compute with CUDAExecutionProvider, got"):
        open_deployed(onnx_model, "gpu:0")
    with pytest.raises(OptionError, match="expected the device cpu, gpu or gpu:N for .*tensorrt"):
        open_deployed(onnx_model, "tensorrt")
    told = []
    model = open_deployed(onnx_model, None, told.append)
    assert (model.device, asked[-1]) == ("cpu", [cpu])
    assert len(told) == 1
    assert "the CPU computes, though there is a GPU: expected ONNX Runtime to compute wi" in told[0]


@pytest.mark.parametrize("makers", [(), ("AMD",)])
def test_an_onnx_runtime_for_cuda_takes_the_cpu_where_there_is_no_such_gpu(
    onnx_model, sessions, monkeypatch, makers
):
    """Its devices are none then, as they are with some versions of it where there are some."""
    loadable, asked, _ = sessions
    loadable.clear()
    monkeypatch.setattr("bottleneck.runtimes.onnxruntime.gpu_makers", lambda: makers)
    told = []
    assert open_deployed(onnx_model, None, told.append).device == "cpu"
    assert (asked, told) == ([["CPUExecutionProvider"]], [])
    with pytest.raises(RuntimeUnavailableError, match=r"gpu:1, but ONNX Runtime \S+ sees 0 GPUs"):
        open_deployed(onnx_model, "gpu:1")


def test_what_cannot_be_is_refused(trained, onnx_model, tmp_path):
    """With what there is; nothing is written, and no service is begun."""
    head, photos = trained / "h.head", trained / "photos"
    for call in (
        lambda: bottleneck.finetune(head, photos, tmp_path / "m.keras", device="gpu:7"),
        lambda: bottleneck.export(head, tmp_path / "m.keras", deploy=True, device="gpu:7"),
        lambda: bottleneck.neighbors(trained / "f.h5", next(photos.rglob("*.png")), device="gpu:7"),
        lambda: bottleneck.serve(onnx_model, device="gpu:7", port=0),
    ):
        with pytest.raises((RuntimeUnavailableError, OptionError), match="expected the device "):
            call()
    assert not list(tmp_path.iterdir())
    with pytest.raises(OptionError, match="expected --deploy with .* and --device"):
        bottleneck.export(head, tmp_path / "h.onnx", device="cpu")


def test_a_gpu_that_is_not_used_is_told(trained, onnx_model, monkeypatch):
    monkeypatch.setattr("bottleneck.runtimes.choice.gpu_makers", lambda: ("NVIDIA",))
    told = []
    model = open_deployed(onnx_model, None, told.append)
    assert "there is a GPU (NVIDIA): onnxruntime " in " ".join(told)
    assert np.isfinite(model.compute(np.zeros((1, *model.geometry.shape), np.uint8))).all()
    told.clear()
    open_deployed(onnx_model, "cpu", told.append)
    assert told == []
