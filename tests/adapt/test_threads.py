"""Models and heads asked by several threads: those of TensorFlow and OpenVINO are not for two."""

import contextlib
import json
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from bottleneck.adapt.deployed import IN_ARCHIVE, IN_FOLDER, open_deployed, openvino_compute
from bottleneck.adapt.whole import VERSION
from bottleneck.backbones.keras_scope import import_keras
from bottleneck.heads.kinds.stack import StackedNetwork

ABOUT = {"version": VERSION, "answer": "scores", "classes": ["a", "b"]}
PIXELS = np.zeros((1, 2, 2, 3), np.uint8)


class Network:
    """Tells whether two threads were in it at a time; each waits for another one a moment."""

    def __init__(self):
        self.both = threading.Barrier(2)
        self.met = False

    def predict_on_batch(self, images):
        with contextlib.suppress(threading.BrokenBarrierError):
            self.both.wait(0.3)
            self.met = True
        return np.ones((len(images), 2), np.float32)


def by_two_threads(compute, given):
    with ThreadPoolExecutor(2) as executor:
        return list(executor.map(compute, [given, given]))


def test_a_keras_model_is_computed_by_one_thread_at_a_time(tmp_path, monkeypatch):
    keras, network = import_keras(), Network()
    monkeypatch.setattr(keras.saving, "load_model", lambda path, compile: network)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr(IN_ARCHIVE, json.dumps(ABOUT))
    found = by_two_threads(open_deployed(tmp_path / "m.keras", device="cpu").compute, PIXELS)
    assert np.array_equal(found, np.ones((2, 1, 2)))
    assert not network.met


def test_a_savedmodel_is_computed_by_one_thread_at_a_time(tmp_path, monkeypatch):
    tf = pytest.importorskip("tensorflow", reason="it is TensorFlow's")
    network = Network()
    loaded = SimpleNamespace(
        signatures={
            "serving_default": lambda images: {"scores": network.predict_on_batch(images.numpy())}
        }
    )
    monkeypatch.setattr(tf.saved_model, "load", lambda path: loaded)
    (tmp_path / IN_FOLDER).parent.mkdir(parents=True)
    (tmp_path / IN_FOLDER).write_text(json.dumps(ABOUT))
    found = by_two_threads(open_deployed(tmp_path, device="cpu").compute, PIXELS)
    assert np.array_equal(found, np.ones((2, 1, 2)))
    assert not network.met


def test_an_openvino_model_is_computed_by_several_threads():
    """Which its own ``CompiledModel`` refuses: `Infer Request is busy`."""
    ov = pytest.importorskip("openvino", reason="the extra `openvino` is missing")
    op = ov.opset13
    images = op.parameter([-1, 64], np.uint8, "images")
    weights = np.random.default_rng(0).normal(size=(64, 4096)).astype(np.float32)
    x = op.matmul(op.convert(images, "f32"), op.constant(weights), False, False)
    for _ in range(20):
        x = op.sin(x)
    compute = openvino_compute(ov.Model([x], [images], "made"))
    given = np.random.default_rng(1).integers(0, 256, (4, 50, 64), dtype=np.uint8)
    expected = [compute(one) for one in given]
    with ThreadPoolExecutor(4) as executor:
        for _ in range(10):
            found = list(executor.map(compute, given))
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_stack_is_computed_by_one_thread_at_a_time():
    head, network = StackedNetwork(device="cpu"), Network()
    head.classes_, head.n_features_in_, head._network = np.arange(2), 3, network
    found = by_two_threads(head.decision_function, np.zeros((4, 3), np.float32))
    assert np.array_equal(found, np.ones((2, 4, 2)))
    assert not network.met
