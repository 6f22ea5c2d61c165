"""One decoding, several drawings; and every colour mode by every resize rule."""

import numpy as np
import pytest
from PIL import Image

from bottleneck.images import Drawing, Geometry, decode, decode_all

RULES = ("crop", "squash", "pad")
SIZE = 24


def modes(rng):
    """Files of each colour mode, and what they show, written out in NumPy."""
    smooth = np.clip(rng.normal(128, 18, (40, 56, 4)), 64, 192)
    rgb, grey = smooth[..., :3].astype(np.uint8), smooth[..., 0].astype(np.uint8)
    alpha = rng.integers(180, 256, grey.shape).astype(np.uint8)
    part = alpha[..., None] / 255
    deep = (smooth[..., 0] * 257).astype(np.uint16)
    ink = Image.fromarray(smooth.astype(np.uint8), "CMYK")
    cyan = smooth.astype(np.uint8).astype(float)
    palette = rng.integers(64, 192, (256, 3), np.uint8)
    indexed = Image.fromarray(grey)
    indexed.putpalette(palette.tobytes())
    grey3 = np.repeat(grey[..., None], 3, 2)
    yield "L", Image.fromarray(grey), "PNG", grey3
    yield "RGB", Image.fromarray(rgb), "PNG", rgb
    yield "RGBA", Image.fromarray(np.dstack([rgb, alpha])), "PNG", rgb * part + 255 * (1 - part)
    yield (
        "LA",
        Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]),
        "PNG",
        grey3 * part + 255 * (1 - part),
    )
    yield "I;16", Image.fromarray(deep), "PNG", np.repeat((deep / 257)[..., None], 3, 2)
    yield "CMYK", ink, "TIFF", (255 - cyan[..., :3]) * (255 - cyan[..., 3:]) / 255
    yield "P", indexed, "PNG", palette[grey]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "I;16", "CMYK", "P"])
def test_every_colour_mode_by_every_rule(encode, mode, rule):
    found = {m: rest for m, *rest in modes(np.random.default_rng(4))}
    image, kind, shown = found[mode]
    assert image.mode == mode
    pixels = decode(encode(image, kind), Geometry(SIZE, rule)).astype(float)
    place = Geometry(SIZE, rule).place(56, 40)
    expected = np.full((SIZE, SIZE, 3), (124, 116, 104), float)
    left, top, right, bottom = place.window
    for channel in range(3):
        # In floating point, so that nothing is rounded or clipped on the way.
        plane = Image.fromarray(np.asarray(shown[..., channel], np.float32))
        drawn = np.asarray(plane.resize(place.drawn, Image.Resampling.BICUBIC))
        part = drawn[top:bottom, left:right]
        x, y = place.at
        expected[y : y + part.shape[0], x : x + part.shape[1], channel] = part
    assert np.abs(pixels - expected).max() <= 1.6  # 8-bit steps on the way: two of at most 0.5


@pytest.mark.parametrize("rule", RULES)
def test_drawings_of_one_decoding_are_those_of_their_own(encode, noise, rule):
    data = encode(noise)
    sizes = (8, 33, 64)
    together = decode_all(data, [Drawing(Geometry(size, rule)) for size in sizes])
    for size, pixels in zip(sizes, together, strict=True):
        np.testing.assert_array_equal(pixels, decode(data, Geometry(size, rule)))


def test_a_jpeg_is_decoded_at_the_scale_the_largest_needs(encode, scene):
    data = encode(scene(1600, 1200), "JPEG", quality=92)
    large, small = decode_all(data, [Drawing(Geometry(331)), Drawing(Geometry(64))])
    np.testing.assert_array_equal(large, decode(data, Geometry(331)))
    alone = decode(data, Geometry(64)).astype(float)
    difference = np.abs(small - alone)
    assert 0 < difference.max() <= 4
    assert difference.mean() < 0.5
