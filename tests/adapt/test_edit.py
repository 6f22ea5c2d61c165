"""Surgery: what stays gives what it gave, what is new is named, what cannot be is refused."""

import json

import numpy as np
import pytest

import bottleneck
from bottleneck import backbones
from bottleneck.backbones.layer_files import apply_layers, require_layers
from bottleneck.errors import BackboneError, OptionError, WeightsError

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of Keras

CONV5 = """
[[layers]]
type = "Conv2D"
filters = 4
kernel_size = 5
padding = "same"
activation = "relu"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small network with two branches, a sum and an operation that is no layer; and layers."""
    import keras

    place = tmp_path_factory.mktemp("edit")
    keras.utils.set_random_seed(5)
    images = keras.Input((16, 16, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, padding="same", name="stem_conv")(images)
    stem = keras.layers.BatchNormalization(name="stem_bn")(x)
    a = keras.layers.Conv2D(4, 3, padding="same", name="block1_a")(stem)
    b = keras.layers.Conv2D(4, 1, name="block1_b")(stem)
    x = keras.layers.Add(name="block1_add")([a, b, stem])
    x = keras.ops.relu(x)
    x = keras.layers.Conv2D(6, 3, strides=2, name="block2_conv")(x)
    x = keras.layers.MaxPooling2D(name="block2_pool")(x)
    model = keras.Model(images, x)
    for layer in model.layers:  # no mean is 0, no variance 1
        layer.set_weights([np.abs(np.asarray(w)) + 0.1 for w in layer.get_weights()])
    model.save(place / "net.keras")
    (place / "conv5.toml").write_text(CONV5)
    return place


def edited(folder, output, **options):
    return bottleneck.edit(
        f"keras:{folder / 'net.keras'}", output, preprocess="tf", **options
    ).to_json()


def answers(path, layer=None):
    """What a network or a layer of it gives for noise."""
    import keras

    model = keras.saving.load_model(path, compile=False)
    if layer is not None:
        model = keras.Model(model.input, model.get_layer(layer).output)
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    return model.predict_on_batch(noise)


def weights(path, layer):
    import keras

    return keras.saving.load_model(path, compile=False).get_layer(layer).get_weights()


def test_cut_off_it_gives_what_the_layer_gave(folder, tmp_path):
    result = edited(folder, tmp_path / "short.keras", cut="block1_add")
    np.testing.assert_array_equal(
        answers(tmp_path / "short.keras"), answers(folder / "net.keras", "block1_add")
    )
    assert result["dropped"] == ("relu", "block2_conv", "block2_pool")
    assert (result["kept"], result["new"], result["random"], result["dim"]) == (4, (), (), 4)


def test_a_block_with_branches_is_taken_out_whole(folder, tmp_path):
    """What is behind takes what came in: the same as the network without it, built by hand."""
    import keras

    edited(folder, tmp_path / "n.keras", drop="block1")
    net = keras.saving.load_model(folder / "net.keras", compile=False)
    x = keras.ops.relu(net.get_layer("stem_bn").output)
    x = net.get_layer("block2_pool")(net.get_layer("block2_conv")(x))
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    by_hand = keras.Model(net.input, x).predict_on_batch(noise)
    np.testing.assert_allclose(answers(tmp_path / "n.keras"), by_hand, rtol=1e-6)


def test_one_of_several_branches_is_taken_out(folder, tmp_path):
    """The sum takes what came into the branch in its place."""
    edited(folder, tmp_path / "n.keras", drop="block1_a", cut="block1_add")
    b, stem = (answers(folder / "net.keras", name) for name in ("block1_b", "stem_bn"))
    np.testing.assert_allclose(answers(tmp_path / "n.keras"), stem + b + stem, rtol=1e-5)


def test_an_insertion_keeps_all_others_and_is_the_same_every_time(folder, tmp_path):
    layers = f"stem_bn:{folder / 'conv5.toml'}"
    first = edited(folder, tmp_path / "a.keras", insert=layers)
    again = edited(folder, tmp_path / "b.keras", insert=layers)
    assert first["new"] == ("conv5",)
    assert first["random"] == ()
    assert first["kept"] == 5
    assert first["sha256"] == again["sha256"]
    for name in ("stem_conv", "stem_bn", "block1_a", "block1_b", "block2_conv"):
        for one, other in zip(
            weights(tmp_path / "a.keras", name), weights(folder / "net.keras", name), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    kernel, bias = weights(tmp_path / "a.keras", "conv5")
    assert kernel.shape == (5, 5, 4, 4)
    assert kernel.std() > 0
    assert not bias.any()
    # All three that took the layer take what was put behind it.
    put_in = answers(tmp_path / "a.keras", "conv5")
    kernel_b, bias_b = weights(folder / "net.keras", "block1_b")
    np.testing.assert_allclose(
        answers(tmp_path / "a.keras", "block1_b"), put_in @ kernel_b[0, 0] + bias_b, rtol=1e-4
    )


def test_what_does_not_fit_any_more_is_random_and_listed(folder, tmp_path):
    (tmp_path / "wide.toml").write_text(CONV5.replace("filters = 4", "filters = 8"))
    result = edited(
        folder, tmp_path / "n.keras", drop="block1", insert=f"block1_add:{tmp_path / 'wide.toml'}"
    )
    assert result["random"] == (
        {"layer": "block2_conv", "were": [[3, 3, 4, 6], [6]], "are": [[3, 3, 8, 6], [6]]},
    )
    same = edited(
        folder, tmp_path / "m.keras", replace=f"block1:{tmp_path / 'wide.toml'}"
    )  # the same in one word
    assert same["sha256"] == result["sha256"]


def test_layers_come_from_a_keras_model_with_their_weights(folder, tmp_path):
    import keras

    given = keras.Sequential([keras.Input((None, None, 4)), keras.layers.Conv2D(4, 1, name="own")])
    given.save(tmp_path / "own.keras")
    edited(folder, tmp_path / "n.keras", insert=f"stem_conv:{tmp_path / 'own.keras'}")
    for one, other in zip(
        weights(tmp_path / "n.keras", "own"), given.layers[0].get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_layers_come_from_a_function(folder, tmp_path, monkeypatch):
    (tmp_path / "mine_for_edit.py").write_text(
        "import keras\n"
        "def build(shape):\n"
        "    given = keras.Input(shape)\n"
        "    own = keras.layers.Conv2D(shape[-1], 1, name='made')\n"
        "    return keras.Model(given, own(given))\n"
    )
    monkeypatch.chdir(tmp_path)
    result = edited(folder, "n.keras", insert="stem_conv:mine_for_edit:build")
    assert result["new"] == ("made",)
    with pytest.raises(OptionError, match=r"mine_for_edit:nothing: cannot be imported"):
        edited(folder, "m.keras", insert="stem_conv:mine_for_edit:nothing")


def test_it_is_a_backbone_that_knows_its_input(folder, tmp_path, monkeypatch, trained):
    """Features without --preprocess, by its path and by a name of one's own; the recipe says it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    result = edited(folder, tmp_path / "n.keras", drop="block1")
    photos = trained / "photos"
    bottleneck.extract(photos, tmp_path / "a.h5", backbone=f"keras:{tmp_path / 'n.keras'}")
    bottleneck.add_backbone("own", tmp_path / "n.keras")
    bottleneck.extract(photos, tmp_path / "b.h5", backbone="own")
    a, b = (bottleneck.FeatureStore.open(tmp_path / f"{name}.h5") for name in "ab")
    np.testing.assert_array_equal(a.features("avg")[:], b.features("avg")[:])
    identity = a.recipe.identity
    assert identity["weights_sha256"] == result["sha256"]
    assert identity["preprocess"]["name"] == "tf"
    assert a.recipe.execution["network"]["edited"]["drop"] == ["block1"]
    # What is said by hand comes first.
    other = backbones.load(
        f"keras:{tmp_path / 'n.keras'}", declared=backbones.DeclaredInput.parse("caffe")
    )
    assert other.spec.preprocess.name == "caffe"
    bottleneck.train(tmp_path / "a.h5", tmp_path / "n.head", C="0.01", cv=0)
    head = bottleneck.heads.load(tmp_path / "n.head")
    labels = bottleneck.predict(tmp_path / "n.head", photos).records
    expected = head.predict(np.asarray(a.features("avg")[:]))
    assert [row["label"] for row in labels] == [head.classes[code] for code in expected]


def test_a_document_that_is_damaged_or_newer_is_refused(folder, tmp_path):
    import zipfile

    edited(folder, tmp_path / "n.keras", drop="block1")
    for text, match in (("{", "damaged"), ('{"version": 99}', "of version 1, got 99")):
        with (
            zipfile.ZipFile(tmp_path / "n.keras") as old,
            zipfile.ZipFile(tmp_path / "bad.keras", "w") as new,
        ):
            for name in old.namelist():
                new.writestr(name, text if name == "backbone.json" else old.read(name))
        with pytest.raises(WeightsError, match=match):
            backbones.load(f"keras:{tmp_path / 'bad.keras'}")


REFUSED = [
    ({}, "--cut, --drop, --insert or --replace, got none"),
    ({"cut": "nothing"}, "name of a layer or the beginning of a block's, got 'nothing'"),
    ({"drop": ""}, "got ''"),
    ({"drop": "..block2_conv"}, "got ''"),
    ({"drop": "block2_conv..block1_a"}, "to come behind block2_conv"),
    ({"drop": "block1_add"}, "got block1_add, which takes stem_bn, block1_a, block1_b"),
    ({"drop": "block1_a..block2_pool"}, None),
    ({"drop": ["block1", "block1_a"]}, "layers that go once, got block1_a"),
    ({"drop": "stem_bn..block1_a"}, "but block1_b takes what stem_bn gives"),
    ({"insert": "stem_conv"}, "LAYER:FILE for --insert, got 'stem_conv'"),
    ({"insert": "stem_conv:nothing.toml"}, "cannot be read"),
    ({"insert": "stem_conv:photo.jpg"}, "a declaration of layers, got 'photo.jpg'"),
    ({"replace": "nothing:{conv5}"}, "got 'nothing'"),
]


@pytest.mark.parametrize(("options", "match"), REFUSED, ids=[str(one) for one, _ in REFUSED])
def test_what_cannot_be_is_refused_by_name(folder, tmp_path, options, match):
    options = {
        key: value.format(conv5=folder / "conv5.toml") if isinstance(value, str) else value
        for key, value in options.items()
    }
    if match is None:  # between what block1_a takes and the end lies the other branch too
        assert edited(folder, tmp_path / "n.keras", **options)["kept"] == 2
        return
    with pytest.raises(OptionError, match=match):
        edited(folder, tmp_path / "n.keras", **options)
    assert not (tmp_path / "n.keras").exists()


def test_a_sum_of_different_shapes_is_refused_by_its_name(folder, tmp_path):
    (tmp_path / "wide.toml").write_text(CONV5.replace("filters = 4", "filters = 8"))
    with pytest.raises(BackboneError, match=r"block1_add does not take .*\(None, 16, 16, 8\)"):
        edited(folder, tmp_path / "n.keras", insert=f"block1_b:{tmp_path / 'wide.toml'}")


def test_nothing_is_put_behind_a_layer_that_is_used_twice(folder, tmp_path):
    import keras

    images = keras.Input((16, 16, 3))
    shared = keras.layers.Conv2D(3, 1, name="shared")
    both = keras.layers.Add(name="both")([shared(images), shared(shared(images))])
    keras.Model(images, both).save(tmp_path / "net.keras")
    layers = folder / "conv5.toml"

    def put_behind(at):
        return bottleneck.edit(
            f"keras:{tmp_path / 'net.keras'}",
            tmp_path / "n.keras",
            preprocess="tf",
            insert=f"{at}:{layers}",
        )

    with pytest.raises(OptionError, match="used once, got shared"):
        put_behind("shared")
    assert put_behind("both").new == ("conv5",)


def test_an_output_that_is_there_stays(folder, tmp_path):
    edited(folder, tmp_path / "n.keras", drop="block1")
    with pytest.raises(OptionError, match="exists"):
        edited(folder, tmp_path / "n.keras", drop="block1")
    edited(folder, tmp_path / "n.keras", drop="block1", overwrite=True)
    with pytest.raises(OptionError, match=r"ends in \.keras"):
        edited(folder, tmp_path / "n.h5", drop="block1")
    with pytest.raises(OptionError, match="also an input"):
        edited(folder, folder / "net.keras", drop="block1", overwrite=True)


TOMLS = [
    ("", r"\[\[layers\]\], one for each, got none"),
    ("layers = 3", "got 3"),
    ("[[layers]]\nfilters = 3", "the type of layer 1"),
    ('[[layers]]\ntype = "Conv2d"\nfilters = 3', "a class of keras.layers, got 'Conv2d'"),
    ('[[layers]]\ntype = "Lambda"\nfunction = "x"', "got 'Lambda'"),
    ('[[layers]]\ntype = "Conv2D"\nfilters = 3', "the arguments of Conv2D"),
    ('[[layers]]\ntype = "Conv2D"\nfilters = -3\nkernel_size = 3', "the arguments of Conv2D"),
    ('[[layers]]\ntype = "Dense"\nunits = 3\nname = "there"', "got 'there'"),
    ('x = 1\n[[layers]]\ntype = "Flatten"', "got 'x'"),
    ("[[layers", "expected TOML"),
    (
        '[[layers]]\ntype = "Flatten"\n[[layers]]\ntype = "Conv2D"\nfilters = 3\nkernel_size = 3',
        r"layer 2 \(Conv2D\): expected layers that take 64",
    ),
]


@pytest.mark.parametrize(("text", "match"), TOMLS, ids=[match for _, match in TOMLS])
def test_a_wrong_declaration_is_told(tmp_path, text, match):
    import keras

    file = tmp_path / "layers.toml"
    file.write_text(text)
    with pytest.raises(OptionError, match=match):
        apply_layers(keras, str(file), keras.Input((4, 4, 4)), {"there"})


def test_a_declaration_is_looked_at_before_keras(tmp_path):
    with pytest.raises(OptionError, match="which is not there"):
        require_layers(str(tmp_path / "no.keras"))
    require_layers("module:function")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(OptionError, match="expected TOML"):
        require_layers(str(tmp_path / "bytes.toml"))


def test_the_seeds_larger_kernel(tmp_path, trained):
    """VGG16 with a 5x5 convolution for its first two; fine-tuning trains that one alone.

    Docs/seeds.md has these commands.
    """
    import keras

    (tmp_path / "conv5.toml").write_text(CONV5.replace("filters = 4", "filters = 64"))
    result = bottleneck.edit(
        "vgg16",
        tmp_path / "wide.keras",
        replace=f"block1_conv1..block1_conv2:{tmp_path / 'conv5.toml'}",
        weights="none",
        size=32,
    ).to_json()
    assert (result["kept"], result["new"], result["random"]) == (11, ("conv5",), ())
    # VGG16 without its top, less 3x3 of 3 to 64 and of 64 to 64, and 5x5 of 3 to 64.
    assert result["parameters"] == 14_714_688 - (3 * 9 * 64 + 64) - (64 * 9 * 64 + 64) + (
        3 * 25 * 64 + 64
    )
    photos = trained / "photos"
    bottleneck.extract(photos, tmp_path / "w.h5", backbone=f"keras:{tmp_path / 'wide.keras'}")
    bottleneck.train(tmp_path / "w.h5", tmp_path / "w.head", C="0.01", cv=0)
    tuned = bottleneck.finetune(
        tmp_path / "w.head",
        photos,
        tmp_path / "m.keras",
        unfreeze="conv5",
        epochs=1,
        views=1,
        batch_size=16,
        workers=1,
        validation=0.3,
    ).to_json()
    assert tuned["layers"] == ["conv5"]
    assert tuned["trainable_parameters"] == (3 * 25 * 64 + 64) + (512 * 3 + 3)  # and the head
    before = keras.saving.load_model(tmp_path / "wide.keras", compile=False)
    after = keras.saving.load_model(tmp_path / "m.keras", compile=False).get_layer("backbone")
    for layer in before.layers:
        if layer.name != "conv5":
            for one, other in zip(
                layer.get_weights(), after.get_layer(layer.name).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(one, other)
    json.dumps(tuned)
