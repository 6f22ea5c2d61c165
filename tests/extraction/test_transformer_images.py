"""Images of PIL given to the transformer: their colours, whatever the mode they are kept in."""

import numpy as np
import pytest
from PIL import Image

from bottleneck.extraction.transformer import _as_source

PICTURE = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
).quantize(16)
RGB = PICTURE.convert("RGB")


@pytest.mark.parametrize("mode", ["P", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_modes_mean_their_colours(mode):
    image = PICTURE if mode == "P" else RGB.convert(mode)
    found = _as_source([image]).read(0)
    assert found.shape == (9, 7, 3)
    # Conversions to and fro are of 8 bits: they may round, HSV by more.
    off = {"YCbCr": 3, "HSV": 10}.get(mode, 0)
    assert np.abs(found.astype(int) - np.asarray(RGB)).max() <= off


def test_grey_deep_and_transparent_images():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    np.testing.assert_array_equal(_as_source([Image.fromarray(grey)]).read(0), grey)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(_as_source([deep]).read(0), grey)
    glass = Image.new("LA", (2, 2), (0, 0))
    np.testing.assert_array_equal(_as_source([glass]).read(0), np.full((2, 2), 255))
    mask = Image.fromarray(grey > 100)
    np.testing.assert_array_equal(_as_source([mask]).read(0), np.where(grey > 100, 255, 0))
