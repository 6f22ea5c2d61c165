"""``bottleneck info WEIGHTS``: what it is, what is inside, what it fits."""

import h5py
import numpy as np
import pytest
from keras_layouts import write_keras_1

from bottleneck import backbones


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    model = backbones.load(backbones.get("vgg16"), weights="none", size=32).model
    path = tmp_path_factory.mktemp("w") / "some.file"
    write_keras_1(model, path, ordering="th", theano=True)
    with h5py.File(path, "r+") as file:
        file.create_group("predictions").attrs["weight_names"] = [b"predictions_W"]
        file["predictions/predictions_W"] = np.zeros((4, 2), np.float32)
        file.attrs["layer_names"] = [*list(file.attrs["layer_names"]), "predictions"]
    return path


def test_weights_and_what_they_fit(cli, vgg_file) -> None:
    report = cli("info", vgg_file, "--json").json
    assert report["kind"] == "weights"
    assert report["format"] == "keras-1"
    assert report["release"] is None
    assert report["parameters"] == 14_714_688 + 8
    assert report["fits"] == [{"backbone": "vgg16", "left_over": ["predictions"]}]
    assert report["layers"][0] == {
        "name": "block1_conv1",
        "kind": "",
        "shapes": {"kernel": [3, 3, 3, 64], "bias": [64]},
        "parameters": 1792,
    }
    text = cli("info", vgg_file).out
    assert "fits -b vgg16; left over: predictions" in text
    assert "turned back" in text


def test_other_files_are_what_they_were(cli, tmp_path) -> None:
    (tmp_path / "x.h5").write_text("nothing of ours")
    result = cli("info", tmp_path / "x.h5")
    assert result.code == 1
    assert "HDF5" in result.err
