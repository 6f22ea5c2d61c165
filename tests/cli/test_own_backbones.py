"""``bottleneck backbones add``: names of one's own, and what a recipe makes of them."""

import hashlib
import os
import shutil
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
from caffe_files import Written
from fakes import write_png

from bottleneck import backbones
from bottleneck.backbones import own
from bottleneck.errors import OptionError
from bottleneck.extraction.run import build_embedder
from bottleneck.weights import reading


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in (own.CATALOGUE, own.WEIGHTS):
        monkeypatch.setenv(name, "")  # put back afterwards, whatever a command sets
    return tmp_path / "config" / "bottleneck" / "backbones.toml"


@pytest.fixture
def files(tmp_path) -> tuple[str, str]:
    (tmp_path / "nets").mkdir()
    net = Written("net", (3, 16, 16))
    net.conv("conv", "data", 3, 4, 3)
    net.conv("deep", "conv", 4, 6, 3)
    net.dense("fc", "deep", 6 * 144, 2)
    net.add("Softmax", "prob", "fc")
    return net.save(tmp_path / "nets")


def test_added_used_listed_removed(files, cli, at_home, monkeypatch) -> None:
    text, model = files
    monkeypatch.chdir(Path(text).parent)
    added = cli("backbones", "add", "mine", "deploy.prototxt", "--weights", "net.caffemodel",
                "--preprocess", "tf", "--layer", "conv", "--json")  # fmt: skip
    assert added.code == 0, added.err
    assert added.json["name"] == "mine"
    assert (added.json["input_size"], added.json["dim"]) == (16, 4)
    kept = tomllib.loads(at_home.read_text())["backbones"]["mine"]
    assert kept["backbone"] == f"caffe:{text}"
    assert kept["weights"] == model
    assert kept["layers"] == ["conv"]
    monkeypatch.chdir("/")
    mine = build_embedder(backbone="mine").recipe
    plain = build_embedder(
        backbone=f"caffe:{text}", weights=model, preprocess="tf", layers=["conv"]
    ).recipe
    assert mine.identity == plain.identity
    assert "mine" not in str(mine.identity)
    deep = build_embedder(backbone="mine", layers=["deep"], preprocess="none").recipe
    assert list(deep.identity["outputs"]) == ["deep.avg"]
    assert deep.identity["preprocess"]["name"] == "none"
    assert backbones.find("mine").file_name == "mine"
    rows = cli("backbones", "--json").json
    assert rows[0]["name"] == "mine"
    assert rows[0]["provider"] == "own"
    assert [row["name"] for row in cli("backbones", "min", "--json").json[:1]] == ["mine"]
    layers = cli("backbones", "mine", "--layers", "--json").json
    assert {"layer": "deep", "channels": 6, "height": 12, "width": 12} in layers
    assert cli("backbones", "remove", "mine").code == 0
    again = cli("backbones", "remove", "mine")
    assert again.code == 2
    assert "None was added" in again.err
    assert "expected the name of a backbone" in cli("backbones", "mine", "--layers").err


def test_what_is_refused(files, cli, tmp_path) -> None:
    text, model = files
    add = ("backbones", "add")
    assert "the catalogue does not have" in cli(*add, "resnet50", text, "--weights", model).err
    assert "letters, digits" in cli(*add, "a:b", text, "--weights", model).err
    assert "expected its weights" in cli(*add, "x", text).err
    assert "neither" in cli(*add, "x", tmp_path / "nothing").err
    assert "whose weights" in cli(*add, "x", shutil.copy(model, tmp_path / "weights")).err
    assert "--shared" in cli(*add, "x", text, "--weights", model, "--shared").err
    assert cli("backbones", "--json").json[0]["provider"] != "own"
    assert cli(*add, "x", text, "--weights", model).code == 0
    assert "--overwrite" in cli(*add, "x", text, "--weights", model).err
    assert cli(*add, "x", text, "--weights", model, "--overwrite").code == 0
    other = Written("net", (3, 16, 16), seed=1)
    for name, inputs, count in (("conv", 3, 4), ("deep", 4, 6)):
        other.conv(name, "data", inputs, count, 3)
    other.dense("fc", "deep", 6 * 144, 2)
    (tmp_path / "changed").mkdir()
    shutil.copy(other.save(tmp_path / "changed")[1], model)
    with pytest.raises(backbones.registry.WeightsError, match="has changed since"):
        backbones.load("x")


