import json
import sys
from dataclasses import dataclass

import pytest
from fakes import MeanBackbone, fake_recipe

from bottleneck import backbones
from bottleneck.cli.main import main
from bottleneck.extraction import Embedder
from bottleneck.images import Geometry


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def cli(capsys, monkeypatch):
    """Run the command line in this process, as the installed command does."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bottleneck", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Result(stop.value.code or 0, captured.out, captured.err)

    return run


class OneOutput(MeanBackbone):
    """The mean colour only: six features would need --feature everywhere."""

    def __init__(self):
        super().__init__(dims={"avg": 3})

    def __call__(self, batch):
        return {"avg": super().__call__(batch)["mean"]}


@pytest.fixture
def fake_backbone(monkeypatch):
    """Extract and predict with the NumPy backbone instead of TensorFlow."""

    def build(*, backbone, size, dtype, precision="float32", resize=None, **_):
        backbones.get(backbone)
        geometry = Geometry(size or 16, resize or "crop")
        recipe = fake_recipe({"image": geometry.recipe()}, {"dtype": dtype, "precision": precision})
        return Embedder(recipe, geometry, OneOutput())

    def rebuild(recipe, *, owner, weights=None, runtime="auto", devices=()):
        image = recipe.identity["image"]
        geometry = Geometry(image["size"], image["resize"]["rule"])
        return Embedder(recipe, geometry, OneOutput())

    monkeypatch.setattr("bottleneck.extraction.run.build_embedder", build)
    monkeypatch.setattr("bottleneck.extraction.rebuild_embedder", rebuild)


@pytest.fixture
def colours(tmp_path):
    """Three classes that the mean colour tells apart, with a train/test split."""
    import numpy as np
    from fakes import write_png

    rng = np.random.default_rng(3)
    root = tmp_path / "colours"
    for channel, name in enumerate(("red", "green", "blue")):
        for i in range(20):
            pixels = rng.integers(0, 120, (12, 14, 3))
            pixels[..., channel] += 100
            split = "test" if i % 4 == 0 else "train"
            write_png(root / split / name / f"{i}.png", pixels)
    return root


@pytest.fixture
def features(cli, colours, tmp_path):
    """A feature file of the colours; with the fake backbone."""
    assert cli("extract", colours, "-o", tmp_path / "f.h5", "-q").code == 0
    return tmp_path / "f.h5"


@pytest.fixture
def head(cli, features, tmp_path):
    """A head trained on it."""
    assert cli("train", features, "-o", tmp_path / "logreg.head", "-q").code == 0
    return tmp_path / "logreg.head"
