"""Which providers of ONNX Runtime are asked for, and that a missing one is refused."""

import sys
from types import SimpleNamespace

import onnx_files as small
import pytest

from bottleneck import backbones, runtimes
from bottleneck.backbones import DeclaredInput, OutputSpec
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.extraction.embedder import NetworkOrder

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
            return SimpleNamespace(get_providers=lambda: loads)

        fake = SimpleNamespace(
            __version__="9",
            __spec__=ort.__spec__,
            SessionOptions=ort.SessionOptions,
            InferenceSession=session,
            get_available_providers=lambda: providers,
            get_ep_devices=lambda: [SimpleNamespace(ep_name="CUDAExecutionProvider")] * 2,
        )
        monkeypatch.setitem(sys.modules, "onnxruntime", fake)
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
