"""Networks of TF-slim and of early Keras; oracles are tf_slim's and Keras 1's own code."""

import os
import subprocess
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
from downloads import CACHE, fetched

from bottleneck import backbones
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.weights import fingerprint
from bottleneck.errors import WeightsError

OWN = [spec for spec in backbones.all_backbones() if spec.provider in {"slim", "early_keras"}]


def outline(spec: backbones.BackboneSpec, size: int):
    """Build a network without giving its variables values."""
    with isolated() as keras:
        from keras.src.backend.common import global_state
        from keras.src.backend.common.stateless_scope import StatelessScope

        from bottleneck.backbones.builders import build

        with StatelessScope():
            try:
                return build(keras, spec, size, random=False)
            finally:
                global_state.set_global_attribute("uninitialized_variables", [])


DEEP = ("101", "152")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(s, marks=pytest.mark.heavy if s.name.endswith(DEEP) else (), id=s.name)
        for s in OWN
    ],
)
def test_row_is_what_is_built(spec: backbones.BackboneSpec) -> None:
    model = outline(spec, spec.input_size)
    assert model.count_params() == spec.params
    assert model.output.shape[-1] == spec.dim
    assert outline(spec, spec.min_size).output.shape[-1] == spec.dim


def test_inception_v4_has_the_parameters_that_are_published() -> None:
    """42,679,816 with 1000 classes and a scale per channel, which slim leaves out."""
    model = outline(backbones.get("slim_inception_v4"), 299)
    channels = sum(
        layer.beta.shape[0]
        for layer in model.layers
        if type(layer).__name__ == "BatchNormalization"
    )
    # Ours has a mean and a variance besides the shift; the published figure a scale.
    head = (1536 + 1) * 1000
    assert model.count_params() - 3 * channels + 2 * channels + head == 42_679_816


def test_slim_s_preprocessing_is_in_the_row() -> None:
    for name, size, mean, rule in (
        ("slim_vgg_16", 224, True, "crop"),
        ("slim_resnet_v1_50", 224, True, "crop"),
        ("slim_resnet_v2_50", 299, False, "squash"),
        ("slim_inception_v4", 299, False, "squash"),
        ("slim_mobilenet_v1", 224, False, "squash"),
    ):
        spec = backbones.get(name)
        assert (spec.input_size, spec.resize, spec.crop_ratio) == (size, rule, 0.875)
        assert spec.interpolation == "bilinear"
        pixel = np.array([10.0, 20.0, 30.0])
        made = pixel * spec.preprocess.scale + spec.preprocess.offset
        expected = pixel - (123.68, 116.78, 103.94) if mean else pixel / 127.5 - 1
        assert spec.preprocess.channels == "rgb"
        np.testing.assert_allclose(made, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["slim_resnet_v1_50", "inception_v3_v02"])
def test_weights_that_nobody_offers_have_to_be_brought(name: str) -> None:
    with pytest.raises(WeightsError, match="expected a file of its weights"):
        backbones.load(name)
    assert backbones.weights_at_hand(backbones.get(name)) == "file"


def slim_names_of_mobilenet_v2() -> dict[str, str]:
    """From Keras's layers to the scopes that ``mobilenet_v2.py`` and ``conv_blocks.py`` make."""
    scopes = {"Conv1": "Conv", "bn_Conv1": "Conv/BatchNorm", "Conv_1": "Conv_1"}
    scopes["Conv_1_bn"] = "Conv_1/BatchNorm"
    for block in range(17):
        ours, theirs = (
            (f"block_{block}", f"expanded_conv_{block}") if block else ("expanded_conv",) * 2
        )
        for part in ("expand", "depthwise", "project"):
            scopes[f"{ours}_{part}"] = f"{theirs}/{part}"
            scopes[f"{ours}_{part}_BN"] = f"{theirs}/{part}/BatchNorm"
    return scopes


