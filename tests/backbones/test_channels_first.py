"""Models whose maps have channels first compute the same with channels last."""

import json
import warnings

import h5py
import numpy as np
import pytest

from bottleneck import backbones
from bottleneck.backbones import DeclaredInput
from bottleneck.backbones.channels_last import channels_last, is_channels_first, layers_of
from bottleneck.backbones.keras_scope import isolated
from bottleneck.errors import BackboneError

# On a CPU, TensorFlow 2.21 adds the bias of a channels-first convolution along the width where that
# is as long as there are channels; JAX, and a sum by hand, agree with ours. Here no width is.
FIRST = {"data_format": "channels_first"}


def pictures(n, side, seed=0):
    return np.random.default_rng(seed).normal(size=(n, side, side, 3)).astype(np.float32)


def computed(model, images):
    return np.asarray(model(images))


def awakened(model, seed=3):
    """Give every weight a value of its own, variances positive ones."""
    rng = np.random.default_rng(seed)
    for layer in layers_of(model):
        values = [rng.uniform(0.1, 1, value.shape) / value.size**0.25
                  for value in layer.get_weights()]  # fmt: skip
        if values:
            layer.set_weights(values)
    return model


def branches(layers, x):
    """A layer of each kind on a map (n, 6, 8, 8) that one branch adds to the others."""
    yield layers.DepthwiseConv2D(3, padding="same", **FIRST)(x)
    yield layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2, **FIRST)(x)
    yield layers.Conv2D(6, (3, 1), padding="same", groups=2, activation="elu", **FIRST)(x)
    yield layers.Conv2DTranspose(6, 3, padding="same", **FIRST)(x)
    yield layers.BatchNormalization(axis=1)(x)
    yield layers.LayerNormalization(axis=1)(x)
    yield layers.PReLU()(x)
    yield layers.PReLU(shared_axes=[2, 3])(x)
    yield layers.Softmax(axis=1)(x)
    yield layers.Softmax(axis=-1)(x)
    yield layers.ZeroPadding2D(((1, 0), (0, 1)), **FIRST)(
        layers.Cropping2D(((0, 1), (1, 0)), **FIRST)(x)
    )
    yield layers.UpSampling2D(2, **FIRST)(layers.AveragePooling2D(2, **FIRST)(x))
    yield layers.MaxPooling2D(3, 1, padding="same", **FIRST)(
        layers.SpatialDropout2D(0.5, **FIRST)(x)
    )
    yield layers.Multiply()([x, layers.GlobalAveragePooling2D(keepdims=True, **FIRST)(x)])
    yield layers.Reshape((6, 8, 8))(layers.Reshape((8, 48))(x))
    yield layers.Permute((1, 3, 2))(x)
    yield layers.Rescaling([2.0] * 8, offset=0.5)(x)
    yield layers.Dense(8)(x)  # along the width, whatever somebody wanted with it
    upper = layers.Cropping2D(((0, 4), (0, 0)), **FIRST)(x)
    yield layers.Concatenate(axis=2)([upper, layers.Cropping2D(((4, 0), (0, 0)), **FIRST)(x)])


def test_every_kind_of_layer_computes_the_same():
    with isolated() as keras:
        layers = keras.layers
        images = keras.Input((3, 16, 16))
        inner_images = keras.Input((3, 16, 16))
        inner = keras.Model(
            inner_images, layers.Conv2D(6, 3, 2, padding="same", **FIRST)(inner_images), name="stem"
        )
        x = inner(images)
        kinds = list(branches(layers, x))
        for i, branch in enumerate(kinds):
            model = awakened(keras.Model(images, branch))
            turned = channels_last(keras, model, "it")
            given = pictures(2, 16, i)
            expected = computed(model, given.transpose(0, 3, 1, 2))
            found = computed(turned, given)
            assert turned.input_shape == (None, 16, 16, 3)
            assert np.ptp(expected) > 1e-3
            np.testing.assert_allclose(
                found.transpose(0, 3, 1, 2), expected, atol=2e-5 * np.abs(expected).max(),
                err_msg=branch.name,
            )  # fmt: skip
            assert {layer.name for layer in model.layers[1:]} <= {
                layer.name for layer in turned.layers
            }
        assert len(kinds) == 19


