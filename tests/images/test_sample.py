"""data/sample is what data/README.md says it is."""

from pathlib import Path

import numpy as np
from PIL import Image

from bottleneck.images import Geometry, decode

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
CLASSES = {
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle_boot",
}  # fmt: skip


def test_is_balanced_and_small():
    for part, count in (("train", 70), ("test", 30)):
        folders = list((SAMPLE / part).iterdir())
        assert {folder.name for folder in folders} == CLASSES
        assert {len(list(folder.glob("*.png"))) for folder in folders} == {count}
    files = [path for path in SAMPLE.rglob("*") if path.is_file()]
    assert len(files) == 1001  # and the licence
    assert sum(path.stat().st_size for path in files) < 900_000
    assert "Zalando SE" in (SAMPLE / "LICENSE").read_text(encoding="utf-8")


def test_every_image_decodes_to_its_own_pixels():
    seen = set()
    for path in SAMPLE.rglob("*.png"):
        data = path.read_bytes()
        pixels = decode(data, Geometry(28, "squash"))
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (28, 28))
            np.testing.assert_array_equal(pixels[:, :, 1], np.asarray(image))
        seen.add(pixels.tobytes())
    assert len(seen) == 1000  # no picture twice, none in both parts
