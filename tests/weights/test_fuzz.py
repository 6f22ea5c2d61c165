"""Hostile weights: thousands of mutations of a small file of each kind; see fuzz.py."""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras_layouts
import numpy as np
import pytest
from caffe_files import Written, blob, caffe_layer_v1, wire

FUZZ = Path(__file__).with_name("fuzz.py")


@dataclass
class Variable:
    name: str
    value: np.ndarray

    def __array__(self, dtype=None, copy=None):
        return self.value if dtype is None else self.value.astype(dtype)


@dataclass
class LayerLike:
    name: str
    weights: list[Variable]

    def get_weights(self):
        return [one.value for one in self.weights]


@dataclass
class ModelLike:
    """What the writers of layouts ask of a network."""

    layers: list[LayerLike]


def network() -> ModelLike:
    rng = np.random.default_rng(0)

    def layer(name, kernel, bias):
        values = rng.normal(size=kernel).astype("f4"), rng.normal(size=bias).astype("f4")
        return LayerLike(
            name,
            [Variable(role, value) for role, value in zip(("kernel", "bias"), values, strict=True)],
        )

    return ModelLike([layer("conv1", (3, 3, 3, 4), 4), layer("dense", (6, 5), 5)])


def keras_3(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        for index, layer in enumerate(network().layers):
            kind = ("conv2d", "dense")[index]
            for number, value in enumerate(layer.get_weights()):
                file[f"layers/{kind}/vars/{number}"] = value
    return path


def tensor(value: np.ndarray) -> bytes:
    shape = wire(2, b"".join(wire(2, wire(1, side)) for side in value.shape))
    return wire(1, 1) + shape + wire(5, value.astype("<f4").tobytes())


def graph() -> bytes:
    nodes = b""
    for layer in network().layers:
        for one in layer.weights:
            node = wire(1, f"net/{layer.name}/{one.name}") + wire(2, "Const")
            node += wire(5, wire(1, "value") + wire(2, wire(8, tensor(one.value))))
            nodes += wire(1, node)
    return nodes


V1_TEXT = """
name: "old" input: "data" input_dim: 1 input_dim: 3 input_dim: 6 input_dim: 6
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv"  # a comment
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 1e-2 } } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "pool" type: POOLING bottom: "conv" top: "p" pooling_param { pool: AVE pad: [1, 1]
  kernel_size: 3 stride: 2 } }
layers { name: 'loss' type: SOFTMAX_LOSS bottom: "p" bottom: "data" }
"""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory, written_checkpoints: Path) -> dict[str, Path]:
    """A small file of each kind that is read."""
    folder, model = tmp_path_factory.mktemp("seeds"), network()
    net = Written("net", (3, 9, 9))
    net.conv("conv", "data", 3, 4, 3)
    net.add("BatchNorm", "bn", "conv", "batch_norm_param { eps: 0.001 }",
            [np.ones(4), np.ones(4), np.ones(1)], tops="conv")  # fmt: skip
    net.add("LRN", "norm", "conv", "lrn_param { alpha: 1e-4 norm_region: WITHIN_CHANNEL }")
    net.pool("pool", "norm", "pool: MAX kernel_size: 3 stride: 2")
    net.dense("fc", "pool", 36, 2)
    net.add("Softmax", "prob", "fc")
    text, caffemodel = net.save(folder)
    old = folder / "old.caffemodel"
    old.write_bytes(
        wire(1, "old")
        + wire(3, "data")
        + b"".join(wire(4, side) for side in (1, 3, 9, 9))
        + caffe_layer_v1("conv", 4, blob(np.ones((4, 3, 3, 3)), old=True),
                         more=wire(2, "data") + wire(3, "c") + wire(10, wire(1, 4) + wire(4, 3)))
    )  # fmt: skip
    (folder / "old.prototxt").write_text(V1_TEXT)
    arrays = {
        f"{layer.name}/{one.name}": one.value for layer in model.layers for one in layer.weights
    }
    np.savez(folder / "plain.npz", **arrays)
    np.savez_compressed(folder / "packed.npz", **arrays)
    header, body = {}, b""
    for name, value in arrays.items():
        offsets = [len(body), len(body) + value.nbytes]
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": offsets}
        body += value.tobytes()
    said = json.dumps(header).encode()
    (folder / "x.safetensors").write_bytes(struct.pack("<Q", len(said)) + said + body)
    (folder / "x.pb").write_bytes(graph())
    with zipfile.ZipFile(folder / "x.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(keras_3(folder / "three.h5"), "model.weights.h5")
    v1, v2 = (written_checkpoints / one / "net.ckpt" for one in ("v1.ckpt", "v2.ckpt"))
    (folder / "v1.ckpt").write_bytes(v1.read_bytes())
    (folder / "v2.index").write_bytes(v2.with_name("net.ckpt.index").read_bytes())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(v1, "x/net.ckpt")
    (folder / "bare.tar").write_bytes(packed.getvalue())
    (folder / "v1.tar.gz").write_bytes(gzip.compress(packed.getvalue()))
    kinds = {
        "keras-0": keras_layouts.write_numbered(model, folder / "0.h5"),
        "keras-1": keras_layouts.write_keras_1(model, folder / "1.h5", ordering="th", theano=True),
        "keras-2": keras_layouts.write_keras_2(model, folder / "2.h5", backend="theano"),
        "keras-whole": keras_layouts.write_keras_2(
            model, folder / "w.h5", backend="tensorflow", whole=True
        ),
        "keras-3": folder / "three.h5",
        "keras-zip": folder / "x.keras",
        "caffemodel": Path(caffemodel),
        "caffemodel-1": old,
        "prototxt": Path(text),
        "prototxt-1": folder / "old.prototxt",
        "checkpoint-1": folder / "v1.ckpt",
        "checkpoint-2": folder / "v2.index",
        "tar": folder / "bare.tar",
        "tar.gz": folder / "v1.tar.gz",
        "graph": folder / "x.pb",
        "npz": folder / "plain.npz",
        "npz-packed": folder / "packed.npz",
        "safetensors": folder / "x.safetensors",
    }
    assert set(kinds) == {kind for kind, _ in KINDS}
    (folder / "data").write_bytes(v2.with_name("net.ckpt.data-00000-of-00001").read_bytes())
    return kinds


KINDS = [
    *(("keras-0", "read"), ("keras-1", "read"), ("keras-2", "read"), ("keras-whole", "read")),
    *(("keras-3", "read"), ("keras-zip", "read"), ("caffemodel", "read")),
    *(("caffemodel-1", "read"), ("caffemodel", "net"), ("caffemodel-1", "net")),
    *(("prototxt", "net"), ("prototxt-1", "net"), ("checkpoint-1", "read")),
    *(("checkpoint-2", "read"), ("tar", "read"), ("tar.gz", "read"), ("graph", "read")),
    *(("npz", "read"), ("npz-packed", "read"), ("safetensors", "read")),
]
"""Each kind of file, and what reads it: the reader of weights, or that of networks."""


def fuzz(kind: str, way: str, seeds: dict[str, Path], folder: Path, count: int) -> None:
    seed = seeds[kind]
    if kind == "checkpoint-2":
        data = seed.with_name("data").read_bytes()
        (folder / "fuzz.data-00000-of-00001").write_bytes(data)
    done = subprocess.run(
        [sys.executable, FUZZ, way, seed, folder, str(count)],
        capture_output=True,
        text=True,
        timeout=120 + count * 0.2,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    number = folder / "number"
    at = number.read_text() if number.exists() else "-"
    assert done.returncode == 0, f"{kind} {way}: mutation {at}\n{done.stderr[-3000:]}"
    found = json.loads(done.stdout)
    print(kind, way, found)
    assert found["read"] + found["refused"] == count
    assert found["nameless"] == 0, "an error that does not say which file"
    assert found["grown_mb"] < 256


@pytest.mark.parametrize(("kind", "way"), KINDS, ids=map(" ".join, KINDS))
def test_mutations_are_read_or_refused(kind, way, seeds, tmp_path: Path) -> None:
    fuzz(kind, way, seeds, tmp_path, 150)


@pytest.mark.heavy
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(("kind", "way"), KINDS, ids=map(" ".join, KINDS))
def test_ten_thousand_mutations(kind, way, seeds, tmp_path: Path) -> None:
    fuzz(kind, way, seeds, tmp_path, 10_000)
