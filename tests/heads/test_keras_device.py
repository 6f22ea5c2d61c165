"""Heads that Keras fits are fitted on the device that was asked for, and its memory is counted.

There is no GPU here: of JAX and TensorFlow two devices of the CPU stand in for two of them.
"""

import os
from contextlib import nullcontext

import pytest
from stand_ins import lines_beside

from bottleneck.heads.solver import keras_engine
from bottleneck.runtimes import Placed

FITTED = """
import keras
import numpy as np
from test_keras_engine import SOFTMAX, compare_engines, work_of
from bottleneck.errors import RuntimeUnavailableError
from bottleneck.heads import select
from bottleneck.heads.rows import ArrayRows
from bottleneck.heads.solver import keras_engine
from bottleneck.heads.solver.keras_engine import KerasEngine
from bottleneck.heads.solver.row_pass import passes

keras_engine.BLOCK_ROWS = 128
X, work, weighting = work_of(SOFTMAX, 10, 3, n=300, d=20)
for wanted in ("gpu", "gpu:1", "gpu:0"):
    engine = KerasEngine(wanted)
    engine._room = 10**9
    compare_engines(engine)
    with passes(ArrayRows(X)) as run:
        engine.keep_only(())
        engine(run, work, weighting)
    print(engine.device, *sorted({where(block) for block in engine._kept.values()}))
try:
    KerasEngine("gpu:2")
except RuntimeUnavailableError as error:
    print(error.message)

from bottleneck.heads.kinds import mlp

def built(*given, build=mlp.build):
    model = build(*given)
    places.update(where(variable.value) for variable in model.variables)
    return model

mlp.build = built
y = np.arange(300) % 3
about = {"classes": list("abc"), "keys": [str(i) for i in range(300)], "n_folds": 2}
for device in ("gpu:1", "cpu"):
    places = set()
    head = select(X, y, **about, head="mlp", settings={"hidden": 4, "epochs": 2}, device=device)
    print(device, *sorted(places), head.notes[-1])
head = select(X, y, **about, grid=(0.1,), engine="keras", device="gpu:1")
print(head.notes[-1])

# A stack is computed by Keras when it is asked, too: outside of what it was fitted in.
import json, pickle, tempfile
from pathlib import Path

net = Path(tempfile.mkdtemp()) / "net.toml"
net.write_text('[[layers]]\\ntype = "Flatten"\\n[[layers]]\\ntype = "Dense"\\nunits = 3')
settings = {"net": str(net), "shape": "2x2x5", "epochs": 2}
asked = keras.Model.predict_on_batch

def predict_on_batch(model, rows):
    places.update(where(variable.value) for variable in model.variables)
    places.update((where(new()), exact()))
    return asked(model, rows)

keras.Model.predict_on_batch = predict_on_batch
for device in ("gpu:1", "cpu"):
    places = set()
    head = select(X, y, **about, head="stack", settings=settings, device=device)
    print(head.notes[-1], *sorted(places, key=str))
    estimator = head.estimator
    weights = iter(estimator.weights_)
    values = X.astype(np.float64)
    scale, offset = (json.loads(estimator.description_)[name] for name in ("scale", "offset"))
    values = values * np.tile(scale, 4) + np.tile(offset, 4)
    for kernel, bias in zip(weights, weights):
        values = values @ kernel + bias
    for one in (estimator, pickle.loads(pickle.dumps(estimator))):
        places = set()
        np.testing.assert_allclose(one.decision_function(X), values, rtol=1e-4, atol=1e-4)
        print(*sorted(places, key=str))
    print(estimator.count_params(), sorted(estimator.named_weights()), exact())
"""

TWO = {
    "jax": """
import jax
from bottleneck.runtimes import jax as runtime
runtime._gpus = lambda jax: jax.devices("cpu")[1:]
where = lambda value: f"cpu{next(iter(value.devices())).id}"
new = lambda: jax.numpy.zeros(())
exact = lambda: jax.config.jax_default_matmul_precision == "highest"
""",
    "tensorflow": """
import tensorflow as tf
from dataclasses import replace
from functools import partial
from bottleneck.runtimes import tensorflow as runtime
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
placed, list_devices = runtime.placed, tf.config.list_physical_devices
tf.config.list_physical_devices = lambda kind=None: (
    [cpu, cpu] if kind == "GPU" else list_devices(kind))

def stood_in(device):
    found = placed(device)
    number = 0 if found.name == "cpu" else int(found.name[-1]) + 1
    return replace(found, scope=partial(tf.device, f"cpu:{number}"))

runtime.placed = stood_in
where = lambda value: "cpu" + (value.device or value.handle.device)[-1]
new = lambda: tf.zeros(()) + 1
exact = lambda: not tf.config.experimental.tensor_float_32_execution_enabled()
""",
}


@pytest.mark.parametrize("backend", TWO)
def test_heads_are_fitted_where_that_was_asked_for(backend):
    pytest.importorskip(backend, reason="a backend of Keras; not a dependency")
    here = os.path.dirname(__file__)
    path = os.pathsep.join([here, os.path.dirname(here), os.environ.get("PYTHONPATH", "")])
    code = "import test_keras_engine\n" + TWO[backend] + FITTED
    lines = lines_beside(3, code, KERAS_BACKEND=backend, PYTHONPATH=path)
    assert lines[:3] == ["gpu:0 cpu1", "gpu:1 cpu2", "gpu:0 cpu1"]
    assert lines[3].startswith("expected the device gpu:2, but ")
    assert lines[3].endswith(" sees 2 GPUs")
    assert lines[4] == f"gpu:1 cpu2 fitted through Keras: {backend}, gpu:1"
    assert lines[5] == f"cpu cpu0 fitted through Keras: {backend}, cpu"
    assert lines[6] == f"fitted through Keras: {backend}, gpu:1"
    # Of what is loaded, the default: here what the framework takes by itself.
    for at, (device, place) in enumerate([("gpu:1", "cpu2"), ("cpu", "cpu0")]):
        assert lines[7 + 4 * at : 11 + 4 * at] == [
            f"fitted through Keras: {backend}, {device} True {place}",
            f"True {place}",
            "True cpu1",
            "75 ['head', 'net_2'] False",
        ]


@pytest.mark.parametrize(
    ("name", "free", "room"),
    [("cpu", 10 << 30, 0), ("gpu:1", 10 << 30, 6 << 30), ("gpu:0", None, 4 << 30), ("mps", 0, 0)],
)
def test_blocks_have_a_share_of_what_is_free_on_the_device(monkeypatch, name, free, room):
    asked = []

    def placed(backend, device):
        asked.append(device)
        return Placed(backend, "1.0", name, scope=nullcontext, free_bytes=lambda: free)

    monkeypatch.setattr(keras_engine, "placed", placed)
    engine = keras_engine.KerasEngine(name)
    assert (engine.device, engine._room, asked) == (name, room, [name])
