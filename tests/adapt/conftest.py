"""A head on real features of a few real images, small enough for every test."""

from pathlib import Path

import pytest

import bottleneck

SAMPLE = Path(__file__).parents[2] / "data/sample"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Three classes of the sample at 64 pixels: the folder, its features and a head."""
    folder = tmp_path_factory.mktemp("adapt")
    for split, count in (("train", 16), ("test", 6)):
        for name in ("bag", "sneaker", "trouser"):
            place = folder / "photos" / split / name
            place.mkdir(parents=True)
            for file in sorted((SAMPLE / split / name).iterdir())[:count]:
                (place / file.name).write_bytes(file.read_bytes())
    bottleneck.extract(folder / "photos", folder / "f.h5", size=64)
    bottleneck.train(folder / "f.h5", folder / "h.head", C="0.01", cv=0)
    return folder
