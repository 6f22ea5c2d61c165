"""One file to deploy: it answers as `predict` does, wherever it is opened."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import bottleneck
from bottleneck.adapt.deployed import open_deployed, pixels_in_batches
from bottleneck.errors import HeadError, OptionError
from bottleneck.images import decode
from bottleneck.sources import open_source

ROOT = Path(__file__).parents[2]
NEEDED = {
    "m.onnx": ("tf2onnx", "onnxruntime"),
    "m.keras": (),
    "m": (),
    "m.xml": ("tf2onnx", "openvino"),
}


def written(folder, tmp_path, name, **options):
    for package in NEEDED[name]:
        pytest.importorskip(package, reason="the extra `deploy` is missing")
    options = {"images": folder / "photos/test", **options}
    return bottleneck.export(folder / "h.head", tmp_path / name, deploy=True, **options)


def answers(model, source):
    opened = open_source([str(source)])
    pixels = [decode(opened.read(row), model.geometry) for row in range(len(opened))]
    return model.records(pixels_in_batches(np.stack(pixels), model.compute, 5))


@pytest.mark.parametrize("name", NEEDED)
def test_it_answers_as_predict_does(trained, tmp_path, name):
    result = written(trained, tmp_path, name).to_json()
    assert result["checked"] == result["same_labels"] == 18
    assert result["largest_difference"] < 1e-4
    place = tmp_path / name
    model = open_deployed(place)
    found = answers(model, trained / "photos/test")
    expected = bottleneck.predict(
        trained / "h.head", trained / "photos/test", top_k="all", runtime="tensorflow"
    ).records
    for one, other in zip(found, expected, strict=True):
        assert one["label"] == other["label"]
        for label, probability in other["probabilities"].items():
            assert one["probabilities"][label] == pytest.approx(probability, abs=1e-4)
    assert result["bytes"] > 1e6
    assert model.about["image"]["size"] == 64
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        {name, "m.bin"} if name == "m.xml" else {name}
    )
    # Again in its place, where the same kind of model is.
    assert written(trained, tmp_path, name).to_json()["same_labels"] == 18


def test_the_graph_says_class_names_itself(trained, tmp_path):
    written(trained, tmp_path, "m.onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [64, 64, 3])
    label, probabilities = session.run(
        ["label", "probabilities"], {"images": np.zeros((2, 64, 64, 3), np.uint8)}
    )
    about = json.loads(session.get_modelmeta().custom_metadata_map["bottleneck"])
    assert about["classes"] == ["bag", "sneaker", "trouser"]
    assert [about["classes"][i] for i in probabilities.argmax(axis=1)] == label.tolist()


def test_the_client_of_the_examples_needs_nothing_of_ours(trained, tmp_path):
    written(trained, tmp_path, "m.onnx")
    images = sorted((trained / "photos/test").rglob("*.png"))
    # Of other proportions than the square, so that there is something to cut off.
    from PIL import Image

    tall = tmp_path / "tall.png"
    Image.effect_noise((90, 131), 60).convert("RGB").save(tall)
    code = "import sys; sys.modules['bottleneck'] = None; import runpy; sys.argv = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    client = ROOT / "examples/deployed_client.py"
    done = subprocess.run(
        [sys.executable, "-c", code, client, tmp_path / "m.onnx", *images, tall],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    expected = bottleneck.predict(
        trained / "h.head", [trained / "photos/test", tall], runtime="tensorflow"
    ).records
    assert [(line[1], float(line[2])) for line in lines] == [
        (record["label"], pytest.approx(record["probability"], abs=1e-4)) for record in expected
    ]


@pytest.mark.parametrize("rule", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(41, 90), (90, 41), (64, 64), (7, 300)])
def test_the_clients_resize_rule_is_ours(tmp_path, rule, size):
    import runpy

    from PIL import Image

    from bottleneck.images import Geometry

    pytest.importorskip("onnxruntime", reason="the client imports it")
    pixels = runpy.run_path(str(ROOT / "examples/deployed_client.py"))["pixels"]
    path = tmp_path / "image.png"
    Image.effect_noise(size, 90).convert("RGB").save(path)
    geometry = Geometry(64, rule)
    ours = decode(path.read_bytes(), geometry).astype(int)
    theirs = pixels(path, json.loads(json.dumps(geometry.recipe()))).astype(int)
    assert np.abs(ours - theirs).max() <= 1


def test_int8_is_openvinos_and_needs_images(trained, tmp_path):
    with pytest.raises(OptionError, match=r"ends in \.xml for int8"):
        written(trained, tmp_path, "m.onnx", precision="int8")
    with pytest.raises(OptionError, match="images to calibrate int8"):
        bottleneck.export(trained / "h.head", tmp_path / "m.xml", deploy=True, precision="int8")


def test_int8_is_judged_on_images_it_was_not_calibrated_with(trained, tmp_path):
    pytest.importorskip("nncf", reason="the extra `openvino` is missing")
    result = written(
        trained, tmp_path, "m.xml", precision="int8", images=trained / "photos"
    ).to_json()
    assert result["checked"] == 13  # of 66 every fifth
    assert result["cosine"] > 0.95
    assert open_deployed(tmp_path / "m.xml").about["precision"] == "int8"


def test_a_model_that_answers_otherwise_is_not_kept(trained, tmp_path, monkeypatch):
    from bottleneck.adapt import deploy

    honest = deploy.whole_model

    def wrong(*args, **kwargs):
        whole = honest(*args, **kwargs)
        last = whole.model.get_layer("top").get_layer("head")
        weights, bias = last.get_weights()
        last.set_weights([weights, bias + np.array([0, 0.01, 0])])
        return whole

    monkeypatch.setattr(deploy, "whole_model", wrong)
    with pytest.raises(HeadError, match="to answer as predict does to 0.0001"):
        written(trained, tmp_path, "m.keras")
    assert list(tmp_path.iterdir()) == []


def test_other_files_and_folders_stay(trained, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m/mine.txt").write_text("mine")
    with pytest.raises(OptionError, match="a new folder, or a model written before"):
        bottleneck.export(trained / "h.head", tmp_path / "m", deploy=True)
    (tmp_path / "m.bin").write_text("mine")
    with pytest.raises(OptionError, match="where the weights of"):
        bottleneck.export(trained / "h.head", tmp_path / "m.xml", deploy=True)
    with pytest.raises(OptionError, match=r"ends in \.onnx, \.keras or \.xml, or a folder"):
        bottleneck.export(trained / "h.head", tmp_path / "m.txt", deploy=True)
    for options in ({"precision": "int8"}, {"images": "x"}, {"weights": "x"}):
        with pytest.raises(OptionError, match="expected --deploy with"):
            bottleneck.export(trained / "h.head", tmp_path / "m.onnx", **options)
    with pytest.raises(OptionError, match="expected no --compress"):
        bottleneck.export(trained / "h.head", tmp_path / "a.onnx", deploy=True, to="npy")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras, as it saves
def test_what_is_no_deployed_model_is_refused(trained, tmp_path):
    import keras

    with pytest.raises(HeadError, match="found nothing at"):
        open_deployed(tmp_path / "none.onnx")
    for name in ("broken.onnx", "broken.keras", "broken.xml"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(HeadError, match="expected a model"):
            open_deployed(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(HeadError, match="classes and resize rule, found neither"):
        open_deployed(tmp_path / "folder")
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    plain.save(tmp_path / "plain.keras")
    with pytest.raises(HeadError, match="classes and resize rule, found neither"):
        open_deployed(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "plain.keras", "a") as archive:
        archive.writestr("bottleneck.json", json.dumps({"version": 99}))
    with pytest.raises(HeadError, match="a model of format 1, got 99"):
        open_deployed(tmp_path / "plain.keras")


@pytest.mark.heavy
@pytest.mark.parametrize("name", NEEDED)
def test_all_test_images_of_the_sample_get_predicts_labels(tmp_path, name):
    for package in NEEDED[name]:
        pytest.importorskip(package, reason="the extra `deploy` is missing")
    sample = ROOT / "data/sample"
    bottleneck.extract(sample, tmp_path / "f.h5")
    bottleneck.train(tmp_path / "f.h5", tmp_path / "h.head")
    bottleneck.export(tmp_path / "h.head", tmp_path / name, deploy=True)
    expected = bottleneck.predict(tmp_path / "h.head", sample / "test").records
    found = answers(open_deployed(tmp_path / name), sample / "test")
    assert len(found) == 300
    assert [r["label"] for r in found] == [r["label"] for r in expected]