@pytest.mark.parametrize("flatten", ["channels_first", "channels_last"])
def test_dense_layers_behind_a_map_see_its_numbers_in_the_order_they_know(flatten):
    with isolated() as keras:
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((3, 9, 8)),
                layers.Conv2D(5, 3, activation="tanh", **FIRST),
                layers.Flatten(data_format=flatten),
                layers.Dropout(0.5),
                layers.Dense(4, activation="softmax"),
            ]
        )
        awakened(model)
        assert is_channels_first(model)
        given = np.random.default_rng(1).normal(size=(3, 9, 8, 3)).astype(np.float32)
        expected = computed(model, given.transpose(0, 3, 1, 2))
        assert np.ptp(expected, axis=0).max() > 1e-3
        found = computed(channels_last(keras, model, "it"), given)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_cannot_be_turned_is_refused_by_name():
    with isolated() as keras:
        layers = keras.layers
        images = keras.Input((3, 8, 8))
        x = layers.Conv2D(4, 3, padding="same", **FIRST)(images)
        for output, said in (
            (layers.Dot(axes=(2, 3), name="odd")([x, x]), "odd .Dot."),
            (layers.Conv2D(4, 1, activation="softmax", name="soft", **FIRST)(x), "soft .Conv2D."),
            (layers.Reshape((4, 8, 8, 1), name="deep")(x), "deep .Reshape."),
        ):
            with pytest.raises(BackboneError, match=said):
                channels_last(keras, keras.Model(images, output), "it")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole model as Keras 2 on Theano saved it, with a head; and what it computes."""
    folder = tmp_path_factory.mktemp("theano")
    with isolated() as keras:
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((3, 12, 12), name="given"),
                layers.Conv2D(5, 3, activation="tanh", name="seen", **FIRST),
                layers.BatchNormalization(axis=1, name="normal"),
                layers.MaxPooling2D(2, name="pooled", **FIRST),
                layers.Flatten(data_format="channels_last", name="flat"),
                layers.Dense(4, activation="relu", name="known"),
                layers.Dense(3, activation="softmax", name="named"),
            ],
            name="whole",
        )
        awakened(model)
        given = pictures(4, 12)
        taken = keras.Model(
            model.inputs[0], [model.get_layer(n).output for n in ("pooled", "known")]
        )
        pooled, known = (np.asarray(one) for one in taken(given.transpose(0, 3, 1, 2)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras asks NumPy for copies in an old way
            model.save(folder / "first.h5")
            model.save(folder / "first.keras")
    with h5py.File(folder / "first.h5", "a") as file:
        for place in (file, file["model_weights"]):
            place.attrs["backend"] = b"theano"
            place.attrs["keras_version"] = b"2.0.4"
        kernel = next(
            found for name in ("seen/seen/kernel:0", "seen/whole/seen/kernel:0", "seen/seen/kernel",
                               "seen/whole/seen/kernel")
            if (found := file["model_weights"].get(name)) is not None
        )  # fmt: skip
        kernel[...] = kernel[()][::-1, ::-1]
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "Flatten":  # it had no data format then
                del layer["config"]["data_format"]
        file.attrs["model_config"] = json.dumps(config)
    return folder, given, {"pooled": pooled.transpose(0, 2, 3, 1), "known": known}


@pytest.mark.parametrize("file", ["first.h5", "first.keras"])
@pytest.mark.parametrize("layer", ["pooled", "known"])
def test_whole_models_of_theano_give_the_features_that_they_gave(whole, file, layer):
    folder, given, expected = whole
    network = backbones.load(f"keras:{folder / file}#{layer}", declared=DeclaredInput.parse("none"))
    assert network.size == 12
    with isolated() as keras:
        from bottleneck.backbones.keras_network import tensors

        found = keras.Model(network.model.input, tensors(network, [layer])[0])(given)
    assert np.ptp(expected[layer]) > 1e-3
    np.testing.assert_allclose(np.asarray(found), expected[layer], atol=1e-5)
