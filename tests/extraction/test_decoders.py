"""The decoder is part of what features are: in the recipe, when resuming, merging, predicting."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import MeanBackbone, fake_recipe

from bottleneck import merge, predict, train
from bottleneck.errors import OptionError, RecipeMismatchError, RuntimeUnavailableError
from bottleneck.extraction import Embedder, build_embedder, rebuild_embedder
from bottleneck.images import Geometry, decoder_name, require_decoder
from bottleneck.images.decoders import registry
from bottleneck.images.decoders.registry import DECODERS, NAMES
from bottleneck.store import FeatureStore

OTHERS = [name for name in NAMES if name != "pillow"]


def embedder(decoder, size=16):
    """The NumPy backbone, with the recipe that images of a decoder have."""
    given = Geometry(size, decoder=decoder)
    identity = {"image": given.recipe(), "outputs": {}, "views": None, "weights_sha256": "0"}
    execution = {"decoder": decoder_name(decoder), "weights": "none"}
    recipe = fake_recipe({"backbone": "resnet50", **identity}, execution)
    return Embedder(recipe, given, MeanBackbone())


@pytest.fixture(autouse=True)
def no_library(monkeypatch):
    """No image here is a JPEG, so nothing is asked of a decoder."""
    from bottleneck.decode import handed

    idle = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(handed, "open_drawer", lambda name, device: idle)


def test_pillow_leaves_no_trace_in_the_recipe():
    assert "decoder" not in Geometry(224).recipe()
    assert Geometry.from_recipe(Geometry(224).recipe()).decoder == "pillow"


@pytest.mark.parametrize("name", OTHERS)
def test_another_decoder_is_another_identity(name):
    given = Geometry(224, decoder=name)
    recipe = given.recipe()
    assert Geometry.from_recipe(recipe) == given
    about = recipe.pop("decoder")
    assert recipe == Geometry(224).recipe()
    assert about["name"] == name
    assert about["jpeg"] == DECODERS[name].jpeg
    assert about["resize"] == "torch, antialias, 8 bits between columns and rows"
    assert decoder_name(name).endswith(decoder_name())


def test_no_two_decoders_are_alike():
    assert len({str(Geometry(224, decoder=name).recipe()) for name in NAMES}) == len(NAMES)


def test_a_decoder_that_is_none_is_refused():
    with pytest.raises(OptionError, match="expected a decoder of pillow, .* received 'jpegtran'"):
        Geometry(224, decoder="jpegtran")


@pytest.mark.parametrize(
    "geometry",
    [{"interpolation": "lanczos"}, {"interpolation": "nearest"}, {"antialias": False}],
)
def test_filters_that_are_pillows_alone_are_refused(geometry):
    Geometry(224, **geometry)
    with pytest.raises(OptionError, match="bilinear or bicubic") as error:
        Geometry(224, decoder="torchvision", **geometry)
    assert "--decoder pillow" in str(error.value.hint)


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_two_decoders_do_not_mix(photos, run, tmp_path, name):
    first, other = tmp_path / "first.h5", tmp_path / "other.h5"
    run(photos, first, embedder("pillow"), limit=4)
    with pytest.raises(RecipeMismatchError) as error:
        run(photos, first, embedder(name))
    assert "image.decoder" in error.value.message
    assert name in error.value.message
    assert f"pillow ({first})" in error.value.message
    assert FeatureStore.open(first).done.sum() == 4
    assert run(photos, other, embedder(name), limit=4).ok == 4
    assert run(photos, other, embedder(name)).ok == 8  # the rest
    with pytest.raises(RecipeMismatchError):
        run(photos, other, embedder("pillow"))
    run(photos, first, embedder("pillow"))
    with pytest.raises(RecipeMismatchError, match=r"image\.decoder"):
        merge([first, other], tmp_path / "both.h5")


def test_the_same_pixels_give_the_same_features(photos, run, tmp_path):
    """None of these is a JPEG: all of them are decoded as ever."""
    one = run(photos, tmp_path / "a.h5", embedder("pillow")).output
    two = run(photos, tmp_path / "b.h5", embedder("nvjpeg")).output
    ours, theirs = (FeatureStore.open(path).features("mean")[:] for path in (one, two))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", OTHERS)
def test_predict_is_refused_where_the_decoder_cannot_be_had(
    photos, run, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(registry, "_is_there", lambda module: False)
    file = run(photos, embedder=embedder(name)).output
    head = tmp_path / "x.head"
    train(file, head, feature="mean", C=1.0, cv=2)
    with pytest.raises(RuntimeUnavailableError) as error:
        predict(head, photos)
    assert error.value.exit_code == 1
    assert f"is of images that {name} has decoded" in error.value.message
    assert "is not installed" in error.value.message
    assert f"bottleneck-features[{DECODERS[name].extra}]" in error.value.hint


def test_extract_is_refused_before_a_network_is_loaded(monkeypatch):
    monkeypatch.setattr(registry, "_is_there", lambda module: False)
    with pytest.raises(RuntimeUnavailableError, match="expected the decoder nvimgcodec"):
        build_embedder(backbone="resnet50", decoder="nvimgcodec")
    recipe = embedder("nvimgcodec").recipe
    with pytest.raises(RuntimeUnavailableError, match="x.head is of images that nvimgcodec"):
        rebuild_embedder(recipe, owner="x.head")


def test_what_a_library_says_of_itself_is_told(monkeypatch):
    monkeypatch.setattr(registry, "_is_there", lambda module: True)
    broken = SimpleNamespace(missing=lambda: "it was built without libjpeg")
    monkeypatch.setattr(registry, "opener", lambda name: broken)
    with pytest.raises(RuntimeUnavailableError, match="built without libjpeg"):
        require_decoder("torchvision")


def test_pillow_is_always_there(monkeypatch):
    monkeypatch.setattr(registry, "_is_there", lambda module: False)
    require_decoder("pillow")


def test_views_and_sounds_are_pillows(monkeypatch):
    monkeypatch.setattr("bottleneck.extraction.run.require_decoder", lambda name: None)
    with pytest.raises(OptionError, match="expected one view with the decoder nvjpeg, got 4"):
        build_embedder(backbone="resnet50", decoder="nvjpeg", views=4)


def test_two_decoders_are_two_inputs():
    given = Geometry(16)
    assert given != replace(given, decoder="nvjpeg")
