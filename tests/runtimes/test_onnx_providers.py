"""Which providers of ONNX Runtime are asked for, and that a missing one is refused."""

import sys
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import onnx_files as small
import pytest

from bottleneck import backbones, runtimes
from bottleneck.backbones import DeclaredInput, OutputSpec
from bottleneck.errors import DeviceMemoryError, OptionError, RuntimeUnavailableError
from bottleneck.extraction.embedder import NetworkOrder
from bottleneck.extraction.forward import Forward

ort = pytest.importorskip("onnxruntime", reason="the extra `onnxruntime` is missing")


@pytest.fixture
def network(tmp_path):
    path = small.transformer(tmp_path / "t.onnx")
    return backbones.load(f"onnx:{path}", declared=DeclaredInput.parse("torch"))


@pytest.fixture
def faked(monkeypatch):
    """An ONNX Runtime with GPUs, as far as it says; sessions are remembered, not made."""
    asked = []

    def pretend(providers, loads):
        def session(graph, options, providers):
            if providers == ["CPUExecutionProvider"]:  # which finds out the shapes
                return ort.InferenceSession(graph, options, providers=providers)
            asked.append(providers)
            return SimpleNamespace(get_providers=lambda: loads, disable_fallback=lambda: None)

        fake = SimpleNamespace(
            __version__="9",
            __spec__=ort.__spec__,
            SessionOptions=ort.SessionOptions,
            InferenceSession=session,
            get_available_providers=lambda: providers,
            get_ep_devices=lambda: [SimpleNamespace(ep_name="CUDAExecutionProvider")] * 2,
        )
        monkeypatch.setitem(sys.modules, "onnxruntime", fake)
        monkeypatch.setattr("bottleneck.runtimes.onnxruntime.gpu_makers", lambda: ("NVIDIA",))
        return asked

    return pretend


ALL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


def compiled(network, device, precision="tf32"):
    return runtimes.get("onnxruntime").compile(
        network, [OutputSpec(pool=None)], precision=precision, device=device
    )


def test_tensorrt_comes_before_cuda_and_that_before_the_cpu(network, faked):
    asked = faked(ALL, ALL)
    assert compiled(network, "tensorrt:1").device == "tensorrt:1"
    (providers,) = asked
    assert [one if isinstance(one, str) else one[0] for one in providers] == ALL
    assert providers[0][1] == {"device_id": 1, "trt_fp16_enable": False, "trt_int8_enable": False}
    assert providers[1][1] == {"device_id": 1, "use_tf32": 1}


def test_cuda_alone_in_float32(network, faked):
    asked = faked(ALL, ALL[1:])
    assert compiled(network, "gpu:0", "float32").device == "gpu:0"
    assert asked[0][0] == ("CUDAExecutionProvider", {"device_id": 0, "use_tf32": 0})


def test_tensorrt_is_refused_in_float32(network, faked):
    faked(ALL, ALL)
    with pytest.raises(OptionError, match="expected the precision tf32 for TensorRT"):
        compiled(network, "tensorrt", "float32")


def test_what_cannot_be_loaded_is_refused(network, faked):
    faked(ALL, ["CPUExecutionProvider"])
    with pytest.raises(RuntimeUnavailableError, match="to compute with Tensorrt.*, CUDA"):
        compiled(network, "tensorrt")
    with pytest.raises(RuntimeUnavailableError, match="to compute with CUDA"):
        compiled(network, "gpu")


def test_the_cpu_computes_where_nothing_loads_and_no_device_was_named(network, faked):
    asked = faked(ALL, ["CPUExecutionProvider"])
    assert compiled(network, None, "float32").device == "cpu"
    assert [one[0][0] for one in asked] == ["CUDAExecutionProvider"]
    with pytest.raises(RuntimeUnavailableError, match="to compute with CUDA"):
        compiled(network, None, "tf32")


def test_without_tensorrt_it_is_refused(network):
    if "TensorrtExecutionProvider" in ort.get_available_providers():
        pytest.skip("there is TensorRT")
    with pytest.raises(
        RuntimeUnavailableError, match="expected ONNX Runtime with TensorRT"
    ) as told:
        compiled(network, "tensorrt")
    assert "onnxruntime-gpu" in told.value.hint


def test_other_runtimes_have_none():
    order = NetworkOrder("resnet50", "none", None, [OutputSpec()], "float32", "tensorflow")
    with pytest.raises(OptionError, match="expected the device cpu, gpu or gpu:N for tensorflow"):
        NetworkOrder(**{**vars(order), "device": "tensorrt:0"})()


def test_a_gpu_that_fails_is_not_replaced_by_the_cpu(network, monkeypatch, capsys):
    """ONNX Runtime would print that it is, on standard output, and the recipe say ``gpu:0``."""
    from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

    whole = compiled(network, "cpu", "float32")
    made = []

    class Failing(ort.InferenceSession):
        def _create_inference_session(self, *arguments, **options):
            super()._create_inference_session(*arguments, **options)
            made.append(self)
            if made.count(self) == 1:  # the one that it would fall back to is whole
                self._sess = Full(self._sess)

    class Full:
        def __init__(self, session):
            self.session = session

        def __getattr__(self, name):
            return getattr(self.session, name)

        def run(self, names, given, options):
            if len(next(iter(given.values()))) > 2:
                raise EPFail("[ONNXRuntimeError] : 11 : EP_FAIL : CUDA failure 2: out of memory")
            return self.session.run(names, given, options)

    monkeypatch.setattr(ort, "InferenceSession", Failing)
    step = compiled(network, "cpu", "float32")
    size = network.input.shape[0]
    batch = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), np.uint8)
    with pytest.raises(DeviceMemoryError, match="for 8 images") as caught:
        step(batch)
    assert "CUDA failure 2" in caught.value.hint
    found, finite = Forward(step, np.dtype(np.float32))(batch, defaultdict(float))
    assert finite.all()
    for name, features in whole(batch).items():
        np.testing.assert_allclose(found[name], features, rtol=1e-5, atol=1e-6)
    assert made.count(made[-1]) == 1
    assert capsys.readouterr().out == ""
