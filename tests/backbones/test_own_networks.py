"""Every kind of own network works by one command: those that the page of backbones tells."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_files as small
import pytest
from fakes import write_png

from bottleneck.store import FeatureStore

PAGE = Path(__file__).parents[2] / "docs/backbones.md"

KERAS = f"""
import keras
images = keras.Input(({small.SIDE}, {small.SIDE}, 3))
x = keras.layers.Conv2D(6, 3, strides=2, activation="relu")(images)
keras.Model(images, keras.layers.GlobalAveragePooling2D()(x)).save("mine.keras")
"""

CODE = "import sys; from bottleneck.cli.main import main; sys.argv[0] = 'bottleneck'; main()"

DIMS = {"constants": small.CHANNELS, "nhwc": small.CHANNELS, "maps": small.CHANNELS, "mine": 6,
        "tokens": 2 * small.CHANNELS, "vectors": small.CHANNELS}  # fmt: skip


def commands():
    section = PAGE.read_text().split("## A network of your own, in one command")[1]
    block = re.search(r"```console\n(.*?)```", section, re.S)[1]
    return [shlex.split(line[2:])[1:] for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(6)
    for i in range(4):
        write_png(place / f"photos/{'ab'[i % 2]}/{i}.png", rng.integers(0, 256, (40, 50, 3)))
    small.maps_in_constants(place / "constants.onnx")
    small.nhwc(place / "nhwc.onnx")
    small.maps(place / "maps.onnx")
    small.maps(place / "vectors.onnx")
    small.transformer(place / "tokens.onnx")
    subprocess.run([sys.executable, "-c", KERAS], cwd=place, check=True, capture_output=True)
    return place


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_command_works(words, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(PAGE.parents[1]))
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    if words[0] == "extract":
        store = FeatureStore.open(folder / words[words.index("-o") + 1])
        assert store.complete
        assert list(store.outputs.values()) == [DIMS[store.path.stem]]
        assert np.isfinite(store.features(store.output_name())[:]).all()
    else:
        assert "tokens" in done.stdout
