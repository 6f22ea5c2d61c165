"""Several devices, each with a process of its own: the same batches, the same bits."""

import os
import signal
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import LateBackbone, MeanBackbone, fake_embedder
from stand_ins import lines_beside

from bottleneck.errors import (
    BackboneError,
    DeviceMemoryError,
    OptionError,
    RuntimeUnavailableError,
    WorkerError,
)
from bottleneck.extraction.device_processes import DeviceProcesses
from bottleneck.extraction.device_worker import SharedBlock
from bottleneck.extraction.embedder import NetworkOrder, on_devices
from bottleneck.images import Geometry
from bottleneck.runtimes import Overlapping
from bottleneck.store import FeatureStore


@dataclass(frozen=True)
class Order:
    """What is loaded in the process of a device; travels by pickle."""

    kind: type = MeanBackbone
    size: int = 16

    def __call__(self):
        return self.kind(), Geometry(self.size), {"pid": os.getpid()}


class Small(MeanBackbone):
    def __call__(self, batch):
        if len(batch) > 3:
            raise DeviceMemoryError("full", hint="less")
        return super().__call__(batch)


class Deadly(MeanBackbone):
    def __call__(self, batch):
        os.kill(os.getpid(), signal.SIGKILL)


class Wrong(MeanBackbone):
    def __call__(self, batch):
        raise ZeroDivisionError("wrong")


class Missing:
    def __call__(self):
        raise BackboneError("there is no such layer", hint="there are others")


@pytest.fixture
def processes():
    opened = []

    def start(*orders):
        loads = [(f"gpu:{i}", order) for i, order in enumerate(orders)]
        environment = {**os.environ, "WHICH": "this"}
        opened.append(DeviceProcesses(loads, [environment] * len(loads)))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (12, 16, 16, 3), np.uint8)