def test_mobilenet_v2_under_slim_s_names(tmp_path: Path) -> None:
    """A narrow one; the file says how narrow, and its averages are what evaluation takes."""
    import tensorflow as tf

    model = backbones.load("mobilenet_v2_0.35", weights="none", size=32).model
    scopes, tensors = slim_names_of_mobilenet_v2(), {}
    for layer in model.layers:
        for variable in layer.weights:
            kernel = "depthwise_weights" if "depthwise" in layer.name else "weights"
            role = kernel if variable.name == "kernel" else variable.name
            name = f"MobilenetV2/{scopes[layer.name]}/{role}"
            tensors[name] = np.zeros(variable.shape, np.float32)
            tensors[f"{name}/ExponentialMovingAverage"] = variable.numpy()
    tensors["MobilenetV2/Logits/Conv2d_1c_1x1/weights"] = np.ones((1, 1, 1280, 1001), np.float32)
    path = tmp_path / "mobilenet_v2_0.35_224.ckpt"
    names = list(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(tensors[name]) for name in names],
    )
    for name in ("slim_mobilenet_v2", "mobilenet_v2"):
        loaded = backbones.load(name, weights=path, size=32)
        assert loaded.spec.name == f"{name}_0.35"
        assert loaded.weights.sha256 == fingerprint(model)
    fits = backbones.inspect_weights(path).fits
    assert [(fit.backbone, fit.left_over) for fit in fits] == [
        (f"{name}_0.35", ("MobilenetV2/Logits/Conv2d_1c_1x1",))
        for name in ("slim_mobilenet_v2", "mobilenet_v2")
    ]
    with pytest.raises(WeightsError, match="use -b slim_mobilenet_v2"):
        backbones.load("resnet50", weights=path, size=32)


class TestEarlyResNet:
    def test_is_keras_s_with_another_epsilon_and_no_pad_before_the_pool(self) -> None:
        spec = backbones.get("resnet50_v02")
        ours = backbones.load(spec, weights="none", size=64).model
        with isolated() as keras:
            theirs = keras.applications.ResNet50(
                weights=None, include_top=False, input_shape=(64, 64, 3)
            )
            config = theirs.get_config()
            for layer in config["layers"]:
                if layer["class_name"] == "BatchNormalization":
                    layer["config"]["epsilon"] = 1e-3
                if layer["config"]["name"] == "pool1_pad":
                    layer["config"]["padding"] = ((0, 0), (0, 0))
            theirs = keras.Model.from_config(config)
        generator = np.random.default_rng(0)
        for variable in ours.variables:
            low = 0.5 if variable.name in {"gamma", "moving_variance"} else -0.1
            variable.assign(generator.uniform(low, low + 0.2, variable.shape))
        branches = {"1": 0, "2a": 1, "2b": 2, "2c": 3}
        for layer in ours.layers:
            if not layer.weights:
                continue
            kind = "bn" if layer.name.startswith("bn") else "conv"
            if layer.name in {"conv1", "bn_conv1"}:
                name = f"conv1_{kind}"
            else:
                place, _, branch = (
                    layer.name.removeprefix("bn").removeprefix("res").partition("_branch")
                )
                block = ord(place[1]) - ord("a") + 1
                name = f"conv{place[0]}_block{block}_{branches[branch]}_{kind}"
            theirs.get_layer(name).set_weights(layer.get_weights())
        images = generator.normal(0, 50, (2, 64, 64, 3)).astype(np.float32)
        expected = theirs(images).numpy()
        np.testing.assert_allclose(
            ours(images).numpy(), expected, rtol=0, atol=1e-6 * np.abs(expected).max()
        )


