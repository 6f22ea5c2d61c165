"""Keras of every age: one network, one fingerprint, the same features; each rule by itself."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from keras_layouts import (
    write_keras_1,
    write_keras_2,
    write_numbered,
    write_vgg_for_caffe,
    write_vgg_for_slim,
    write_with_keras,
)

from bottleneck import backbones
from bottleneck.backbones.keras_scope import isolated
from bottleneck.backbones.weights import fingerprint
from bottleneck.errors import WeightsError
from bottleneck.weights import keras_rules, read

SIZE = 32
ZOO = Path(os.environ.get("BOTTLENECK_ZOO") or Path(__file__).parents[3] / "shared/zoo")

LAYOUTS = {
    "0.x": write_numbered,
    "1.x tf": lambda m, p: write_keras_1(m, p, ordering="tf", theano=False),
    "1.x th": lambda m, p: write_keras_1(m, p, ordering="th", theano=False),
    "1.x tf by theano": lambda m, p: write_keras_1(m, p, ordering="tf", theano=True),
    "1.x th by theano": lambda m, p: write_keras_1(m, p, ordering="th", theano=True),
    "2.x tensorflow": lambda m, p: write_keras_2(m, p, backend="tensorflow"),
    "2.x theano": lambda m, p: write_keras_2(m, p, backend="theano"),
    "2.x whole model": lambda m, p: write_keras_2(m, p, backend="theano", whole=True),
    "3 weights": lambda m, p: write_with_keras(m, p, suffix=".weights.h5"),
    "3 model": lambda m, p: write_with_keras(m, p, suffix=".keras"),
    "3 model, legacy": lambda m, p: write_with_keras(m, p, suffix=".h5"),
    "caffe, layers of version 1": lambda m, p: write_vgg_for_caffe(m, p, version=1),
    "caffe, layers of version 2": lambda m, p: write_vgg_for_caffe(m, p, version=2),
    "slim, checkpoint of version 1": lambda m, p: write_vgg_for_slim(m, p, version=1),
    "slim, checkpoint of version 2": lambda m, p: write_vgg_for_slim(m, p, version=2),
}


@pytest.fixture(scope="module")
def vgg():
    with isolated() as keras:
        model = keras.applications.VGG16(
            weights=None, include_top=False, input_shape=(SIZE, SIZE, 3)
        )
    generator = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(generator.normal(0, 0.05, weight.shape).astype(np.float32))
    return model


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore:.*legacy:UserWarning", "ignore::DeprecationWarning")
def test_vgg16_of_every_layout_is_one(vgg, layout: str, tmp_path: Path) -> None:
    """One fingerprint, the same features."""
    path = LAYOUTS[layout](vgg, tmp_path / "whatever.dat")
    loaded = backbones.load(backbones.get("vgg16"), weights=path, size=SIZE)
    assert loaded.weights.sha256 == fingerprint(vgg)
    for ours, theirs in zip(loaded.model.get_weights(), vgg.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    pixels = np.random.default_rng(0).normal(0, 50, (2, SIZE, SIZE, 3)).astype(np.float32)
    np.testing.assert_allclose(loaded.model(pixels), vgg(pixels), rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(not ZOO.is_dir(), reason="the released MusicTaggerCRNN is not at hand")
def test_both_released_music_taggers_are_one() -> None:
    theano, tensorflow = (
        read(ZOO / f"music_tagger_crnn_weights_{name}.h5") for name in ("theano", "tensorflow")
    )
    assert theano.sha256 == tensorflow.sha256
    shapes = {layer.name: layer.shapes for layer in theano.layers}
    assert shapes["conv2"] == {"kernel": (3, 3, 64, 128), "bias": (128,)}
    assert shapes["gru1"] == {
        "kernel": (128, 96),
        "recurrent_kernel": (32, 96),
        "bias": (96,),
    }
    assert list(shapes["bn1"]) == ["gamma", "beta", "moving_mean", "moving_variance"]


def test_gates_of_gru_and_lstm() -> None:
    def stored(gates: str) -> dict[str, np.ndarray]:
        # As Keras 1 listed them: all of a gate together.
        return {
            f"x_{letter}_{gate}": np.full((2,), 10 * "WUb".index(letter) + i)
            for i, gate in enumerate(gates)
            for letter in "WUb"
        }

    gru = keras_rules.merge_gates(stored("zrh"))
    assert {role: list(value[::2]) for role, value in gru.items()} == {
        "kernel": [0, 1, 2],
        "recurrent_kernel": [10, 11, 12],
        "bias": [20, 21, 22],
    }
    lstm = keras_rules.merge_gates(stored("icfo"))  # c before f in the file, after it today
    assert list(lstm["kernel"][::2]) == [0, 2, 1, 3]
    assert list(lstm["bias"][::2]) == [20, 22, 21, 23]
    assert keras_rules.merge_gates({"a": np.zeros(2)}).keys() == {"a"}


def test_transposed_and_one_dimensional_kernels() -> None:
    today = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # (h, w, out, in) of a Conv2DTranspose
    for ordering, stored in (
        ("tf", today.transpose(0, 1, 3, 2)),
        ("th", today.transpose(2, 3, 0, 1)),
    ):
        back = keras_rules.kernel(stored, ordering=ordering, flipped=False, transposed=True)
        np.testing.assert_array_equal(back, today)
    line = np.arange(3 * 4 * 5).reshape(3, 4, 5)  # (length, in, out)
    np.testing.assert_array_equal(keras_rules.kernel_1d(line[:, None]), line)
    np.testing.assert_array_equal(keras_rules.kernel_1d(line[:, None].transpose(3, 2, 0, 1)), line)


def test_dense_after_a_channels_first_map_is_the_same_function() -> None:
    generator = np.random.default_rng(0)
    image, kernel = generator.normal(size=(2, 3, 4)), generator.normal(size=(24, 5))
    ours = keras_rules.dense_after_flatten(kernel, (2, 3, 4))
    np.testing.assert_allclose(image.transpose(1, 2, 0).ravel() @ ours, image.ravel() @ kernel)


@pytest.fixture(scope="module")
def classifier():
    """A small net with a classifier behind its maps."""
    with isolated() as keras:
        layers = keras.layers
        model = keras.Sequential(
            [
                layers.Input((6, 6, 3)),
                layers.Conv2D(20, 3, name="conv"),
                layers.Flatten(),
                layers.Dense(7, name="fc1"),
                layers.Dense(5, name="fc2"),
            ]
        )
    generator = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(generator.normal(0, 0.1, weight.shape).astype(np.float32))
    return model


def channels_first(model, path: Path, *, backend: str = "tensorflow", **formats: str) -> Path:
    """Write a model as Keras 2 does whose maps have channels first."""
    write_keras_2(model, path, backend=backend, whole=True)
    config = json.loads(model.to_json())
    for layer in config["config"]["layers"]:
        said = formats.get(layer["class_name"])
        layer["config"].pop("data_format", None)
        if said is not None:
            layer["config"]["data_format"] = said
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
        rows = file["model_weights/fc1"]
        name = str(rows.attrs["weight_names"][0])
        kernel = rows[name][()].reshape(4, 4, 20, 7).transpose(2, 0, 1, 3).reshape(320, 7)
        rows[name][...] = kernel
    return path


def test_classifiers_of_channels_first_nets(classifier, tmp_path: Path) -> None:
    """One fingerprint with the classifier too; the first dense layer alone is reordered."""
    ours = read(write_keras_2(classifier, tmp_path / "a.h5", backend="tensorflow"))
    theirs = read(channels_first(classifier, tmp_path / "b.h5", Conv2D="channels_first"))
    assert theirs.sha256 == ours.sha256
    assert "Rows of fc1 were put in the order of channels-last maps." in theirs.remarks
    theano = channels_first(
        classifier, tmp_path / "c.h5", backend="theano", Conv2D="channels_first"
    )
    assert read(theano).sha256 == ours.sha256
    turning = {"Conv2D": "channels_first", "Flatten": "channels_first"}
    kept = read(channels_first(classifier, tmp_path / "d.h5", **turning))  # Flatten did it
    assert kept.sha256 != ours.sha256
    assert kept.remarks == ()

    last = write_keras_1(classifier, tmp_path / "e.h5", ordering="tf", theano=True)
    first = write_keras_1(classifier, tmp_path / "f.h5", ordering="th", theano=True)
    with h5py.File(first, "r+") as file:
        kernel = file["fc1/fc1_W"][()].reshape(4, 4, 20, 7)
        file["fc1/fc1_W"][...] = kernel.transpose(2, 0, 1, 3).reshape(320, 7)
    assert read(first).sha256 == read(last).sha256 == ours.sha256


def test_rows_behind_a_map_that_is_no_square_stay(classifier, tmp_path: Path) -> None:
    path = write_keras_1(classifier, tmp_path / "x.h5", ordering="th", theano=True)
    with h5py.File(path, "r+") as file:
        kernel = file["fc1/fc1_W"][()][:160]  # 2 x 4 places
        del file["fc1/fc1_W"]
        file["fc1/fc1_W"] = kernel
    found = read(path)
    np.testing.assert_array_equal(found.layers[1].tensors["kernel"], kernel)
    assert any("as stored" in remark for remark in found.remarks)


def test_depthwise_kernels_of_theano_stay() -> None:
    """Keras turned them back before Theano saw them."""
    values = {"depthwise_kernel": np.arange(9.0).reshape(3, 3, 1, 1)}
    kept = keras_rules.flip_convolution(values, "DepthwiseConv2D")
    np.testing.assert_array_equal(kept["depthwise_kernel"], values["depthwise_kernel"])


def test_equal_shapes_in_another_order_are_not_exchanged(vgg, tmp_path: Path) -> None:
    path = write_keras_2(vgg, tmp_path / "x.h5", backend="tensorflow")
    with h5py.File(path, "r+") as file:
        names = [str(name).encode() for name in file.attrs["layer_names"]]
        one, two = names.index(b"block5_conv1"), names.index(b"block5_conv3")
        names[one], names[two] = names[two], names[one]
        file.attrs["layer_names"] = names
    loaded = backbones.load(backbones.get("vgg16"), weights=path, size=SIZE)
    for ours, theirs in zip(loaded.model.get_weights(), vgg.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with h5py.File(path, "r+") as file:  # the same layers under names that say nothing
        for name in names:
            file.move(name.decode(), f"my_{name.decode()}x{len(name)}")
        file.attrs["layer_names"] = [f"my_{n.decode()}x{len(n)}".encode() for n in names]
    with pytest.raises(WeightsError, match="whose order shapes do not tell"):
        backbones.load(backbones.get("vgg16"), weights=path, size=SIZE)


def test_a_file_in_kerass_cache_is_read_and_never_changed(
    vgg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    spec = backbones.get("vgg16")
    path = tmp_path / "models" / str(spec.weights_file)
    path.parent.mkdir()
    write_keras_2(vgg, path, backend="tensorflow")
    before = path.read_bytes(), path.stat().st_mtime_ns

    def refused(*args, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    loaded = backbones.load(spec, weights="imagenet", size=SIZE)
    assert loaded.weights.source == "imagenet"
    np.testing.assert_array_equal(loaded.model.get_weights()[0], vgg.get_weights()[0])
    path.with_name("resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5").write_bytes(before[0])
    with pytest.raises(WeightsError, match="resnet50"):  # another network under this name
        backbones.load(backbones.get("resnet50"), weights="imagenet", size=SIZE)
    for file in path.parent.iterdir():
        assert file.read_bytes() == before[0]
    assert path.stat().st_mtime_ns == before[1]


@pytest.mark.parametrize(
    ("size", "file"),
    [(160, "mobilenet_1_0_160_tf_no_top.h5"), (150, "mobilenet_1_0_224_tf_no_top.h5")],
)
def test_the_name_keras_asks_for_depends_on_the_size(size, file, monkeypatch) -> None:
    from keras.src.utils import file_utils

    from bottleneck.backbones.catalogue import weights_file

    asked = []

    def offline(name, *args, **options):
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr(file_utils, "get_file", offline)
    with pytest.raises(WeightsError, match="no network"):
        backbones.load(backbones.get("mobilenet"), weights="imagenet", size=size)
    assert asked == [file] == [weights_file(backbones.get("mobilenet"), size)]


class TestHostile:
    def test_claims_more_than_the_file_can_hold(self, tmp_path: Path) -> None:
        path = tmp_path / "x.h5"
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"a"]
            group = file.create_group("a")
            group.attrs["weight_names"] = [b"a/kernel:0"]
            group.create_dataset("a/kernel:0", (1 << 15, 1 << 15), "f4", chunks=(64, 64))
        assert path.stat().st_size < 1 << 14
        with pytest.raises(WeightsError, match="more than it holds"):
            read(path)

    def test_links_in_circles_and_to_other_files(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["layers/a/vars/0"] = np.ones(3, np.float32)
            file["layers/a/again"] = file["layers"]
            file["layers/b"] = h5py.ExternalLink(str(tmp_path / "y.h5"), "/")
        assert [layer.name for layer in read(tmp_path / "x.h5").layers] == ["layers/a"]
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.attrs["layer_names"] = [b"a"]
            file["a"] = h5py.ExternalLink("/etc/passwd", "/")
        with pytest.raises(WeightsError, match="a link elsewhere"):
            read(tmp_path / "x.h5")

    def test_huge_counts(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.attrs["nb_layers"] = 2**40
        with pytest.raises(WeightsError, match="1099511627776 layers"):
            read(tmp_path / "x.h5")


def test_a_heap_of_strings_without_an_end_is_refused(tmp_path):
    """HDF5 itself walks an object of no length for ever."""
    from bottleneck.weights.hdf5 import check_heaps

    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["a"]
        file.create_group("a").attrs["weight_names"] = np.array([], "S1")
    check_heaps(path)
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL")
    first = int.from_bytes(data[heap + 24 : heap + 32], "little")
    free = heap + 16 + 16 + -(-first // 8) * 8
    while int.from_bytes(data[free : free + 2], "little"):
        free += 16 + -(-int.from_bytes(data[free + 8 : free + 16], "little") // 8) * 8
    data[free + 8 : free + 16] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="without an end"):
        read(path)


def test_text_that_claims_four_gigabytes_takes_no_such_memory(tmp_path):
    import resource

    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"a"])
        file.attrs["backend"] = "tensorflow"  # of any length: kept in a heap
    data = bytearray(path.read_bytes())
    place = data.rindex(data.index(b"GCOL").to_bytes(8, "little"))
    assert int.from_bytes(data[place - 4 : place], "little") == len("tensorflow")
    data[place - 4 : place] = b"\xff" * 4
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(WeightsError, match="damaged HDF5"):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kilobytes
    assert resource.getrlimit(resource.RLIMIT_DATA) == limits
