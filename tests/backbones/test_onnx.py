"""``onnx:FILE#tensor``: what is read of a file, and what it computes, on both runtimes."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnx_files as small
import pytest
from onnx import numpy_helper

from bottleneck import backbones, runtimes
from bottleneck.backbones import DeclaredInput, Map, OutputSpec, Tokens, Vector
from bottleneck.errors import BackboneError, OptionError, WeightsError

TORCH = DeclaredInput.parse("torch")
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE = np.array([103.939, 116.779, 123.68])


@pytest.fixture
def pixels():
    return np.random.default_rng(2).integers(0, 256, (5, small.SIDE, small.SIDE, 3), np.uint8)


def load(path, tensor="", declared=TORCH, **options):
    name = f"onnx:{path}" + (f"#{tensor}" if tensor else "")
    return backbones.load(name, declared=declared, **options)


def computed(network, outputs, pixels):
    return runtimes.get("onnxruntime").compile(network, outputs, device="cpu")(pixels)


def torch_input(pixels):
    return ((pixels / 255 - MEAN) / STD).transpose(0, 3, 1, 2)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_a_map_is_pooled(tmp_path, pixels):
    network = load(small.maps(tmp_path / "m.onnx"), "/map/relu")
    assert network.shape(None) == Map(small.GRID, small.GRID, small.CHANNELS, True)
    assert network.size == small.SIDE
    outputs = [OutputSpec(pool=pool) for pool in ("avg", "max", "avgmax", "gem", "none")]
    outputs.append(OutputSpec("vector", None))
    found = computed(network, outputs, pixels)
    maps = np.maximum(small.patches(torch_input(pixels)), 0)
    close(found["avg"], maps.mean((2, 3)))
    close(found["max"], maps.max((2, 3)))
    close(found["avgmax"], np.concatenate([maps.mean((2, 3)), maps.max((2, 3))], 1))
    close(found["gem"], np.cbrt((np.maximum(maps, 1e-6) ** 3).mean((2, 3))))
    close(found["none"], maps.transpose(0, 2, 3, 1).reshape(5, -1))
    close(found["vector.own"], maps.mean((2, 3)))


def test_tokens_are_pooled_without_registers(tmp_path, pixels):
    network = load(small.transformer(tmp_path / "t.onnx"))
    count = 1 + small.REGISTERS + small.GRID**2
    assert network.shape(None) == Tokens(count, small.CHANNELS, 1 + small.REGISTERS)
    outputs = [OutputSpec(pool=pool) for pool in ("cls", "avg", "clsavg", "max", "gem", "tokens")]
    found = computed(network, outputs, pixels)
    tokens = small.tokens(torch_input(pixels))
    patches = tokens[:, 1 + small.REGISTERS :]
    close(found["cls"], tokens[:, 0])
    close(found["avg"], patches.mean(1))
    close(found["clsavg"], np.concatenate([tokens[:, 0], patches.mean(1)], 1))
    close(found["max"], patches.max(1))
    close(found["gem"], np.cbrt((np.maximum(patches, 1e-6) ** 3).mean(1)))
    close(found["tokens"], tokens.reshape(5, -1))
    assert network.taken([OutputSpec(None, None)])[0][0].pool == "cls"


def test_channels_last_and_bgr_means(tmp_path, pixels):
    network = load(small.nhwc(tmp_path / "n.onnx"), declared=DeclaredInput.parse("caffe"))
    assert network.shape(None) == Map(small.GRID, small.GRID, small.CHANNELS)
    assert network.shape("patches") == Map(small.GRID, small.GRID, small.CHANNELS, True)
    found = computed(network, [OutputSpec(), OutputSpec("patches", "max")], pixels)
    maps = small.patches((pixels[..., ::-1] - CAFFE).transpose(0, 3, 1, 2))
    close(found["avg"], maps.mean((2, 3)))
    close(found["patches.max"], maps.max((2, 3)))


def test_a_fixed_batch_is_kept(tmp_path, pixels):
    network = load(small.transformer(tmp_path / "f.onnx", batch=2))
    found = computed(network, [OutputSpec(pool="cls")], pixels)
    close(found["cls"], small.tokens(torch_input(pixels))[:, 0])


def test_weights_are_told_by_what_they_are(tmp_path, pixels):
    """Not by the file, their names, their order, or where in it they lie."""
    plain = load(small.maps(tmp_path / "plain.onnx"))
    inside = load(small.maps_in_constants(tmp_path / "inside.onnx"))
    beside = load(small.maps(tmp_path / "beside.onnx", external=True))
    assert len({one.weights.sha256 for one in (plain, inside, beside)}) == 1
    assert plain.details["parameters"] == small.KERNEL.size + small.BIAS.size
    expected = np.maximum(small.patches(torch_input(pixels)), 0).mean((2, 3))
    for network in (plain, inside, beside):
        assert network.shape(None) == Vector(small.CHANNELS)
        close(computed(network, [OutputSpec(pool="own")], pixels)["own"], expected)


def test_names_do_not_matter_but_what_is_computed_does(tmp_path):
    first = load(small.maps_in_constants(tmp_path / "a.onnx"))
    second = load(small.maps_in_constants(tmp_path / "b.onnx", prefix="other"))
    assert first.facts["graph_sha256"] == second.facts["graph_sha256"]
    model = onnx.load(tmp_path / "a.onnx")
    (relu,) = (node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Tanh"
    onnx.save(model, tmp_path / "c.onnx")
    third = load(tmp_path / "c.onnx")
    assert third.weights.sha256 == first.weights.sha256
    assert third.facts["graph_sha256"] != first.facts["graph_sha256"]


def test_another_weight_is_another_fingerprint(tmp_path):
    path = small.maps(tmp_path / "a.onnx")
    before = load(path).weights.sha256
    model = onnx.load(path)
    changed = numpy_helper.to_array(model.graph.initializer[0]).copy()
    changed.flat[7] += 1e-3
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(changed, "kernel"))
    onnx.save(model, path)
    assert load(path).weights.sha256 != before


def test_weights_outside_the_folder_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    path = small.maps(tmp_path / "in" / "m.onnx", external=True)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret"
    (tmp_path / "secret").write_bytes(bytes(10**5))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="outside its folder"):
        load(path)


def test_an_open_size_has_to_be_said(tmp_path):
    path = small.transformer(tmp_path / "o.onnx", side="side")
    with pytest.raises(BackboneError, match=r"leaves open"):
        load(path)
    network = load(path, size=(48, 32))
    assert network.shape(None) == Tokens(1 + small.REGISTERS + 24, small.CHANNELS, 3)
    pixels = np.random.default_rng(3).integers(0, 256, (2, 48, 32, 3), np.uint8)
    found = computed(network, [OutputSpec(pool="avg")], pixels)
    close(found["avg"], small.tokens(torch_input(pixels))[:, 3:].mean(1))


def test_what_does_not_fit_is_refused(tmp_path):
    path = small.maps(tmp_path / "m.onnx")
    with pytest.raises(OptionError, match="expected its preprocessing") as error:
        load(path, declared=None)
    assert "--preprocess torch, tf" in str(error.value.hint)
    with pytest.raises(BackboneError, match="32 x 32 pixels, which the graph fixes"):
        load(path, size=64)
    with pytest.raises(BackboneError, match="expected a tensor of the graph") as error:
        load(path, "/map/rely")
    assert "/map/relu" in str(error.value.hint)
    with pytest.raises(BackboneError, match=r"vector of vector: own, got cls"):
        load(path).taken([OutputSpec(pool="cls")])
    with pytest.raises(WeightsError, match="cannot be read"):
        load(tmp_path / "none.onnx")
    for junk in (b"", b"no such thing", bytes(range(256)) * 9, path.read_bytes()[:-700]):
        (tmp_path / "junk.onnx").write_bytes(junk)
        with pytest.raises((WeightsError, BackboneError)):
            load(tmp_path / "junk.onnx")


def test_keras_runtimes_refuse_graphs(tmp_path):
    network = load(small.maps(tmp_path / "m.onnx"))
    with pytest.raises(BackboneError, match="of the form keras for this runtime, got graph"):
        runtimes.get("tensorflow").compile(network, [OutputSpec(pool="own")])


OPENVINO = """
import sys
import numpy as np
from bottleneck import backbones, runtimes
from bottleneck.backbones import DeclaredInput, OutputSpec

