"""Presets of KerasHub: equal to its own forward, from photographs, preprocessing included."""

import io
import json

import numpy as np
import pytest
from hub_presets import MODELS, SIZE, image_features, save
from PIL import Image
from sklearn.datasets import load_sample_images

from bottleneck import backbones
from bottleneck.backbones.network import OutputSpec, Tokens
from bottleneck.errors import BackboneError, OptionError, WeightsError
from bottleneck.extraction import build_embedder
from bottleneck.images import Geometry, decode

keras_hub = pytest.importorskip("keras_hub", reason="the extra `keras_hub` is missing")

# Keras's and KerasHub's own, where they save and load variables.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def photographs():
    """Parts of real photographs, in several shapes: their pixels, and files of them."""
    china, flower = load_sample_images().images
    pixels = [china, flower, china[:300, 100:400], flower[20:420, :250], flower[5:200, 30:500]]
    files = []
    for one in pixels:
        file = io.BytesIO()
        Image.fromarray(one).save(file, "png")
        files.append(file.getvalue())
    return pixels, files


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    made = {}

    def write(name, **converter):
        key = (name, json.dumps(converter))
        if key not in made:
            folder = tmp_path_factory.mktemp("presets") / name.lower()
            made[key] = (folder, *save(keras_hub, name, folder, **converter))
        return made[key]

    return write


def ours(embedder, files):
    pixels = np.stack([decode(file, embedder.input) for file in files])
    (features,) = embedder.network(pixels).values()
    return features


def theirs(backbone, converter, pixels):
    batch = np.stack([np.asarray(converter(one[None].astype(np.float32)))[0] for one in pixels])
    return image_features(backbone, batch)


def prepared(geometry, converter, files):
    """Decode to our pixels, which a test below compares with theirs, and scale as they do."""
    pixels = np.stack([decode(file, geometry) for file in files])
    return pixels * np.float32(converter.scale) + np.float32(converter.offset)


@pytest.mark.parametrize("name", MODELS)
def test_features_are_those_of_keras_hub(name, preset, photographs):
    pixels, files = photographs
    folder, backbone, converter = preset(name)
    expected = theirs(backbone, converter, pixels)
    pool = {2: "own", 3: "tokens", 4: "none"}[expected.ndim]
    embedder = build_embedder(
        backbone=f"keras_hub:{folder}", runtime="tensorflow", pool=pool,
        size=SIZE if name == "ResNet" else None,
    )  # fmt: skip
    found = ours(embedder, files)
    expected = expected.reshape(len(expected), -1)
    assert found.shape == expected.shape
    # Eight-bit pixels are within half a 255th of theirs, which are not rounded.
    assert np.abs(found - expected).max() < 2e-2 * np.abs(expected).max()
    exact = image_features(backbone, prepared(embedder.input, converter, files))
    exact = exact.reshape(len(files), -1)
    assert np.abs(found - exact).max() < 1e-4 * np.abs(exact).max()
    assert embedder.recipe.identity["backbone"] == f"keras_hub:{name.lower()}"
    assert embedder.recipe.identity["network"]["library"] == "keras_hub"


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("crop", [False, True])
def test_pixels_are_those_of_its_converter(preset, photographs, antialias, crop):
    pixels, files = photographs
    folder, _, converter = preset("ViT", antialias=antialias, crop_to_aspect_ratio=crop)
    network = backbones.load(f"keras_hub:{folder}", backend="tensorflow")
    geometry = network.spec.input(network.size)
    for one, file in zip(pixels, files, strict=True):
        expected = np.asarray(converter.resizing(one[None].astype(np.float32)))[0]
        assert np.abs(decode(file, geometry) - expected).max() <= 1.01
    assert network.spec.preprocess.scale == pytest.approx(converter.scale)
    assert network.spec.preprocess.offset == pytest.approx(converter.offset)
    assert Geometry.from_recipe(json.loads(json.dumps(geometry.recipe()))) == geometry


@pytest.mark.parametrize(("name", "prefix"), [("ViT", 1), ("DeiT", 2), ("DINOV2", 4), ("CLIP", 1)])
def test_tokens_before_the_patches_are_known(preset, name, prefix):
    folder, *_ = preset(name)
    network = backbones.load(f"keras_hub:{folder}", backend="tensorflow")
    assert network.shape("output") == Tokens(16 + prefix, 24, prefix)


