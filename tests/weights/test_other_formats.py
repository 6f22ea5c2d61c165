"""Caffe, TensorFlow and plain arrays; oracles are TensorFlow itself and bytes made by hand."""

import gzip
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from caffe_files import blob, caffe_layer, caffe_layer_v1, varint
from caffe_files import wire as field

from bottleneck import backbones
from bottleneck.errors import WeightsError
from bottleneck.weights import read

KERNEL = np.arange(4 * 3 * 2 * 2, dtype=np.float32).reshape(4, 3, 2, 2)
FOUR = np.ones(4, np.float32)
DENSE = np.arange(10, dtype=np.float32).reshape(2, 5)


@pytest.fixture
def caffemodel(tmp_path: Path) -> Path:
    path = tmp_path / "net"
    path.write_bytes(
        field(1, "a network")
        + caffe_layer("conv", "Convolution", blob(KERNEL), blob(np.ones(4)))
        + caffe_layer("bn", "BatchNorm", *statistics(FOUR * 6, FOUR * 3, FOUR[:1] * 3))
        + caffe_layer("dead", "BatchNorm", *statistics(FOUR, FOUR, FOUR[:1] * 0))
        + caffe_layer("scale", "Scale", blob(np.full(4, 2.0)), blob(np.full(4, 5.0)))
        + caffe_layer("relu", "ReLU")
        + caffe_layer("fc", "InnerProduct", blob(DENSE))
    )
    return path


def test_caffe(caffemodel: Path) -> None:
    found = read(caffemodel)
    tensors = {layer.name: layer.tensors for layer in found.layers}
    np.testing.assert_array_equal(
        tensors["conv"]["kernel"], np.moveaxis(KERNEL, (2, 3, 1, 0), (0, 1, 2, 3))
    )
    np.testing.assert_array_equal(tensors["bn"]["moving_mean"], np.full(4, 2.0))
    np.testing.assert_array_equal(tensors["bn"]["moving_variance"], np.ones(4))
    np.testing.assert_array_equal(tensors["dead"]["moving_mean"], np.zeros(4))
    np.testing.assert_array_equal(tensors["scale"]["beta"], np.full(4, 5.0))
    np.testing.assert_array_equal(tensors["fc"]["kernel"], DENSE.T)
    assert "relu" in found.listed
    assert "relu" not in tensors


