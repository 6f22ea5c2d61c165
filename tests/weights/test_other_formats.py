"""Caffe, TensorFlow and plain arrays; oracles are TensorFlow itself and bytes made by hand."""

import gzip
import random
import struct
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from bottleneck import backbones
from bottleneck.errors import WeightsError
from bottleneck.weights import read


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(value: np.ndarray, *, old: bool = False) -> bytes:
    data = field(5, value.astype("<f4").tobytes())
    if old:
        sides = (1,) * (4 - value.ndim) + value.shape
        return b"".join(field(i + 1, side) for i, side in enumerate(sides)) + data
    return field(7, field(1, b"".join(varint(side) for side in value.shape))) + data


def caffe_layer(name: str, kind: str, *blobs: bytes) -> bytes:
    inner = field(1, name) + field(2, kind) + b"".join(field(7, b) for b in blobs)
    return field(100, inner)


def caffe_layer_v1(name: str, kind: int, *blobs: bytes) -> bytes:
    return field(2, field(4, name) + field(5, kind) + b"".join(field(6, b) for b in blobs))


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


CHECKPOINTS = """
import sys
import numpy as np, tensorflow as tf
folder = sys.argv[1]
v1 = tf.compat.v1
with v1.Session(graph=tf.Graph()) as session:
    rng = np.random.default_rng(0)
    shapes = {"net/a/weights": (3, 3, 2, 4), "net/a/biases": (4,), "net/b/gamma": (70, 9)}
    shapes |= {"net/a/weights/Adam": (3, 3, 2, 4), "global_step": ()}
    for name, shape in shapes.items():
        v1.get_variable(name, initializer=rng.normal(size=shape).astype("f4"))
    session.run(v1.global_variables_initializer())
    for version, name in [(v1.train.SaverDef.V1, "v1.ckpt"), (v1.train.SaverDef.V2, "v2.ckpt")]:
        v1.train.Saver(write_version=version).save(session, f"{folder}/{name}/net.ckpt")
"""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ("v1.ckpt", "v2.ckpt"):
        (folder / name).mkdir()
    subprocess.run(
        [sys.executable, "-c", CHECKPOINTS, folder], check=True, capture_output=True, timeout=120
    )
    return folder


def test_checkpoints_however_they_are_named(checkpoints: Path, tmp_path: Path) -> None:
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


def mutated(data: bytes, generator: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(generator.randint(1, 6)):
        at = generator.randrange(max(1, len(out)))
        match generator.randrange(4):
            case 0:
                out[at : at + 1] = bytes([generator.randrange(256)])
            case 1:
                out[at : at + 4] = b"\xff\xff\xff\xff"
            case 2:
                del out[at : at + generator.randint(1, 40)]
            case 3:
                out[at:at] = out[at : at + generator.randint(1, 40)]
    return bytes(out)


def statistics(*values: np.ndarray) -> list[bytes]:
    return [blob(value) for value in values]


def seeds(caffemodel: Path, checkpoints: Path, folder: Path) -> dict[str, bytes]:
    import h5py

    np.savez(folder / "x.npz", **{"a/kernel": DENSE})
    with h5py.File(folder / "x.h5", "w") as file:
        file.attrs["layer_names"] = [b"a"]
        file.create_group("a").attrs["weight_names"] = [b"a_W"]
        file["a/a_W"] = KERNEL
    header = b'{"a/kernel":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    tensor = field(1, 1) + field(2, field(2, field(1, 2))) + field(5, np.ones(2, "<f4").tobytes())
    node = field(1, "a/weights") + field(2, "Const")
    node += field(5, field(1, "value") + field(2, field(8, tensor)))
    return {
        "caffe": caffemodel.read_bytes(),
        "v1": (checkpoints / "v1.ckpt" / "net.ckpt").read_bytes(),
        "v2": (checkpoints / "v2.ckpt" / "net.ckpt.index").read_bytes(),
        "npz": (folder / "x.npz").read_bytes(),
        "hdf5": (folder / "x.h5").read_bytes(),
        "safetensors": struct.pack("<Q", len(header)) + header + bytes(8),
        "graph": field(1, node),
    }


def fuzz(caffemodel: Path, checkpoints: Path, folder: Path, count: int) -> None:
    for kind, seed in seeds(caffemodel, checkpoints, folder).items():
        generator = random.Random(kind)
        path = folder / "fuzz.index" if kind == "v2" else folder / "fuzz"
        (folder / "fuzz.data-00000-of-00001").write_bytes(
            (checkpoints / "v2.ckpt" / "net.ckpt.data-00000-of-00001").read_bytes()
        )
        path.write_bytes(seed)
        assert read(path).layers, kind
        for number in range(count):
            path.unlink()  # a new file: the old one may still be mapped
            path.write_bytes(mutated(seed, generator))
            start = time.monotonic()
            try:
                read(path)
            except WeightsError as error:
                said = str(error)
            else:
                said = str(path)
            assert str(folder / "fuzz") in said, (kind, number)
            assert time.monotonic() - start < 5, (kind, number)


def test_mutated_files_are_read_or_refused(caffemodel, checkpoints, tmp_path: Path) -> None:
    fuzz(caffemodel, checkpoints, tmp_path, 150)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_ten_thousand_mutations_of_each(caffemodel, checkpoints, tmp_path: Path) -> None:
    fuzz(caffemodel, checkpoints, tmp_path, 10_000)