def test_last4_joins_class_tokens_of_four_blocks_and_the_mean_patch(preset, photographs):
    import keras

    _, files = photographs
    folder, backbone, converter = preset("DINOV2")
    embedder = build_embedder(backbone=f"keras_hub:{folder}", runtime="tensorflow", pool="last4")
    found = ours(embedder, files)
    stages = [backbone.pyramid_outputs[f"stage{i}"] for i in range(1, 5)]
    whole = keras.Model(backbone.inputs[0], stages)
    batch = prepared(embedder.input, converter, files)
    blocks = [np.asarray(backbone.layernorm(one)) for one in whole(batch)]
    expected = np.concatenate(
        [*(one[:, 0] for one in blocks), blocks[-1][:, 4:].mean(axis=1)], axis=1
    )
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_weights_are_the_same_when_they_are_loaded_again(preset):
    folder, *_ = preset("ViT")
    name = f"keras_hub:{folder}"
    first, again = (backbones.load(name, backend="tensorflow") for _ in range(2))
    random = [backbones.load(name, weights="none", backend="tensorflow") for _ in range(2)]
    assert first.weights.sha256 == again.weights.sha256 != random[0].weights.sha256
    assert random[0].weights.sha256 == random[1].weights.sha256
    assert first.weights.source == str(folder)
    moved = backbones.load("keras_hub:vit", weights=folder, backend="tensorflow")
    assert (moved.spec.name, moved.weights.sha256) == ("keras_hub:vit", first.weights.sha256)


def test_what_has_no_equal_is_refused_unless_somebody_says_it(preset):
    folder, *_ = preset("ViT", interpolation="bicubic", antialias=True)
    with pytest.raises(BackboneError, match="expected a bilinear resize, got bicubic"):
        backbones.load(f"keras_hub:{folder}", backend="tensorflow")
    said = backbones.DeclaredInput.parse("interpolation=bicubic")
    network = backbones.load(f"keras_hub:{folder}", declared=said, backend="tensorflow")
    assert network.spec.interpolation == "bicubic"
    padded, *_ = preset("ViT", crop_to_aspect_ratio=False, pad_to_aspect_ratio=True)
    with pytest.raises(BackboneError, match="padded"):
        backbones.load(f"keras_hub:{padded}", backend="tensorflow")


def test_a_preset_without_a_converter_wants_its_preprocessing(preset, tmp_path):
    _, backbone, _ = preset("ViT")
    backbone.save_to_preset(str(tmp_path / "bare"))
    with pytest.raises(OptionError, match="expected its preprocessing"):
        backbones.load(f"keras_hub:{tmp_path / 'bare'}", backend="tensorflow")
    said = backbones.DeclaredInput.parse("torch")
    network = backbones.load(f"keras_hub:{tmp_path / 'bare'}", declared=said, backend="tensorflow")
    assert network.spec.preprocess.name == "torch"


def test_without_a_network_the_error_says_what_to_put_where(monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("keras_hub.src.utils.preset_utils.kagglehub.model_download", offline)
    with pytest.raises(WeightsError, match="a network to download it, got: no route") as error:
        backbones.load("keras_hub:dinov2_small", backend="tensorflow")
    assert "save_to_preset" in error.value.hint
    with pytest.raises(WeightsError, match="the name of a preset of KerasHub"):
        backbones.load("keras_hub:dinov2_smal", backend="tensorflow")


def test_a_size_it_cannot_have_is_refused(preset):
    folder, *_ = preset("ViT")
    with pytest.raises(WeightsError, match="expected a preset") as error:
        backbones.load(f"keras_hub:{folder}", size=70, backend="tensorflow")
    assert "--size" in error.value.hint


def test_layers_are_listed_with_their_shapes(preset):
    from bottleneck import api

    folder, *_ = preset("DINOV2")
    rows = {one.layer: one for one in api.backbones(f"keras_hub:{folder}", layers=True)}
    assert (rows["output"].tokens, rows["output"].channels) == (20, 24)
    assert {"stage1", "stage4", "last4"} <= set(rows)


def test_outputs_of_a_pool(preset):
    folder, *_ = preset("DINOV2")
    network = backbones.load(f"keras_hub:{folder}", backend="tensorflow")
    taken = network.taken([OutputSpec(None, None), OutputSpec(None, "avg"), OutputSpec("stage2")])
    assert [output.pool for output, _ in taken] == ["cls", "avg", "avg"]


def test_it_is_admitted_with_the_pixels_of_its_converter_and_the_model_as_it_is(
    preset, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, *_ = preset("ViT")
    embedder = build_embedder(backbone=f"keras_hub:{folder}", runtime="tensorflow")
    found = embedder.recipe.execution["network"]["admission"]
    assert found["reference"] == "keras"
    assert found["cosine"] > 0.9999
    assert 0 < found["pixels"] <= 1.01