def installed() -> Path:
    """Return a folder with tf_slim and what it needs, downloaded where it is not there yet."""
    folder = CACHE / "tf_slim-1.1.0"
    if (folder / "tf_slim").is_dir() and (folder / "tf_keras").is_dir():
        return folder
    import tensorflow as tf

    release = ".".join(tf.__version__.split(".")[:2])
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    command += ["tf_slim==1.1.0", f"tf_keras=={release}.*"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=240, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("tf_slim cannot be downloaded in time")
    if done.returncode:
        pytest.skip(f"tf_slim cannot be installed: {done.stderr[-200:]!r}")
    return folder


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "size", "tolerance"),
    [
        ("vgg_16", 224, 0.0),
        ("inception_v1", 224, 1e-5),
        ("inception_v2", 224, 1e-5),
        ("inception_v3", 299, 1e-5),
        ("resnet_v1_50", 224, 1e-5),
        ("resnet_v2_50", 299, 1e-5),
    ],
)
def test_checkpoints_that_tf_slim_wrote(
    name: str, size: int, tolerance: float, tmp_path: Path
) -> None:
    """Features relative to the largest of them; V1 by file, V2 by prefix and from an archive."""
    oracle = Path(__file__).with_name("slim_oracle.py")
    subprocess.run(
        [sys.executable, str(oracle), name, str(size), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(installed()), "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
        capture_output=True,
        timeout=300,
    )
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", compresslevel=1) as archive:
        for file in (tmp_path / "v2").glob(f"{name}.ckpt.*"):
            archive.add(file, file.name)
    files = (
        tmp_path / "v1" / f"{name}.ckpt",
        tmp_path / "v2" / f"{name}.ckpt",
        tmp_path / "x.tar.gz",
    )
    loaded = [backbones.load(f"slim_{name}", weights=file, size=size) for file in files]
    assert len({one.weights.sha256 for one in loaded}) == 1
    data = np.load(tmp_path / f"{name}.npz")
    ours = loaded[0].model(data["images"]).numpy()
    scale = np.abs(data["features"]).max()
    np.testing.assert_allclose(ours, data["features"], rtol=0, atol=tolerance * scale)
    if name == "inception_v3":  # not Keras's: the error says whose it is
        with pytest.raises(WeightsError, match="use -b slim_inception_v3"):
            backbones.load("resnet50", weights=files[0])


class Keras1:
    """What the networks of Keras 1 are written with, on today's Keras."""

    def __init__(self, keras) -> None:
        layers = keras.layers

        def convolution(filters, rows, columns, subsample=(1, 1), border_mode="valid", **more):
            return layers.Conv2D(filters, (rows, columns), subsample, padding=border_mode, **more)

        def pool(kind):
            def made(size, strides=None, border_mode="valid", **more):
                return kind(size, strides or size, padding=border_mode, **more)

            return made

        def merge(tensors, mode, concat_axis=-1, name=None):
            if mode == "sum":
                return layers.Add(name=name)(tensors)
            return layers.Concatenate(axis=concat_axis, name=name)(tensors)

        self.names = {
            "Convolution2D": convolution,
            "MaxPooling2D": pool(layers.MaxPooling2D),
            "AveragePooling2D": pool(layers.AveragePooling2D),
            "merge": merge,
            "BatchNormalization": layers.BatchNormalization,
            **{
                name: getattr(layers, name)
                for name in ("Activation", "Dense", "Flatten", "Input", "ZeroPadding2D")
            },
        }

    def run(self, source: str, keras):
        """Execute a file of ``keras/applications`` without its imports."""
        backend = types.SimpleNamespace(image_dim_ordering=lambda: "tf", backend=lambda: "tf")
        names = {
            **self.names,
            "K": backend,
            "Model": keras.Model,
            "_obtain_input_shape": lambda shape, **_: shape,
        }
        lines = [line for line in source.splitlines() if not line.startswith(("from ", "import "))]
        exec("\n".join(lines), names)
        return names


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("file", "function", "name", "size"),
    [
        ("inception_v3", "InceptionV3", "inception_v3_v02", 299),
        ("resnet50", "ResNet50", "resnet50_v02", 224),
    ],
)
def test_networks_that_keras_1_builds(file, function, name, size, tmp_path: Path) -> None:
    """Keras 1.2.2's own file, run on today's layers; its weights in the layout that it wrote."""
    from keras_layouts import write_keras_1

    source = fetched("Keras", "1.2.2", f"keras/applications/{file}.py").read_text()
    with isolated() as keras:
        theirs = Keras1(keras).run(source, keras)[function](
            include_top=False, weights=None, input_shape=(size, size, 3)
        )
        last = "mixed10" if file == "inception_v3" else theirs.layers[-2].name
        theirs = keras.Model(theirs.input, theirs.get_layer(last).output)
    generator = np.random.default_rng(0)
    for variable in theirs.variables:
        if variable.name in {"gamma", "moving_variance"}:
            value = generator.uniform(0.5, 1.5, variable.shape)
        else:
            deep = len(variable.shape) == 4
            spread = np.sqrt(2 / np.prod(variable.shape[:-1])) if deep else 0.1
            value = generator.normal(0, spread, variable.shape)
        variable.assign(value)
    path = write_keras_1(theirs, tmp_path / "x.h5", ordering="th", theano=True)
    loaded = backbones.load(name, weights=path, size=size)
    images = generator.normal(0, 50, (2, size, size, 3)).astype(np.float32)
    expected = theirs(images).numpy()
    np.testing.assert_allclose(
        loaded.model(images).numpy(), expected, rtol=0, atol=2e-6 * np.abs(expected).max()
    )