def test_a_team_s_folder(files, cli, tmp_path, at_home, monkeypatch) -> None:
    """Files in it are named relative to it: it may be mounted elsewhere."""
    folder = tmp_path / "nets"
    done = cli("--catalogue", folder, "backbones", "add", "net", files[0], "--weights", files[1],
               "--shared")  # fmt: skip
    assert done.code == 0, done.err
    assert not at_home.exists()
    kept = tomllib.loads((folder / "backbones.toml").read_text())["backbones"]["net"]
    assert (kept["backbone"], kept["weights"]) == ("caffe:deploy.prototxt", "net.caffemodel")
    moved = folder.rename(tmp_path / "elsewhere")
    monkeypatch.setenv(own.CATALOGUE, str(moved))
    assert backbones.load("net").weights.source == str(moved / "net.caffemodel")
    monkeypatch.setenv(own.CATALOGUE, "")
    with pytest.raises(backbones.registry.BackboneError):
        backbones.find("net")


@pytest.mark.parametrize("text", ["[", "[backbones.x]\nweights = 1", "[backbones]\nx = 3"])
def test_a_damaged_catalogue_is_named(text: str, at_home) -> None:
    at_home.parent.mkdir(parents=True)
    at_home.write_text(text)
    with pytest.raises(OptionError, match=r"backbones\.toml: expected a catalogue"):
        backbones.find("anything")


def test_weights_are_found_by_what_is_in_them(tmp_path, monkeypatch) -> None:
    spec = backbones.get("mobilenet_v3_small")
    made = backbones.load(spec, weights="none", size=32)
    folder = tmp_path / "weights" / "old"
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's own, of NumPy
        made.model.save_weights(folder / "a.weights.h5")
    (folder / "a.weights.h5").rename(folder / "some file")
    (folder / "notes.txt").write_text("not it")
    (folder / "b.h5").write_bytes(b"\x89HDF\r\n\x1a\n nor this")
    md5 = hashlib.md5((folder / "some file").read_bytes()).hexdigest()
    release = reading.Release("us", "published.h5", spec.name)
    monkeypatch.setitem(reading.RELEASES, md5, release)
    monkeypatch.setenv(
        own.WEIGHTS, os.pathsep.join([str(tmp_path / "no"), str(tmp_path / "weights")])
    )
    found = backbones.load(spec, size=32)
    assert found.weights.sha256 == made.weights.sha256
    assert found.weights.source == str(folder / "some file")
    images = np.zeros((1, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(found.model(images), made.model(images))


def test_a_rectangle_from_the_command_line_to_predict(cli, tmp_path) -> None:
    """Width x height, into the recipe, and back from it."""
    net = Written("net", (3, 16, 16))
    net.conv("conv", "data", 3, 4, 3)
    (tmp_path / "open").mkdir()
    text, model = net.save(tmp_path / "open")
    rng = np.random.default_rng(0)
    for kind in ("a", "b"):
        for number in range(4):
            path = tmp_path / "in" / kind / f"{number}.png"
            write_png(path, rng.integers(0, 256, (30, 40, 3), np.uint8))
    done = cli("extract", tmp_path / "in", "-b", f"caffe:{text}", "--weights", model, "-o",
               tmp_path / "x.h5", "--size", "24x12", "-q")  # fmt: skip
    assert done.code == 0, done.err
    recipe = cli("info", tmp_path / "x.h5", "--json").json["recipe"]
    assert recipe["identity"]["image"]["size"] == [12, 24]
    train = cli("train", tmp_path / "x.h5", "-o", tmp_path / "head", "--cv", "2")
    assert train.code == 0, train.err
    rows = cli("predict", tmp_path / "head", tmp_path / "in", "-q").out.splitlines()
    assert len(rows) == 9
    assert cli("extract", tmp_path / "in", "--size", "0x5", "-o", tmp_path / "y.h5").code == 2


def test_partial_weights_are_told_and_kept_in_the_recipe(cli, tmp_path) -> None:
    net = Written("net", (3, 16, 16))
    net.conv("conv", "data", 3, 4, 3)
    net.conv("deep", "conv", 4, 5, 3)
    text, model = net.save(tmp_path)
    Path(model).write_bytes(net.layers[0])
    write_png(tmp_path / "in" / "a.png", np.random.default_rng(0).integers(0, 256, (30, 40, 3)))
    command = ("extract", tmp_path / "in", "-b", f"caffe:{text}", "--weights", model, "-o",
               tmp_path / "x.h5")  # fmt: skip
    assert "'deep'" in cli(*command).err
    done = cli(*command, "--partial")
    assert done.code == 0, done.err
    assert "1 are random: deep" in done.err
    recipe = cli("info", tmp_path / "x.h5", "--json").json["recipe"]
    assert recipe["execution"]["network"]["partial"]["random"] == ["deep"]
    assert recipe["identity"]["network"]["random"] == ["deep"]
    assert "no --weights" in cli(*command[:4], "-o", tmp_path / "y.h5", "--partial").err
