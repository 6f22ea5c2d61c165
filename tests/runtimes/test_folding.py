"""Batch normalisation folded into weights, and PyTorch's own convolutions: the same functions."""

import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

PROGRAM = """
import sys
import numpy as np
from bottleneck.backbones.keras_scope import import_keras, isolated

backend = sys.argv[1]
import_keras(backend)
from bottleneck.runtimes.folding import folded

rng = np.random.default_rng(3)


def shaken(model):
    # Every weight counts, and none is what a layer begins with.
    model.set_weights([
        rng.uniform(0.5, 2.0, w.shape) if "variance" in v.path else rng.normal(0, 0.5, w.shape)
        for v, w in zip(model.weights, model.get_weights(), strict=True)
    ])
    return model


def norms(model):
    return [one.name for one in model.layers if type(one) is layers.BatchNormalization]


def check(what, model, left):
    images = rng.normal(size=(3, *model.input.shape[1:])).astype(np.float32)
    shaken(model)
    before = [w.copy() for w in model.get_weights()]
    made = folded(keras, model)
    assert norms(made) == left, (what, norms(made))
    ways = [made]
    if backend == "torch":
        import torch
        from bottleneck.runtimes.torch_layers import native
        ways.append(native(torch, keras, made).eval())
    expected = model(images, training=False)
    for way in ways:
        found = way(images, training=False)
        pairs = zip(found, expected) if isinstance(expected, list) else [(found, expected)]
        for ours, theirs in pairs:
            ours, theirs = (keras.ops.convert_to_numpy(one) for one in (ours, theirs))
            worst = np.abs(ours - theirs).max() / np.abs(theirs).max()
            assert worst < 1e-5, (what, worst)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights())), what
    print(what)


with isolated(backend) as keras:
    layers = keras.layers
    norm = layers.BatchNormalization

    def chain(*parts, shape=(9, 10, 4)):
        x = given = layers.Input(shape)
        for part in parts:
            x = part(x)
        return keras.Model(given, x)

    for padding in ("same", "valid"):
        for strides in (1, 2):
            check(f"conv {padding} {strides}", chain(
                layers.Conv2D(6, 3, strides=strides, padding=padding, use_bias=False),
                norm(epsilon=1e-2), layers.ReLU(6.0)), [])
            check(f"depthwise {padding} {strides}", chain(
                layers.DepthwiseConv2D(3, strides=strides, padding=padding, depth_multiplier=2),
                norm(scale=False), layers.Activation("relu")), [])
    if backend == "torch":  # TensorFlow has neither on a CPU
        check("groups", chain(layers.Conv2D(6, 3, groups=2), norm()), [])
    check("dilated", chain(layers.Conv2D(6, (3, 2), dilation_rate=2, padding="same"), norm()), [])
    check("separable", chain(layers.SeparableConv2D(5, 3, use_bias=False), norm(center=False)), [])
    check("dense", chain(layers.Flatten(), layers.Dense(7), norm()), [])
    check("leaky", chain(layers.Conv2D(6, 3), norm(), layers.ReLU(negative_slope=0.1)), [])
    check("activation between", chain(
        layers.Conv2D(6, 3, activation="relu"), norm(name="kept")), ["kept"])
    check("another axis", chain(layers.Conv2D(6, 3), norm(axis=1, name="kept")), ["kept"])
    check("norm first", chain(norm(name="kept"), layers.Conv2D(6, 3)), ["kept"])

    given = layers.Input((8, 8, 4))
    first = layers.Conv2D(4, 3, padding="same", name="first")(given)
    check("conv is asked for", keras.Model(given, [first, norm(name="kept")(first)]), ["kept"])

    inner = norm(name="inner")(layers.Conv2D(4, 3, padding="same")(given))
    outer = layers.Add()([given, layers.ReLU()(inner)])
    check("norm is asked for", keras.Model(given, [inner, outer]), [])

    shared = layers.Conv2D(4, 3, padding="same")
    twice = norm(name="kept")(shared(layers.ReLU()(shared(given))))
    check("a layer used twice", keras.Model(given, twice), ["kept"])

    def adapted(layer, *behind, shape=(9, 10, 4)):
        made = chain(layer, *behind, shape=shape)
        layer.enable_lora(2)
        return made

    # What adapters of low rank add is no part of the kernel.
    check("dense of low rank", adapted(layers.Dense(7), norm(name="kept"), shape=(5,)), ["kept"])
    for bias in (True, False):
        conv = layers.Conv2D(6, 3, use_bias=bias)
        check(f"conv of low rank {bias}", adapted(conv, norm(name="kept")), ["kept"])
    check("conv of low rank alone", adapted(layers.Conv2D(6, 3), layers.ReLU()), [])

    given = layers.Input((8, 8, 4))
    x = layers.Conv2D(4, 3, padding="same")(inputs=given)
    x = layers.ReLU()(inputs=norm()(inputs=x))
    check("called by keyword", keras.Model(given, x), [])

    class Unregistered(keras.regularizers.Regularizer):
        def __call__(self, x):
            return keras.ops.sum(x)

        def get_config(self):
            return {}

    for own in ("kernel_regularizer", "bias_regularizer", "activity_regularizer"):
        check(f"own {own}", chain(layers.Conv2D(6, 3, **{own: Unregistered()}), norm()), [])

    for conv, behind in (("mixed_bfloat16", "float32"), ("float32", "mixed_bfloat16")):
        half = chain(layers.Conv2D(6, 3, dtype=conv), norm(dtype=behind, name="kept"))
        assert norms(folded(keras, half)) == ["kept"], (conv, behind)
print("all")
"""


@pytest.mark.parametrize(
    "backend",
    [
        "tensorflow",
        *(
            pytest.param(
                name,
                marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is missing"),
            )
            for name in ("jax", "torch")
        ),
    ],
)
def test_the_function_is_the_same(backend):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("all\n")


def test_numbers_that_are_none_are_left_to_the_layer():
    from types import SimpleNamespace

    from bottleneck.runtimes.folding import _weights

    def weights(**arrays):
        listed = [(SimpleNamespace(name=name), np.float32(value)) for name, value in arrays.items()]
        return SimpleNamespace(
            weights=[name for name, _ in listed],
            get_weights=lambda: [value for _, value in listed],
            epsilon=0.0,
        )

    class Dense:
        use_bias = False

        def get_weights(self):
            return [np.ones((2, 3), np.float32)]

    norm = {"moving_mean": [0, 1, 2], "moving_variance": [1, 4, 16]}
    kernel, bias = _weights(Dense(), weights(**norm), math.inf)
    np.testing.assert_allclose(kernel, [[1, 0.5, 0.25]] * 2)
    np.testing.assert_allclose(bias, [0, -0.5, -0.5])
    assert _weights(Dense(), weights(**norm), 1.0) is not None
    assert _weights(Dense(), weights(**norm), 0.9) is None  # its largest is 1
    for variance in (0, -1, np.nan):
        without = weights(**{**norm, "moving_variance": [1, variance, 1]})
        assert _weights(Dense(), without, math.inf) is None
