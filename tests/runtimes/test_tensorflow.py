import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bottleneck import backbones, runtimes
from bottleneck.backbones import OutputSpec
from bottleneck.errors import (
    BackboneError,
    DeviceMemoryError,
    OptionError,
    RuntimeUnavailableError,
)
from bottleneck.runtimes.tensorflow import OneAtATime

SIZE = 64
LAYER = "expanded_conv_3_project_bn"


@pytest.fixture(scope="module")
def backbone():
    spec = backbones.get("mobilenet_v3_small")
    return backbones.load(spec, weights="none", size=SIZE, backend="tensorflow")


@pytest.fixture(scope="module")
def pixels():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)


def maps(backbone, pixels, layer=None):
    keras = backbones.import_keras()
    output = backbone.model.output if layer is None else backbone.model.get_layer(layer).output
    model = keras.Model(backbone.model.input, output)
    return model(pixels.astype(np.float32), training=False).numpy()


def compiled(backbone, *outputs, **options):
    return runtimes.get("tensorflow").compile(backbone, list(outputs), **options)


def functions_of(compiled):
    """Return TensorFlow's own functions inside a backbone compiled for a CPU, one per thread."""
    parts = compiled._compute.__self__
    _, compute = parts._compute.args
    return compute.args[-1].functions


def close(ours, theirs) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


def test_every_pooling(backbone, pixels) -> None:
    outputs = [OutputSpec(pool=pool) for pool in ("avg", "max", "avgmax", "gem", "none")]
    function = compiled(backbone, *outputs)
    features = function(pixels)
    whole = maps(backbone, pixels).astype(np.float64)
    assert whole.shape == (6, 2, 2, 576)
    assert whole.min() < 0  # so that the floor of gem matters
    means, highest = whole.mean((1, 2)), whole.max((1, 2))
    close(features["avg"], means)
    close(features["max"], highest)
    close(features["avgmax"], np.concatenate([means, highest], axis=1))
    close(features["gem"], np.cbrt((np.maximum(whole, 1e-6) ** 3).mean((1, 2))))
    close(features["none"], whole.reshape(6, -1))
    assert list(features) == ["avg", "max", "avgmax", "gem", "none"]
    assert function.dims == {name: value.shape[1] for name, value in features.items()}
    assert {value.dtype for value in features.values()} == {np.dtype(np.float32)}


def test_several_layers_in_one_pass(backbone, pixels) -> None:
    function = compiled(backbone, OutputSpec(LAYER), OutputSpec(), OutputSpec(LAYER, "max"))
    features = function(pixels)
    inner = maps(backbone, pixels, LAYER)
    assert backbone.shape(LAYER) == backbones.Map(*inner.shape[1:])
    close(features[f"{LAYER}.avg"], inner.mean((1, 2)))
    close(features[f"{LAYER}.max"], inner.max((1, 2)))
    close(features["avg"], maps(backbone, pixels).mean((1, 2)))


def test_batch_is_single_is_partial(backbone, pixels) -> None:
    function = compiled(backbone, OutputSpec(), OutputSpec(LAYER, "gem"))
    whole = function(pixels)
    for name, features in whole.items():
        scale = np.abs(features).max()
        single = np.concatenate([function(pixels[i : i + 1])[name] for i in range(6)])
        parts = np.concatenate([function(pixels[:4])[name], function(pixels[4:])[name]])
        np.testing.assert_allclose(single, features, rtol=0, atol=1e-5 * scale)
        np.testing.assert_allclose(parts, features, rtol=0, atol=1e-5 * scale)


def test_empty_batch(backbone, pixels) -> None:
    features = compiled(backbone, OutputSpec())(pixels[:0])
    assert features["avg"].shape == (0, 576)
    assert features["avg"].dtype == np.float32


def test_frozen_function_has_no_variables_and_is_never_retraced(backbone, pixels) -> None:
    function = compiled(backbone, OutputSpec())
    for frozen in functions_of(function):
        assert not frozen.graph.variables
        assert frozen.inputs[0].shape.as_list() == [None, SIZE, SIZE, 3]
        assert frozen.inputs[0].dtype.name == "uint8"
    before = functions_of(function)
    for count in (6, 1, 5):
        function(pixels[:count])
    assert functions_of(function) == before