pixels = np.load(sys.argv[1])
found = {}
for case in sys.argv[3:]:
    key, name, preprocess, *pools = case.split("|")
    network = backbones.load(name, declared=DeclaredInput.parse(preprocess))
    for runtime in ("openvino", "onnxruntime"):
        outputs = [OutputSpec(pool=pool) for pool in pools]
        step = runtimes.get(runtime).compile(network, outputs, device="cpu")
        for pool, value in step(pixels).items():
            found[f"{runtime}/{key}/{pool}"] = value
np.savez(sys.argv[2], **found)
"""


@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
def test_openvino_computes_the_same(tmp_path, pixels):
    cases = {
        "map": (
            small.maps(tmp_path / "m.onnx"),
            "#/map/relu",
            "torch",
            "avg",
            "max",
            "gem",
            "none",
        ),
        "constants": (small.maps_in_constants(tmp_path / "c.onnx"), "", "torch", "own"),
        "beside": (small.maps(tmp_path / "b.onnx", external=True), "", "tf", "own"),
        "nhwc": (small.nhwc(tmp_path / "n.onnx"), "", "caffe", "avg", "max"),
        "tokens": (
            *(small.transformer(tmp_path / "t.onnx"), "", "torch"),
            *("cls", "avg", "clsavg", "gem", "tokens"),
        ),
        "batch": (small.transformer(tmp_path / "f.onnx", batch=2), "", "torch", "cls"),
    }
    np.save(tmp_path / "pixels.npy", pixels)
    lines = [f"{key}|onnx:{path}{tensor}|{'|'.join(more)}"
             for key, (path, tensor, *more) in cases.items()]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", OPENVINO, tmp_path / "pixels.npy", tmp_path / "out.npz", *lines],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as found:
        keys = [key.removeprefix("openvino/") for key in found if key.startswith("openvino/")]
        assert len(keys) == sum(len(case) - 3 for case in cases.values())
        for key in keys:
            close(found[f"openvino/{key}"], found[f"onnxruntime/{key}"])


def test_a_backbone_of_a_file_from_the_command_line(tmp_path, monkeypatch):
    """Extract, train and predict; the file may move, and names its weights with --weights then."""
    from bottleneck import FeatureStore, extract, predict, train

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    from PIL import Image

    rng = np.random.default_rng(0)
    for channel, label in enumerate(("red", "green")):
        for i in range(12):
            colours = rng.integers(0, 120, (40, 50, 3))
            colours[..., channel] += 100
            folder = tmp_path / "images" / label
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(colours.astype(np.uint8)).save(folder / f"{i}.png")
    path = small.transformer(tmp_path / "t.onnx")
    output = tmp_path / "f.h5"
    options = {"backbone": f"onnx:{path}#/block/tokens", "preprocess": "torch;crop=1.0"}
    options["runtime"] = "onnxruntime"
    extract(tmp_path / "images", output, worker_kind="threads", workers=1, **options)
    recipe = FeatureStore.open(output).recipe
    assert recipe.backbone == "onnx:t.onnx#/block/tokens"
    assert recipe.identity["outputs"] == {"cls": {"layer": None, "pool": "cls"}}
    assert recipe.identity["image"]["resize"]["ratio"] == 1.0
    admission = recipe.execution["network"]["admission"]
    assert admission["pictures"] == 8
    assert admission["least_difference"] > 1e-3
    assert json.loads(recipe.to_json())["execution"]["network"]["parameters"] > 1000
    again = extract(tmp_path / "images", output, worker_kind="threads", workers=1, **options)
    assert (again.ok, again.already_done) == (0, 24)

    train(output, tmp_path / "head", head="logreg")
    (tmp_path / "elsewhere").mkdir()
    path.rename(tmp_path / "elsewhere" / "moved.onnx")
    found = predict(
        tmp_path / "head",
        tmp_path / "images" / "red" / "0.png",
        weights=tmp_path / "elsewhere" / "moved.onnx",
    )
    assert [row["label"] for row in found.records or ()] == ["red"]


def test_partial_weights_of_a_file_are_refused_by_name(tmp_path):
    path = small.nhwc(tmp_path / "n.onnx")
    with pytest.raises(OptionError, match=r"onnx:n.onnx: expected all of its weights, got --part"):
        backbones.load(f"onnx:{path}", weights=f"partial:{path}", declared=TORCH)