def test_batches_go_round_and_come_back_in_order(processes, pixels):
    network = processes(Order(), Order(LateBackbone))
    assert isinstance(network, Overlapping)
    assert network.loaded.facts["pid"] != os.getpid()
    assert (network.device, network.runtime, network.in_flight) == ("gpu:0,gpu:1", "numpy", 5)
    pending = [network.submit(pixels[i : i + 3]) for i in range(0, 12, 3)]
    found = [one.result() for one in pending]
    np.testing.assert_allclose(
        np.concatenate([one["mean"] for one in found]), pixels.mean((1, 2)), rtol=1e-6
    )
    assert network(pixels[:0])["spread"].shape == (0, 3)
    # Larger ones than before need new memory; results in any order.
    first, second, third = network.submit(pixels), network.submit(pixels[:2]), network(pixels[:5])
    np.testing.assert_allclose(second.result()["mean"], pixels[:2].mean((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(first.result()["mean"], pixels.mean((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(third["mean"], pixels[:5].mean((1, 2)), rtol=1e-6)


class Another(MeanBackbone):
    def __init__(self):
        super().__init__(details={"xla": True})


def test_devices_that_compute_in_other_ways_are_refused(processes):
    with pytest.raises(WorkerError, match=r"\{\} on gpu:0 and \{'xla': True\} on gpu:1"):
        processes(Order(), Order(Another))


def test_a_file_has_the_bits_of_one_device(processes, photos, run, tmp_path):
    one = FeatureStore.open(run(photos, tmp_path / "one.h5", batch_size=2).output)
    network = processes(Order(), Order(), Order())
    result = run(photos, tmp_path / "three.h5", fake_embedder(network), batch_size=2)
    three = FeatureStore.open(result.output)
    assert result.ok == len(one)
    for name in ("mean", "spread"):
        assert np.array_equal(one.features(name), three.features(name))
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "three.h5").read_bytes()


def test_a_full_device_halves_its_batches(processes, photos, run):
    result = run(photos, embedder=fake_embedder(processes(Order(Small), Order(Small))))
    assert (result.ok, result.failed) == (12, 0)


def test_what_a_process_raises_is_raised(processes, pixels):
    with pytest.raises(BackboneError, match="no such layer") as caught:
        processes(Order(), Missing())
    assert caught.value.hint == "there are others"
    with pytest.raises(ZeroDivisionError, match="wrong"):
        processes(Order(Wrong))(pixels)


class Padded(MeanBackbone):
    """Says by its features what it was padded to."""

    def __init__(self):
        super().__init__(dims={"size": 1})
        self.least = 0

    def pad_to(self, count):
        self.least = max(self.least, count)

    def forget_shapes(self):
        self.least = 0

    def __call__(self, batch):
        return {"size": np.full((len(batch), 1), max(len(batch), self.least), np.float32)}


def test_all_devices_pad_alike(processes, pixels):
    network = processes(Order(Padded), Order(Padded))
    network.pad_to(8)
    assert [network(pixels[:3])["size"][0, 0] for _ in range(3)] == [8, 8, 8]
    network.forget_shapes()  # after larger batches were tried
    assert [network(pixels[:3])["size"][0, 0] for _ in range(3)] == [3, 3, 3]


class Blind:
    def __call__(self):
        raise RuntimeUnavailableError("expected the device gpu:0, got none", hint="x")


def test_a_gpu_that_is_not_seen_is_named_as_it_was_asked_for(processes):
    with pytest.raises(RuntimeUnavailableError, match=r"^gpu:1, .*gpu:0, got none"):
        processes(Order(), Blind())


def test_two_processes_on_one_device(pixels):
    network = DeviceProcesses([("gpu:0", Order()), ("gpu:0", Order())], [os.environ] * 2)
    try:
        assert network.device == "gpu:0"
        for _ in range(3):
            np.testing.assert_allclose(network(pixels)["mean"], pixels.mean((1, 2)), rtol=1e-6)
    finally:
        network.close()


def test_a_process_that_ends_is_told_by_its_device(processes, photos, run):
    network = processes(Order(), Order(Deadly))
    with pytest.raises(WorkerError, match="the process of gpu:1 has ended: SIGKILL") as caught:
        run(photos, embedder=fake_embedder(network))
    assert "run the same command again" in (caught.value.hint or "")
    assert run(photos).rows == 12  # the file can be continued


def test_blocks_are_whole_pages_that_do_not_overlap():
    block = SharedBlock(0, room=3, given=Geometry(5), dims=[7, 2])
    assert block.n_bytes % os.sysconf("SC_PAGESIZE") == 0
    assert block.n_bytes >= 3 * 5 * 5 * 3 + 4 * 3 * 9


def order(**changes):
    plain = {"backbone": "mobilenet_v2", "weights": "none", "size": 32, "outputs": ()}
    return NetworkOrder(**{**plain, "precision": "float32", "runtime": "tensorflow", **changes})


def test_devices_that_make_no_sense():
    with pytest.raises(OptionError, match="'tpu'"):
        on_devices(order(), ["cpu", "tpu"])
    with pytest.raises(OptionError, match="one device for int8"):
        on_devices(order(precision="int8"), ["cpu", "cpu"])


def test_a_gpu_is_refused_by_its_own_number_where_the_runtime_has_none():
    order = NetworkOrder("resnet50", "none", None, (), "float32", "openvino")
    with pytest.raises(OptionError, match="device cpu: openvino has no other, got cpu, gpu:3"):
        on_devices(order, ["cpu", "gpu:3"])


def test_tensorrt_on_a_gpu_of_its_own_is_named_so(monkeypatch):
    """By the recipe: what CUDA computes differs from it."""
    asked = []

    def start(loads, environments):
        asked.extend((name, load.device) for name, load in loads)
        return SimpleNamespace(loaded=SimpleNamespace(given=None, facts=None))

    monkeypatch.setattr("bottleneck.extraction.embedder.DeviceProcesses", start)
    devices = ["tensorrt:1", "gpu", "gpu:2", "cpu"]
    on_devices(order(runtime="onnxruntime"), devices)
    names = ["tensorrt:1", "gpu:0", "gpu:2", "cpu"]
    assert asked == list(zip(names, ["tensorrt:0", "gpu:0", "gpu:0", "cpu"], strict=True))


def test_a_gpu_that_there_is_not_is_told_by_those_that_there_are(monkeypatch):
    def start(loads, environments):
        (_, load), *_ = loads
        raise RuntimeUnavailableError(f"expected the device {load.device}, sees 0", hint="x")

    monkeypatch.setattr("bottleneck.extraction.embedder.DeviceProcesses", start)
    seen = {"jax": ("gpu:0 (A)", "gpu:1 (B)"), "torch": ()}
    monkeypatch.setattr("bottleneck.runtimes.choice.gpus_seen_by", seen.get)
    with pytest.raises(RuntimeUnavailableError) as caught:
        on_devices(order(runtime="jax"), ["gpu:1", "gpu:3"])
    told = "expected the device gpu:3, but jax sees gpu:0 (A), gpu:1 (B)"
    assert (caught.value.message, caught.value.hint) == (told, "x")
    for runtime, device in (("torch", "gpu:3"), ("jax", "gpu:1")):  # what else is wrong
        with pytest.raises(RuntimeUnavailableError, match="gpu:0, sees 0"):
            on_devices(order(runtime=runtime), [device])


WHERE_WEIGHTS_LIE = """
import jax

from bottleneck.extraction.run import build_embedder
from bottleneck.runtimes import jax as runtime

_, second = jax.devices("cpu")
jax.config.update("jax_default_device", second)  # as a GPU is, where there is one
compiled = runtime.compile

def watched(backbone, *given, **more):
    found = [variable.value.devices() for variable in backbone.model.variables]
    print({device.id for devices in found for device in devices})
    return compiled(backbone, *given, **more)

runtime.compile = watched
for devices in (["cpu"], []):
    build_embedder(size=32, runtime="jax", devices=devices)
print(jax.numpy.zeros(()).devices() == {second})
"""


def test_weights_lie_on_no_gpu_where_the_cpu_computes():
    """It may be full, and memory of it is nobody's business then."""
    pytest.importorskip("jax", reason="a framework that may be chosen; not a dependency")
    assert lines_beside(2, WHERE_WEIGHTS_LIE)[:3] == ["{0}", "{1}", "True"]
