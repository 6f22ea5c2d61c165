"""The same weights from every kind of file; everything else refused."""

import random
import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from bottleneck import backbones
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.weights import STDDEV, fingerprint, rescaling_is_needed
from bottleneck.errors import BackboneError, WeightsError

SIZE = 32

# Keras 3.15, when it saves, with NumPy 2.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


def write_legacy(model, path: Path, *, version: str = "2.4.0", listed=lambda name: True) -> Path:
    """Write the older layout, as Keras's published ``_notop.h5`` files have it."""
    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if listed(layer.name)]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        file.attrs["keras_version"] = version.encode()
        file.attrs["backend"] = b"tensorflow"
        for layer in layers:
            group = file.create_group(layer.name)
            variables = layer.trainable_weights + layer.non_trainable_weights
            names = [f"{layer.name}/{i}:0".encode() for i in range(len(variables))]
            group.attrs["weight_names"] = names
            for name, variable in zip(names, variables, strict=True):
                group[name.decode()] = variable.numpy()
    return path


def load(name: str, path: Path, size: int | None = SIZE) -> backbones.Network:
    return backbones.load(backbones.get(name), weights=path, size=size)


def shaken(name: str, size: int = SIZE, **options):
    """Build a Keras model whose every weight is told apart from a fresh one's."""
    with isolated() as keras:
        build = getattr(keras.applications, backbones.get(name).class_name)
        model = build(weights=None, input_shape=(size, size, 3), **options)
    generator = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(weight + generator.uniform(0.0, 0.1, weight.shape).astype(weight.dtype))
    return model


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_tiny"])
def test_every_kind_of_file_gives_the_same(name: str, tmp_path: Path) -> None:
    model = shaken(name, include_top=False)
    model.save_weights(tmp_path / "x.weights.h5")
    model.save(tmp_path / "x.keras")
    write_legacy(model, tmp_path / "x_notop.h5")
    loaded = [load(name, tmp_path / file) for file in ("x.weights.h5", "x.keras", "x_notop.h5")]
    for one in loaded:
        assert one.weights.source.startswith(str(tmp_path))
        for ours, theirs in zip(one.model.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len({one.weights.sha256 for one in loaded}) == 1
    fresh = backbones.load(backbones.get(name), weights="none", size=SIZE)
    assert fresh.weights.sha256 != loaded[0].weights.sha256


def test_heads_are_cut_off(tmp_path: Path) -> None:
    model = shaken("mobilenet_v3_small", include_top=True, classes=7)
    model.save_weights(tmp_path / "x.weights.h5")
    model.save(tmp_path / "x.keras")
    write_legacy(model, tmp_path / "x.h5")
    loaded = [
        load("mobilenet_v3_small", tmp_path / file) for file in ("x.weights.h5", "x.keras", "x.h5")
    ]
    assert len({one.weights.sha256 for one in loaded}) == 1
    kernel = model.get_layer("conv").get_weights()[0]
    np.testing.assert_array_equal(loaded[0].model.get_layer("conv").get_weights()[0], kernel)
    assert loaded[0].model.output_shape == (None, 1, 1, 576)


def test_backbone_inside_a_model(tmp_path: Path) -> None:
    keras = backbones.import_keras()
    base = shaken("mobilenet_v3_small", include_top=False)
    base.save(tmp_path / "base.keras")
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    keras.Sequential([keras.Input((SIZE, SIZE, 3)), base, *head]).save(tmp_path / "all.keras")
    inside = load("mobilenet_v3_small", tmp_path / "all.keras")
    assert inside.weights.sha256 == (
        load("mobilenet_v3_small", tmp_path / "base.keras").weights.sha256
    )
    front = keras.layers.Rescaling(1 / 255)
    keras.Sequential([keras.Input((SIZE, SIZE, 3)), front, base, *head]).save(
        tmp_path / "front.keras"
    )
    with pytest.raises(WeightsError, match=r"front\.keras.*Rescaling come before the backbone"):
        load("mobilenet_v3_small", tmp_path / "front.keras")


def test_archive_that_fixes_its_input(tmp_path: Path) -> None:
    shaken("mobilenet_v3_small", size=48, include_top=False).save(tmp_path / "x.keras")
    assert load("mobilenet_v3_small", tmp_path / "x.keras", size=None).size == 48
    with pytest.raises(WeightsError, match=r"images of 64 pixels.*fixes its input at 48"):
        load("mobilenet_v3_small", tmp_path / "x.keras", size=64)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    small = shaken("mobilenet_v3_small", include_top=False)
    for suffix in (".weights.h5", ".keras"):
        save = small.save if suffix == ".keras" else small.save_weights
        save(tmp_path / f"v3{suffix}")
        with pytest.raises(WeightsError, match=rf"v3\{suffix}: expected .* mobilenet_v2"):
            load("mobilenet_v2", tmp_path / f"v3{suffix}")
    write_legacy(small, tmp_path / "v3_notop.h5")
    with pytest.raises(WeightsError, match=r"v3_notop\.h5: expected .* mobilenet\b.*layers"):
        load("mobilenet", tmp_path / "v3_notop.h5")


def test_deeper_network_is_refused(tmp_path: Path) -> None:
    """Its first layers would fit; Keras alone reads them without a word."""
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        small = shaken("mobilenet_v3_small", include_top=False)
        for index, weight in enumerate(small.weights):
            file[f"layers/a_{index}/vars/0"] = weight.numpy()
        for index in range(20):
            file[f"layers/more_{index}/vars/0"] = np.zeros((3, 3, 576, 576), np.float32)
    with pytest.raises(WeightsError, match="20 tensors too many: a deeper network"):
        load("mobilenet_v3_small", tmp_path / "x.weights.h5")


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    model = shaken("mobilenet_v3_small", include_top=False)
    model.save_weights(tmp_path / "x.weights.h5")
    model.save(tmp_path / "x.keras")
    for name in ("x.weights.h5", "x.keras"):
        data = (tmp_path / name).read_bytes()
        for length in (0, 100, len(data) // 2):
            cut = tmp_path / f"cut_{name}"
            cut.write_bytes(data[:length])
            with pytest.raises(WeightsError, match=f"cut_{name}: expected"):
                load("mobilenet_v3_small", cut)
    with pytest.raises(WeightsError, match=r"nowhere\.h5.*no such file"):
        load("mobilenet_v3_small", tmp_path / "nowhere.h5")
    (tmp_path / "text.h5").write_text("not a file of weights")
    with pytest.raises(WeightsError, match=r"text\.h5: expected .* neither HDF5"):
        load("mobilenet_v3_small", tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features"] = np.zeros(3)
    with pytest.raises(WeightsError, match="that Keras did not write"):
        load("mobilenet_v3_small", tmp_path / "other.h5")


def test_archive_with_code_is_refused(tmp_path: Path) -> None:
    keras = backbones.import_keras()
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(WeightsError, match=r"lambda\.keras.*cannot open"):
        load("mobilenet_v3_small", tmp_path / "lambda.keras")


def test_random_weights_are_reproducible_and_leave_no_trace() -> None:
    spec = backbones.get("mobilenet_v3_small")
    keras = backbones.import_keras()
    random.seed(7)
    before = random.getstate(), np.random.get_state()[1].copy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        first = backbones.load(spec, weights="none", size=SIZE)
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    keras.layers.Activation("relu")  # moves Keras's numbering of layers on
    random.seed(8)
    second = backbones.load(spec, weights="none", size=SIZE)
    assert first.weights == second.weights
    assert first.layers == second.layers
    assert first.model.dtype == "float32"


def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    backbones.import_keras()
    from keras.src.utils import file_utils

    def offline(fname, *args, **options):
        print("Downloading data")
        raise Exception(f"URL fetch failure on {fname}: Name or service not known")

    monkeypatch.setattr(file_utils, "get_file", offline)
    with pytest.raises(WeightsError, match=r"resnet50: .*URL fetch failure") as caught:
        backbones.load(backbones.get("resnet50"), size=SIZE)
    hint = caught.value.hint or ""
    assert "--weights PATH" in hint
    assert str(backbones.cache_folder()) in hint
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in hint
    assert "efficientnet_lite0" in hint
    assert capsys.readouterr().out == ""


def test_bundled_where_nothing_is() -> None:
    with pytest.raises(WeightsError, match="vgg16: no package carries its weights") as caught:
        backbones.load(backbones.get("vgg16"), weights="bundled")
    assert "efficientnet_lite0" in (caught.value.hint or "")


def test_too_small_images() -> None:
    with pytest.raises(BackboneError, match=r"inception_v3: expected .* 75 pixels .*got 74"):
        backbones.load(backbones.get("inception_v3"), weights="none", size=74)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """Files as Keras publishes and saves them, and the network they belong to.

    The published file holds standard deviations in the variance slot and no trace of the
    layer; Keras itself makes the network from it, its download replaced by a copy.
    """
    folder = tmp_path_factory.mktemp("efficientnet")
    plain = shaken("efficientnet_b0", include_top=False)
    plain.get_layer("normalization").set_weights(
        [np.float32([0.485, 0.456, 0.406]), np.float32(STDDEV), np.int32(0)]
    )
    plain.get_layer("normalization").finalize_state()
    published = write_legacy(plain, folder / "efficientnetb0_notop.h5")
    with isolated() as keras, pytest.MonkeyPatch.context() as patch:
        from keras.src.utils import file_utils

        patch.setattr(file_utils, "get_file", lambda *args, **options: str(published))
        imagenet = keras.applications.EfficientNetB0(
            weights="imagenet", include_top=False, input_shape=(SIZE, SIZE, 3)
        )
        ours = backbones.load(backbones.get("efficientnet_b0"), weights="imagenet", size=SIZE)
    for name, model in {"imagenet": imagenet, "plain": plain}.items():
        model.save_weights(folder / f"{name}.weights.h5")
        model.save(folder / f"{name}.keras")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(folder / f"{name}.h5")
    return folder, imagenet, plain, ours


class TestEfficientNetRescaling:
    """Keras's ImageNet EfficientNets have a layer that the others lack."""

    @pytest.mark.parametrize(
        "file", ["efficientnetb0_notop.h5", "imagenet.weights.h5", "imagenet.keras", "imagenet.h5"]
    )
    def test_restored(self, made, file: str, images) -> None:
        folder, imagenet, _, ours = made
        loaded = load("efficientnet_b0", folder / file)
        pixels = images(2, SIZE).astype(np.float32)
        np.testing.assert_allclose(
            loaded.model(pixels).numpy(), imagenet(pixels).numpy(), rtol=1e-5, atol=1e-6
        )
        keras = backbones.import_keras()
        inner = loaded.model.get_layer("block2a_activation").output
        np.testing.assert_allclose(
            keras.Model(loaded.model.input, inner)(pixels).numpy(),
            keras.Model(imagenet.input, imagenet.get_layer("block2a_activation").output)(
                pixels
            ).numpy(),
            rtol=1e-5,
            atol=1e-6,
        )
        assert loaded.weights.sha256 == ours.weights.sha256
        assert loaded.layers == ours.layers

    @pytest.mark.parametrize("file", ["plain.weights.h5", "plain.keras", "plain.h5"])
    def test_a_network_saved_without_it_stays_without(self, made, file: str, images) -> None:
        folder, imagenet, plain, ours = made
        loaded = load("efficientnet_b0", folder / file)
        pixels = images(2, SIZE).astype(np.float32)
        expected = plain(pixels).numpy()
        np.testing.assert_allclose(loaded.model(pixels).numpy(), expected, rtol=1e-5, atol=1e-6)
        assert np.abs(expected - imagenet(pixels).numpy()).max() > 1e-3  # the trap is real
        assert loaded.weights.sha256 != ours.weights.sha256

    def test_name_of_the_file_does_not_matter(self, made, tmp_path: Path) -> None:
        folder, _, _, ours = made
        copy = tmp_path / "mine.weights.h5"
        shutil.copy(folder / "efficientnetb0_notop.h5", copy)
        assert load("efficientnet_b0", copy).weights.sha256 == ours.weights.sha256

    def test_decision(self) -> None:
        variances = np.square(STDDEV)
        assert rescaling_is_needed(STDDEV, None)
        assert rescaling_is_needed(STDDEV, 2)
        assert not rescaling_is_needed(STDDEV, 1)
        assert not rescaling_is_needed(variances, None)
        assert not rescaling_is_needed(np.ones(3), None)


def test_a_counters_width_is_no_weight() -> None:
    """EfficientNet counts in 64 bits on TensorFlow and in 32 on JAX; its weights are the same."""
    from types import SimpleNamespace

    def network(counter):
        weights = [np.ones((2, 3), np.float32), np.array(7, counter)]
        return SimpleNamespace(layers=[SimpleNamespace(name="a", get_weights=lambda: weights)])

    assert fingerprint(network(np.int32)) == fingerprint(network(np.int64))
    assert fingerprint(network(np.int32)) != fingerprint(network(np.float32))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v3_small", "resnet50_v02"])
def test_rectangles(name: str) -> None:
    """The same weights at any size; each map is as large as its sides make it."""
    spec = backbones.get(name)
    square = backbones.load(spec, weights="none", size=96)
    wide = backbones.load(spec, weights="none", size=(96, 160))
    assert wide.size == (96, 160)
    assert wide.weights.sha256 == square.weights.sha256
    shape = wide.shape(None)
    assert (shape.height, shape.width, shape.channels) == (3, 5, spec.dim)
    with pytest.raises(BackboneError, match="at least 32 pixels a side"):
        backbones.load(spec, weights="none", size=(96, 31))


def test_partial_weights_say_what_is_random(tmp_path: Path) -> None:
    """A file without the last layers, and one of another shape: named, drawn, in the identity."""
    spec = backbones.get("vgg16")
    drawn = backbones.load(spec, weights="none", size=32)
    rng = np.random.default_rng(3)
    arrays = {}
    for layer in drawn.model.layers:
        if layer.weights and not layer.name.startswith("block5"):
            for role, value in zip(("kernel", "bias"), layer.get_weights(), strict=True):
                arrays[f"{layer.name}/{role}"] = rng.normal(size=value.shape).astype(np.float32)
    arrays["block4_conv3/kernel"] = np.ones((3, 3, 5, 5), np.float32)
    arrays["head/kernel"] = np.ones((3, 4), np.float32)
    path = tmp_path / "some.npz"
    np.savez(path, **arrays)
    with pytest.raises(WeightsError):
        backbones.load(spec, weights=path, size=32)
    found = backbones.load(spec, weights=f"partial:{path}", size=32)
    random = ["block4_conv3", "block5_conv1", "block5_conv2", "block5_conv3"]
    assert found.details["partial"]["random"] == random
    assert found.details["partial"]["left_over"] == ["block4_conv3", "head"]
    assert len(found.details["partial"]["filled"]) == 9
    assert found.facts == {"random": random}
    assert not found.tested
    for layer, before in zip(found.model.layers, drawn.model.layers, strict=True):
        for role, now, was in zip(
            ("kernel", "bias"), layer.get_weights(), before.get_weights(), strict=False
        ):
            expected = was if layer.name in random else arrays[f"{layer.name}/{role}"]
            np.testing.assert_array_equal(now, expected)
    again = backbones.load(spec, weights=found.weights.source, size=32)
    assert again.weights == found.weights
    with pytest.raises(WeightsError, match="no layer whose name and shapes agree"):
        backbones.load("resnet50", weights=f"partial:{path}", size=32)
    with pytest.raises(WeightsError, match="may lack some, got none"):
        backbones.load(spec, weights="partial:none", size=32)
