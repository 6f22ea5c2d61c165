"""The head ``stack``: a declared network on a layer's map, everywhere a head can go."""

import json
import zipfile

import numpy as np
import pytest

import bottleneck
from bottleneck.adapt.whole import whole_model
from bottleneck.errors import HeadError, OptionError
from bottleneck.heads import Head
from bottleneck.heads.kinds.stack import StackedNetwork, channels_of
from bottleneck.heads.rows import ArrayRows

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of Keras

SMALL = """
[[layers]]
type = "Conv2D"
filters = 4
kernel_size = 3
activation = "relu"

[[layers]]
type = "GlobalAveragePooling2D"
"""
QUICK = ("epochs=6", "lr=0.01", "batch_size=16")


@pytest.fixture(scope="module")
def stacked(trained, tmp_path_factory):
    """A stack on a map of the photographs, stored in float16."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "net.toml").write_text(SMALL)
    bottleneck.extract(
        trained / "photos",
        folder / "f.h5",
        layers="block3b_add",
        pool="none",
        dtype="float16",
        size=64,
    )
    bottleneck.train(
        folder / "f.h5",
        folder / "h.head",
        head="stack",
        settings=(f"net={folder / 'net.toml'}", *QUICK),
        cv=0,
    )
    return folder


def test_the_seeds_stack_has_the_seeds_parameters(tmp_path):
    """On block2_pool of VGG16 at 160 x 160: the default declaration, ten classes."""
    rng = np.random.default_rng(0)
    images = tmp_path / "photos"
    from PIL import Image

    for code in range(10):
        (images / f"c{code}").mkdir(parents=True)
        for number in range(3):
            noise = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(noise).save(images / f"c{code}/{number}.png")
    bottleneck.extract(
        images,
        tmp_path / "f.h5",
        backbone="vgg16",
        weights="none",
        size=160,
        layers="block2_pool",
        pool="none",
        dtype="float16",
    )
    store = bottleneck.FeatureStore.open(tmp_path / "f.h5")
    assert store.recipe.execution["maps"] == {"block2_pool.none": [40, 40, 128]}
    bottleneck.train(
        tmp_path / "f.h5", tmp_path / "h.head", head="stack", settings="epochs=1", cv=0
    )
    head = Head.load(tmp_path / "h.head")
    assert head.estimator.count_params() == 5_991_242
    whole = whole_model(head, owner="h.head")
    assert whole.model.count_params() == 6_251_402
    assert whole.backbone.count_params() == 260_160
    whole.backbone.trainable = False
    assert sum(int(np.prod(v.shape)) for v in whole.model.trainable_variables) == 5_991_242


def test_it_learns_is_saved_and_says_the_same(stacked):
    judged = bottleneck.evaluate(stacked / "h.head", stacked / "f.h5", split="test").to_json()
    assert judged["accuracy"] > 0.6  # a third by chance
    head = Head.load(stacked / "h.head")
    again = Head.load(stacked / "h.head")
    X = np.asarray(bottleneck.FeatureStore.open(stacked / "f.h5").features("block3b_add.none")[:])
    np.testing.assert_array_equal(head.predict_proba(X), again.predict_proba(X))
    np.testing.assert_allclose(head.predict_proba(X).sum(axis=1), 1)


def test_maps_of_a_compressed_copy_are_maps_still(stacked, tmp_path):
    bottleneck.export(stacked / "f.h5", tmp_path / "f.h5", compress="gzip")
    settings = (f"net={stacked / 'net.toml'}", "epochs=1")
    bottleneck.train(tmp_path / "f.h5", tmp_path / "h.head", head="stack", settings=settings, cv=0)
    first, again = (Head.load(one / "h.head").estimator for one in (stacked, tmp_path))
    assert json.loads(again.description_)["shape"] == json.loads(first.description_)["shape"]


def test_it_computes_what_it_declares(stacked):
    """By hand in NumPy: standardised channels, one convolution, ReLU, mean, one product."""
    head = Head.load(stacked / "h.head")
    store = bottleneck.FeatureStore.open(stacked / "f.h5")
    X = np.asarray(store.features("block3b_add.none")[:3], np.float64)
    about = json.loads(head.estimator.description_)
    maps = X.reshape(-1, *about["shape"]) * about["scale"] + about["offset"]
    kernel, bias, dense, last = (np.asarray(w, np.float64) for w in head.estimator.weights_)
    height, width, _ = about["shape"]
    convolved = np.zeros((3, height - 2, width - 2, 4)) + bias
    for i in range(3):
        for j in range(3):
            convolved += maps[:, i : i + height - 2, j : j + width - 2] @ kernel[i, j]
    found = np.maximum(convolved, 0).mean(axis=(1, 2)) @ dense + last
    np.testing.assert_allclose(head.scores(X.astype(np.float32)), found, rtol=1e-4, atol=1e-4)


def test_channels_are_standardised_by_the_rows_that_are_learnt_from(rng):
    maps = rng.normal(3, 2, (200, 4, 5, 6)).astype(np.float32)
    maps[..., 2] = 7  # a channel that never changes is left alone
    member = rng.random(200) < 0.6
    mean, scale = channels_of(ArrayRows(maps.reshape(200, -1)), member, 6)
    np.testing.assert_allclose(mean, maps[member].mean(axis=(0, 1, 2)), rtol=1e-5)
    expected = maps[member].std(axis=(0, 1, 2), dtype=np.float64)
    expected[2] = 1
    np.testing.assert_allclose(scale, expected, rtol=1e-4)


def test_the_same_seed_is_the_same_network(stacked, rng):
    X, y = rng.normal(size=(60, 48)).astype(np.float32), np.arange(60) % 3
    options = {"net": str(stacked / "net.toml"), "shape": "4x4x3", "epochs": 2, "seed": 4}
    first, again = (StackedNetwork(**options).fit(X, y) for _ in range(2))
    for one, other in zip(first.weights_, again.weights_, strict=True):
        np.testing.assert_array_equal(one, other)
    other = StackedNetwork(**{**options, "seed": 5}).fit(X, y)
    assert not np.array_equal(first.weights_[0], other.weights_[0])


@pytest.mark.parametrize("ending", ["keras", "onnx"])
def test_it_is_deployed_with_its_backbone(stacked, trained, tmp_path, ending):
    if ending == "onnx":
        pytest.importorskip("tf2onnx", reason="the extra `deploy` is missing")
    result = bottleneck.export(
        stacked / "h.head",
        tmp_path / f"m.{ending}",
        deploy=True,
        images=trained / "photos",
    ).to_json()
    assert result["largest_difference"] < 1e-4
    assert result["same_labels"] == result["checked"]


def test_fine_tuning_goes_on_from_it(stacked, trained, tmp_path):
    result = bottleneck.finetune(
        stacked / "h.head",
        trained / "photos",
        tmp_path / "m.keras",
        unfreeze="block3b_project_conv",
        epochs=1,
        views=1,
        workers=1,
        validation=0.3,
    ).to_json()
    assert result["layers"] == ["block3b_project_conv"]
    assert result["test"]["head"] == pytest.approx(
        bottleneck.evaluate(stacked / "h.head", stacked / "f.h5", split="test").to_json()[
            "accuracy"
        ]
    )
    assert result["returned"] in ("head", "fine-tuned")


def test_other_declarations(stacked, tmp_path, monkeypatch):
    """A Keras model with its weights, and a function."""
    import keras

    given = keras.Sequential([
        keras.Input((None, None, 40)),
        keras.layers.Conv2D(2, 1, name="own"),
        keras.layers.GlobalMaxPooling2D(),
    ])  # fmt: skip
    given.save(tmp_path / "net.keras")
    (tmp_path / "mine_for_stack.py").write_text(
        "import keras\n"
        "def build(shape):\n"
        "    given = keras.Input(shape)\n"
        "    return keras.Model(given, keras.layers.GlobalAveragePooling2D()(given))\n"
    )
    monkeypatch.chdir(tmp_path)
    for net in ("net.keras", "mine_for_stack:build"):
        settings = (f"net={net}", "epochs=1", "lr=1e-9", "batch_size=16")
        bottleneck.train(
            stacked / "f.h5", "h.head", head="stack", settings=settings, cv=0, overwrite=True
        )
        named = Head.load("h.head").estimator.named_weights()
        if net == "net.keras":  # which begins with its weights; so small a rate keeps them
            np.testing.assert_allclose(named["own"][0], given.layers[0].get_weights()[0], atol=1e-6)
        else:
            assert set(named) == {"head"}


def test_what_cannot_be_is_refused_by_name(stacked, trained, tmp_path):
    def refused(match, *settings, features=stacked / "f.h5", kind=OptionError):
        with pytest.raises(kind, match=match):
            bottleneck.train(features, tmp_path / "x.head", head="stack", settings=settings, cv=0)
        assert not (tmp_path / "x.head").exists()

    refused("cannot be read", "net=nothing.toml")
    refused("a declaration of layers, got 'photo.jpg'", "net=photo.jpg")
    refused("what declares layers, got {'a': 1}", 'net={"a": 1}')
    refused("what declares layers, got 5", "net=5")
    refused("shape=HEIGHTxWIDTHxCHANNELS, got '8x8'", "shape=8x8")
    refused("epochs to be 1 or more", "epochs=0")
    array = np.zeros((2, 8), np.float32)
    with pytest.raises(OptionError, match="got the shape 3x2x2, which has 12"):
        StackedNetwork(shape="3x2x2").fit(np.repeat(array, 20, 0), np.arange(40) % 2)
    store = bottleneck.FeatureStore.open(stacked / "f.h5")
    height, width, channels = store.recipe.execution["maps"]["block3b_add.none"]
    turned = f"{channels}x{height}x{width}"
    refused(f"of which these maps are, got {turned}", f"shape={turned}", kind=HeadError)
    refused(
        "expected features that are maps",
        features=trained / "f.h5",
        kind=(OptionError, HeadError),
    )
    (tmp_path / "map.toml").write_text('[[layers]]\ntype = "ReLU"\n')
    refused(
        "layers that end in a vector", f"net={tmp_path / 'map.toml'}", kind=(OptionError, HeadError)
    )
    with pytest.raises(HeadError, match="which ONNX can hold, got stack") as caught:
        bottleneck.export(stacked / "h.head", tmp_path / "h.onnx")
    assert "--deploy" in caught.value.hint


def test_a_head_that_would_run_code_is_not_read(stacked, tmp_path):
    """Whoever writes a head's file chooses its layers: those of Keras, and none with code in it."""
    for spoilt in (
        lambda layer: layer.update(module="os", class_name="system"),
        lambda layer: layer.update(class_name="Lambda"),
        lambda layer: layer["config"].update(
            activation={"module": "builtins", "class_name": "function", "config": "print"}
        ),
    ):
        bad = tmp_path / "bad.head"
        with zipfile.ZipFile(stacked / "h.head") as old, zipfile.ZipFile(bad, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name.endswith("description.npy"):
                    import io

                    about = json.loads(np.load(io.BytesIO(content)).tobytes())
                    spoilt(about["layers"]["config"]["layers"][1])
                    told = np.frombuffer(json.dumps(about).encode(), np.uint8)
                    stream = io.BytesIO()
                    np.save(stream, told)
                    content = stream.getvalue()
                new.writestr(name, content)
        with pytest.raises(HeadError, match="not of Keras"):
            Head.load(bad)


def test_it_is_compared_with_other_heads(stacked, tmp_path):
    result = bottleneck.compare(
        stacked / "f.h5", heads="nearest_mean,stack", output=tmp_path / "r.html", cv=3
    ).to_json()
    heads = {row["head"] for row in result["leaderboard"]}
    assert heads == {"nearest_mean", "stack"}