def test_caffe_of_version_1_with_old_blobs(caffemodel: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.caffemodel"
    old.write_bytes(
        field(1, "a network")
        + caffe_layer_v1("conv", 4, blob(KERNEL, old=True), blob(np.ones(4), old=True))
        + caffe_layer_v1("fc", 14, blob(DENSE, old=True))
    )
    new = {layer.name: layer.tensors for layer in read(caffemodel).layers}
    for layer in read(old).layers:
        for role, value in layer.tensors.items():
            np.testing.assert_array_equal(value, new[layer.name][role])


def test_checkpoints_however_they_are_named(written_checkpoints: Path, tmp_path: Path) -> None:
    checkpoints = written_checkpoints
    v2 = checkpoints / "v2.ckpt"
    (v2 / "checkpoint").write_text('model_checkpoint_path: "/somebody/elses/net.ckpt"\n')
    named = [
        checkpoints / "v1.ckpt" / "net.ckpt",
        v2,
        v2 / "net.ckpt",
        v2 / "net.ckpt.index",
        v2 / "net.ckpt.data-00000-of-00001",
    ]
    for name, folder in (("one.tar.gz", "v1.ckpt"), ("two.tar.gz", "v2.ckpt")):
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            archive.add(checkpoints / folder, "x")
        named.append(tmp_path / name)
    found = [read(path) for path in named]
    assert len({one.sha256 for one in found}) == 1
    import tensorflow as tf

    oracle = tf.train.load_checkpoint(str(v2 / "net.ckpt"))
    tensors = {layer.name: layer.tensors for layer in found[0].layers}
    assert set(tensors) == {"net/a", "net/b"}
    np.testing.assert_array_equal(tensors["net/a"]["kernel"], oracle.get_tensor("net/a/weights"))
    np.testing.assert_array_equal(tensors["net/a"]["bias"], oracle.get_tensor("net/a/biases"))
    np.testing.assert_array_equal(tensors["net/b"]["gamma"], oracle.get_tensor("net/b/gamma"))
    assert found[0].remarks == ("2 tensors of the training (slots, averages, counters) left out.",)


@pytest.mark.parametrize("version", [1, 2])
def test_averages_over_the_training_are_taken(version: int, tmp_path: Path) -> None:
    """As TensorFlow's evaluation does, and the frozen graphs that TF-slim was released with."""
    import tensorflow as tf

    tensors = {
        "net/a/weights": np.zeros((3, 3, 1, 2), np.float32),
        "net/a/weights/ExponentialMovingAverage": np.ones((3, 3, 1, 2), np.float32),
        "net/a/biases": np.full(2, 3, np.float32),
        "net/a/biases/RMSProp": np.ones(2, np.float32),
    }
    names, values = list(tensors), [tf.constant(value) for value in tensors.values()]
    path = tmp_path / "net.ckpt"
    if version == 1:
        tf.raw_ops.Save(filename=str(path), tensor_names=names, data=values)
    else:
        slices = [""] * len(names)
        tf.raw_ops.SaveV2(
            prefix=str(path), tensor_names=names, shape_and_slices=slices, tensors=values
        )
    found = read(path)
    (layer,) = found.layers
    np.testing.assert_array_equal(layer.tensors["kernel"], np.ones((3, 3, 1, 2)))
    np.testing.assert_array_equal(layer.tensors["bias"], [3, 3])
    assert found.remarks == (
        "1 tensors are averages over the training, which evaluation takes.",
        "1 tensors of the training (slots, averages, counters) left out.",
    )


def test_vgg16_of_slim_and_caffe_is_keras_s(tmp_path: Path) -> None:
    spec = backbones.get("vgg16")
    model = backbones.load(spec, weights="none", size=32).model
    arrays, parts = {}, field(1, "VGG")
    for layer in model.layers:
        if not layer.weights:
            continue
        kernel, bias = layer.get_weights()
        block, conv = layer.name[5], layer.name[-1]
        parts += caffe_layer(
            f"conv{block}_{conv}", "Convolution", blob(kernel.transpose(3, 2, 0, 1)), blob(bias)
        )
        arrays[f"{layer.name}/kernel"], arrays[f"{layer.name}/bias"] = kernel, bias
    (tmp_path / "vgg.caffemodel").write_bytes(parts)
    np.savez(tmp_path / "vgg.npz", **arrays)
    from safetensors.numpy import save_file

    save_file({name: value.copy() for name, value in arrays.items()}, tmp_path / "vgg.safetensors")
    for name in ("vgg.caffemodel", "vgg.npz", "vgg.safetensors"):
        loaded = backbones.load(spec, weights=tmp_path / name, size=32)
        for ours, theirs in zip(loaded.model.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


class TestHostile:
    def test_archives_that_claim_more_than_they_hold(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.tar.gz"
        header = tarfile.TarInfo("net.ckpt")
        header.size = 4 << 30
        path.write_bytes(gzip.compress(header.tobuf() + bytes(1 << 16)))
        with pytest.raises(WeightsError, match="larger than the archive can hold"):
            read(path)

    @pytest.mark.parametrize("size", [1 << 63, (1 << 63) - 1, -5])
    def test_archives_of_impossible_sizes(self, size: int, tmp_path: Path) -> None:
        path = tmp_path / "x.tar"
        header = tarfile.TarInfo("net.ckpt").tobuf()
        octets = b"\x80" + size.to_bytes(11, "big") if size > 0 else b"\xff" * 11 + b"\xfb"
        head = header[:124] + octets + b" " * 8 + header[156:]
        total = f"{sum(head[:148]) + sum(head[156:]) + 8 * 32:06o}\0 ".encode()
        path.write_bytes(gzip.compress(head[:148] + total + head[148 + 8 :] + bytes(1 << 12)))
        with pytest.raises(WeightsError, match=str(path)):
            read(path)

    def test_headers_that_claim_more_than_a_number_holds(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tar.gz"
        said = b"9" * 30 + b" path=x\n"
        header = tarfile.TarInfo("h")
        header.type, header.size = tarfile.XHDTYPE, len(said)
        packed = header.tobuf() + said.ljust(512, b"\0") + tarfile.TarInfo("net").tobuf()
        path.write_bytes(gzip.compress(packed + bytes(1 << 11)))
        with pytest.raises(WeightsError, match="a damaged archive"):
            read(path)

    def test_headers_that_unpack_to_more_than_a_file_holds(self, tmp_path: Path) -> None:
        path = tmp_path / "x.tar.gz"
        header = tarfile.TarInfo("h")
        header.type, header.size = tarfile.XHDTYPE, 1 << 28
        path.write_bytes(gzip.compress(header.tobuf() + bytes(1 << 28), 1))
        with pytest.raises(WeightsError, match="more than a file of this length can hold"):
            read(path)

    def test_claims_of_tensors(self, tmp_path: Path) -> None:
        path = tmp_path / "x.caffemodel"
        huge = field(7, field(1, varint(1 << 30) + varint(1 << 30)))
        path.write_bytes(field(1, "x") + caffe_layer("a", "Convolution", huge))
        with pytest.raises(WeightsError, match="with 0 values"):
            read(path)
        header = b'{"a":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}}'
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        with pytest.raises(WeightsError, match="damaged .safetensors"):
            read(path)


def statistics(*values: np.ndarray) -> list[bytes]:
    return [blob(value) for value in values]