def test_each_thread_has_a_function_of_its_own():
    """Kernels of one that two compute are not: see below."""
    both = threading.Barrier(2, timeout=30)
    used = []

    def function(name):
        def compute(images):
            used.append(name)
            if images == "meet":
                both.wait()  # breaks, and raises, if no other is computed meanwhile
            return [name]

        return compute

    functions = OneAtATime([function("first"), function("second")])
    assert [functions("alone") for _ in range(3)] == [["first"]] * 3  # the one that is warm
    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            del used[:]
            list(pool.map(functions, ["meet", "meet"]))
            assert sorted(used) == ["first", "second"]


SUMS = """
import dataclasses, sys
import numpy as np
from bottleneck import backbones, runtimes
from bottleneck.backbones import OutputSpec
from bottleneck.runtimes import tensorflow

backbone = backbones.load("mobilenet_v3_small", weights="none", size=64, backend="tensorflow")
import keras
from keras import layers

keras.utils.set_random_seed(3)
given = keras.Input((64, 64, 3))
x = layers.Conv2D(16, 1)(layers.AveragePooling2D(16)(given))
small = {"kernel_initializer": "random_normal", "bias_initializer": "random_normal"}
for _ in range(100):  # whose sums are fused to their convolutions
    x = layers.ReLU()(layers.Conv2D(16, 1, **small)(x) + x)
x = layers.Conv2D(576, 1)(layers.AveragePooling2D(2)(x))
backbone = dataclasses.replace(backbone, model=keras.Model(given, x))
if sys.argv[1] == "plain":
    tensorflow.MAX_FROZEN_PARAMS = 0
compiled = runtimes.get("tensorflow").compile(backbone, [OutputSpec()], device="cpu")
images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
expected = np.concatenate([compiled(images[i : i + 1])["avg"] for i in range(4)])
assert np.ptp(expected, axis=0).max() > 1e-3
for _ in range(600):
    np.testing.assert_allclose(compiled(images)["avg"], expected, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.parametrize("way", ["frozen", "plain"])
def test_convolutions_with_sums_are_computed_by_several_threads(way):
    """Of one function they end the process: oneDNN's kernel keeps the sum of another thread's."""
    done = subprocess.run(
        [sys.executable, "-c", SUMS, way], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_features_do_not_change_with_the_network_afterwards(backbone, pixels) -> None:
    function = compiled(backbone, OutputSpec())
    before = function(pixels)["avg"]
    kernel = backbone.model.get_layer("conv").kernel
    kept = kernel.numpy()
    kernel.assign(kept * 2)
    try:
        np.testing.assert_array_equal(function(pixels)["avg"], before)
    finally:
        kernel.assign(kept)


def test_large_networks_are_not_frozen_and_compute_the_same(
    backbone, pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = compiled(backbone, OutputSpec(), OutputSpec(LAYER))
    monkeypatch.setattr("bottleneck.runtimes.tensorflow.MAX_FROZEN_PARAMS", 0)
    plain = compiled(backbone, OutputSpec(), OutputSpec(LAYER))
    for name, features in frozen(pixels).items():
        close(plain(pixels)[name], features)
    plain(pixels[:4])
    plain(pixels[:1])
    assert [one.experimental_get_tracing_count() for one in functions_of(plain)] == [1, 1]


def test_says_what_it_is(backbone) -> None:
    import tensorflow as tf

    function = compiled(backbone, OutputSpec(), device="cpu")
    assert (function.runtime, function.version, function.device) == (
        "tensorflow",
        tf.__version__,
        "cpu",
    )
    assert repr(function) == "<CompiledStep tensorflow (64, 64, 3) avg 576, cpu>"


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((2, SIZE, SIZE, 3), np.float32),
        np.zeros((2, SIZE, SIZE - 1, 3), np.uint8),
        np.zeros((SIZE, SIZE, 3), np.uint8),
    ],
)
def test_wrong_batches_are_refused(backbone, batch) -> None:
    with pytest.raises(ValueError, match="expected uint8 images of shape"):
        compiled(backbone, OutputSpec())(batch)


def test_unknown_layer_lists_the_nearest(backbone) -> None:
    with pytest.raises(BackboneError, match="'expanded_conv_3_projekt_bn'") as caught:
        compiled(backbone, OutputSpec("expanded_conv_3_projekt_bn"))
    assert LAYER in (caught.value.hint or "")


def test_outputs_must_differ(backbone) -> None:
    with pytest.raises(BackboneError, match=r"one or more different outputs"):
        compiled(backbone, OutputSpec(), OutputSpec())
    with pytest.raises(BackboneError, match=r"one or more different outputs"):
        compiled(backbone)


def test_options_that_do_not_exist(backbone) -> None:
    with pytest.raises(OptionError, match="got 'int4'"):
        compiled(backbone, OutputSpec(), precision="int4")
    with pytest.raises(OptionError, match="got 'tpu'"):
        compiled(backbone, OutputSpec(), device="tpu")
    with pytest.raises(RuntimeUnavailableError, match="gpu:64"):
        compiled(backbone, OutputSpec(), device="gpu:64")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )


def test_nothing_of_tensorflow_on_stderr() -> None:
    code = (
        "import numpy as np, os\n"
        "from bottleneck import backbones, runtimes\n"
        "spec = backbones.get('efficientnet_lite0')\n"
        "backbone = backbones.load(spec, size=32, backend='tensorflow')\n"
        "compiled = runtimes.get('tensorflow').compile(backbone, [backbones.OutputSpec()])\n"
        "print(compiled(np.zeros((1, 32, 32, 3), np.uint8))['avg'].shape)\n"
        "print(os.environ.get('KERAS_BACKEND'))\n"
    )
    done = run(code, KERAS_BACKEND="jax")  # what the user has set for other things is put back
    assert done.stderr == ""
    assert done.stdout.split("\n")[:2] == ["(1, 1280)", "jax"]


def test_keras_on_another_backend_is_explained() -> None:
    code = (
        "import sys, types\n"
        "keras = types.ModuleType('keras')\n"
        "keras.backend = types.SimpleNamespace(backend=lambda: 'jax')\n"
        "sys.modules['keras'] = keras\n"
        "from bottleneck import backbones, errors\n"
        "try:\n"
        "    backbones.load(backbones.get('vgg16'), weights='none', backend='tensorflow')\n"
        "except errors.RuntimeUnavailableError as error:\n"
        "    print(error)\n"
    )
    said = run(code).stdout
    assert "already imported on the jax backend" in said
    assert "KERAS_BACKEND=tensorflow" in said


@pytest.mark.parametrize(("precision", "least"), [("bfloat16", 0.995), ("float16", 0.9995)])
def test_half_precision_rounds_and_no_more(pixels, precision, least) -> None:
    backbone = backbones.load(backbones.get("efficientnet_lite0"), size=SIZE)
    exact = compiled(backbone, OutputSpec())(pixels)["avg"].astype(np.float64)
    rounded = compiled(backbone, OutputSpec(), precision=precision)(pixels)["avg"]
    assert rounded.dtype == np.float32
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    cosine = (exact * rounded).sum(axis=1) / lengths
    assert (cosine > least).all()
    assert (np.abs(exact - rounded) > 1e-5).any()


def test_a_full_device_is_told_apart_from_other_errors(backbone, pixels) -> None:
    import tensorflow as tf

    function = compiled(backbone, OutputSpec())

    def full(images):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    function._compute = full
    with pytest.raises(DeviceMemoryError, match="not enough memory for 6 images of 64 x 64"):
        function(pixels)


def test_xla_where_it_is_faster_computes_the_same(monkeypatch, tmp_path) -> None:
    """The choice of a GPU, made on the CPU, where XLA exists too."""
    import tensorflow as tf

    from bottleneck.runtimes import tensorflow as runtime

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images = tf.TensorSpec((None, 4, 4, 3), tf.uint8)

    def forward(pixels):
        return (tf.reduce_mean(tf.cast(pixels, tf.float32), (1, 2)),)

    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    for way in ("plain", "xla"):
        monkeypatch.setattr(
            runtime, "faster", lambda ways, way=way, **_: [w() for w in ways.values()] and way
        )
        function, details = runtime._faster_on_gpu(tf, forward, images, "a mean", tf32=False)
        assert details == {"xla": way == "xla"}
        close(function(tf.constant(pixels))[0].numpy(), pixels.mean((1, 2)))
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _, details = runtime._faster_on_gpu(tf, forward, images, "a mean", tf32=False)
    assert details["xla"] in (True, False)
    assert "a mean tensorflow" in (tmp_path / "bottleneck" / "faster.json").read_text()
