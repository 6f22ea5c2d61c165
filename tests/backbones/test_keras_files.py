"""``keras:FILE#layer`` and ``python:module:function``: own models, each in a fresh process."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

SAVE = """
import sys
import numpy as np
import keras

keras.utils.set_random_seed(3)
inner_input = keras.Input((None, None, 3))
inner = keras.Model(
    inner_input,
    keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="deep")(
        inner_input
    ),
    name="inner",
)
images = keras.Input((48, 32, 3))
x = inner(images)
x = keras.layers.Conv2D(7, 3, padding="same", activation="relu", name="last_map")(x)
tokens = keras.layers.Reshape((-1, 7), name="as_tokens")(x)
y = keras.layers.GlobalAveragePooling1D(name="pooled")(tokens)
y = keras.layers.BatchNormalization(name="norm")(y)
y = keras.layers.Dropout(0.5)(y)
y = keras.layers.Dense(4, activation="softmax", name="classes")(y)
model = keras.Model(images, y)
model.get_layer("norm").set_weights(
    [np.full(7, value, "float32") for value in (1.5, 0.25, -0.5, 2.0)]
)
model.save(sys.argv[1])

# What it computes, layer by layer.
pixels = np.load(sys.argv[2]).astype("float32") / 127.5 - 1
taken = [model.get_layer(n).output for n in ("last_map", "pooled", "norm", "classes")]
found = keras.Model(images, taken).predict_on_batch(pixels)
deep = inner.predict_on_batch(pixels)
np.savez(
    sys.argv[3],
    last_map=found[0], pooled=found[1], norm=found[2], classes=found[3], inner=deep,
)
"""

FEATURES = """
import sys
import numpy as np
from bottleneck import backbones, runtimes
from bottleneck.backbones import DeclaredInput, OutputSpec
from bottleneck.extraction.run import build_embedder

name, pixels, output, runtime = sys.argv[1:5]
network = backbones.load(name, declared=DeclaredInput.parse("tf"), backend=runtime)
outputs = [OutputSpec("last_map"), OutputSpec("last_map", "max"), OutputSpec("pooled", None),
           OutputSpec("norm", None), OutputSpec("inner", "avg"), OutputSpec("as_tokens", "max"),
           OutputSpec(None, None)]
step = runtimes.get(runtime).compile(network, outputs, device="cpu")
found = step(np.load(pixels))
embedder = build_embedder(backbone=name, preprocess="tf", runtime=runtime, layers=["pooled"])
admitted = embedder.recipe.execution["network"]["admission"]["pictures"]
np.savez(
    output, sha256=network.weights.sha256, size=network.size, admitted=admitted,
    facts=sorted(network.facts), backbone=embedder.recipe.backbone, **found,
    admitted_pooled=embedder.network(np.load(pixels))["pooled.own"],
)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    pixels = np.random.default_rng(1).integers(0, 256, (4, 48, 32, 3), np.uint8)
    np.save(folder / "pixels.npy", pixels)
    run(SAVE, folder, folder / "own.keras", folder / "pixels.npy", folder / "expected.npz")
    return folder


def run(code, folder, *arguments, backend="tensorflow"):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "KERAS_BACKEND": backend,
        },
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(
    ("kind", "runtime"), [("keras", "tensorflow"), ("python", "tensorflow"), ("keras", "jax")]
)
def test_layers_of_an_own_model(saved, kind, runtime):
    if find_spec(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    expected = np.load(saved / "expected.npz")
    if kind == "keras":
        name = f"keras:{saved / 'own.keras'}"
    else:
        (saved / "mine.py").write_text(
            "import keras\ndef build():\n    return keras.saving.load_model('own.keras')\n"
        )
        name = "python:mine:build"
    output = saved / f"{kind}.npz"
    run(FEATURES, saved, name, saved / "pixels.npy", output, runtime, backend=runtime)
    found = np.load(saved / f"{kind}.npz")
    assert found["size"].tolist() == [48, 32]
    for key, value in {
        "last_map.avg": expected["last_map"].mean((1, 2)),
        "last_map.max": expected["last_map"].max((1, 2)),
        "as_tokens.max": expected["last_map"].max((1, 2)),
        "pooled.own": expected["pooled"],
        "norm.own": expected["norm"],
        "inner.avg": expected["inner"].mean((1, 2)),
        "own": expected["classes"],
    }.items():
        np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-5 * np.abs(value).max())
    assert found["admitted"] == 8
    # What was compiled still computes after the admission test has asked the model itself.
    np.testing.assert_array_equal(found["admitted_pooled"], found["pooled.own"])
    assert found["backbone"] == ("keras:own.keras" if kind == "keras" else name)
    if kind == "python":
        assert found["sha256"] == np.load(saved / "keras.npz")["sha256"]
