"""Resize rules, orientation and shrink-on-load against Pillow written out step by step."""

import io

import numpy as np
import pytest
from PIL import Image

from bottleneck.images import Geometry, decode

ORIENTATIONS = range(1, 9)

# What a viewer must do to the stored pixels to show them upright (EXIF 2.3, tag 0x0112), each
# written as the inverse: from the upright picture to what is stored.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[::-1],
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p.swapaxes(0, 1)[:, ::-1],
}


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def reference(pixels, size, rule):
    """The three rules as a sequence of whole-picture steps."""
    image = Image.fromarray(pixels)
    width, height = image.size
    if rule == "squash":
        return np.asarray(image.resize((size, size), Image.BICUBIC))
    if rule == "pad":
        scale = size / max(width, height)
        drawn = max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
        canvas = Image.new("RGB", (size, size), (124, 116, 104))
        canvas.paste(
            image.resize(drawn, Image.BICUBIC), ((size - drawn[0]) // 2, (size - drawn[1]) // 2)
        )
        return np.asarray(canvas)
    short = round(size / 0.875)
    scale = short / min(width, height)
    drawn = (int(width * scale), short) if width > height else (short, int(height * scale))
    left, top = round((drawn[0] - size) / 2), round((drawn[1] - size) / 2)
    whole = image.resize(drawn, Image.BICUBIC)
    return np.asarray(whole.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("rule", ["crop", "squash", "pad"])
@pytest.mark.parametrize("shape", [(37, 53), (53, 37), (64, 64), (200, 320), (7, 150), (1, 1)])
def test_each_rule_equals_resizing_the_whole_picture(encode, rule, shape):
    # Noise of middling contrast: Pillow chooses by size whether rows or columns come first, which
    # shows (by more than rounding) only where the first of the two passes clips.
    pixels = np.random.default_rng(2).integers(64, 192, (*shape, 3), np.uint8)
    got = decode(encode(pixels), Geometry(48, rule)).astype(int)
    assert np.abs(got - reference(pixels, 48, rule)).max() <= 1


FILTERS = {
    "nearest": Image.NEAREST,
    "bilinear": Image.BILINEAR,
    "bicubic": Image.BICUBIC,
    "lanczos": Image.LANCZOS,
}


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("ratio", [0.9, 224 / 248, 0.95, 1.0])
@pytest.mark.parametrize("shape", [(37, 53), (53, 37), (200, 320)])
def test_ratio_and_filter_are_those_of_resize_and_centre_crop(encode, interpolation, ratio, shape):
    pixels = np.random.default_rng(3).integers(64, 192, (*shape, 3), np.uint8)
    image, size = Image.fromarray(pixels), 48
    short = round(size / ratio)
    width, height = image.size
    drawn = (int(short * width / height), short) if width > height else (
        short, int(short * height / width)
    )  # fmt: skip
    left, top = round((drawn[0] - size) / 2), round((drawn[1] - size) / 2)
    whole = image.resize(drawn, FILTERS[interpolation])
    expected = np.asarray(whole.crop((left, top, left + size, top + size))).astype(int)
    geometry = Geometry(size, crop_ratio=ratio, interpolation=interpolation)
    got = decode(encode(pixels), geometry).astype(int)
    difference = np.abs(got - expected)
    if interpolation == "nearest":
        # A sample that lies between two pixels may fall to either.
        assert (difference.max(axis=2) > 0).mean() < 0.1
    else:
        # Lanczos overshoots, and what its first pass rounds the second one enlarges.
        assert difference.max() <= (2 if interpolation == "lanczos" else 1)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("halves", ["even", "down"])
@pytest.mark.parametrize("ratio", [0.9, 1.0])
@pytest.mark.parametrize("shape", [(37, 53), (53, 37), (200, 320), (901, 1200)])
def test_whole_drawings_equal_resize_and_crop_exactly(encode, interpolation, halves, ratio, shape):
    # Full contrast, so that filters overshoot and each pass clips; a JPEG, which is not shrunk.
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3), np.uint8)
    data, size = encode(pixels, "JPEG", quality=90), 48
    image = Image.open(io.BytesIO(data)).convert("RGB")
    short = round(size / ratio)
    width, height = image.size
    drawn = (int(short * width / height), short) if width > height else (
        short, int(short * height / width)
    )  # fmt: skip
    spare = drawn[0] - size, drawn[1] - size
    left, top = (side // 2 if halves == "down" else round(side / 2.0) for side in spare)
    whole = image.resize(drawn, FILTERS[interpolation])
    expected = np.asarray(whole.crop((left, top, left + size, top + size)))
    geometry = Geometry(
        size, crop_ratio=ratio, interpolation=interpolation, whole=True, halves=halves
    )
    np.testing.assert_array_equal(decode(data, geometry), expected)


def test_a_whole_drawing_of_a_strip_stays_small(encode, monkeypatch):
    from bottleneck.images import decoder

    drawn = []
    resize = Image.Image.resize

    def spy(self, size, *args, **options):
        drawn.append(size)
        return resize(self, size, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", spy)
    pixels = np.random.default_rng(3).integers(64, 192, (2, 3000, 3), np.uint8)
    decode(encode(pixels), Geometry(224, whole=True))
    decode(encode(pixels[:, :300]), Geometry(224, whole=True))
    assert drawn == [(224, 224), (38400, 256)]
    assert 256 * 384000 > decoder.MOST_DRAWN >= 256 * 38400


@pytest.mark.parametrize("rule", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(32, 48), (48, 32)])
@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (64, 64)])
def test_height_and_width_may_differ(encode, rule, size, shape):
    pixels = np.random.default_rng(4).integers(64, 192, (*shape, 3), np.uint8)
    image = Image.fromarray(pixels)
    (high, wide), (height, width) = size, shape
    if rule == "squash":
        expected = image.resize((wide, high), Image.BICUBIC)
    elif rule == "pad":
        scale = min(wide / width, high / height)
        drawn = int(width * scale + 0.5), int(height * scale + 0.5)
        expected = Image.new("RGB", (wide, high), (124, 116, 104))
        place = (wide - drawn[0]) // 2, (high - drawn[1]) // 2
        expected.paste(image.resize(drawn, Image.BICUBIC), place)
    else:
        scale = max(wide / width, high / height)
        drawn = int(width * scale + 1e-9), int(height * scale + 1e-9)
        left, top = round((drawn[0] - wide) / 2), round((drawn[1] - high) / 2)
        whole = image.resize(drawn, Image.BICUBIC)
        expected = whole.crop((left, top, left + wide, top + high))
    got = decode(encode(pixels), Geometry(size, rule, crop_ratio=1.0)).astype(int)
    assert got.shape == (high, wide, 3)
    assert np.abs(got - np.asarray(expected).astype(int)).max() <= 1


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("size", [(24, 56), (56, 24)])
def test_a_turned_jpeg_is_shrunk_for_the_upright_rectangle(encode, scene, spied, orientation, size):
    picture = scene(1003, 641)
    stored = np.ascontiguousarray(STORED[orientation](picture))
    data = encode(stored, "JPEG", quality=97, subsampling=0, exif=exif(orientation))
    got = decode(data, Geometry(size, "squash")).astype(int)
    expected = Image.fromarray(picture).resize(size[::-1], Image.BICUBIC)
    assert np.abs(got - np.asarray(expected).astype(int)).mean() < 0.5


def test_squash_and_pad_are_exact(encode, noise):
    for rule in ("squash", "pad"):
        got = decode(encode(noise), Geometry(20, rule))
        np.testing.assert_array_equal(got, reference(noise, 20, rule))


def test_result_is_a_fresh_contiguous_array(encode, noise):
    first = decode(encode(noise), Geometry(32))
    assert (first.shape, first.dtype) == ((32, 32, 3), np.uint8)
    assert first.flags.c_contiguous
    assert first.flags.writeable
    second = decode(encode(noise), Geometry(32))
    np.testing.assert_array_equal(first, second)
    first[:] = 0
    assert second.any()


@pytest.mark.parametrize("rule", ["crop", "squash", "pad"])
@pytest.mark.parametrize("shape", [(1, 65000), (65000, 1), (2, 40000), (1, 1), (1, 2)])
def test_elongated_and_tiny_pictures(encode, rule, shape):
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[:] = 10, 200, 90
    result = decode(encode(pixels), Geometry(224, rule))
    painted = (result == (10, 200, 90)).all(axis=2)
    padding = (result == (124, 116, 104)).all(axis=2)
    assert (painted | padding).all()
    if rule == "pad":
        long, short = max(shape), min(shape)
        assert painted.sum() == 224 * max(1, round(224 * short / long))
    else:
        assert painted.all()


@pytest.mark.parametrize("rule", ["crop", "squash", "pad"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_orientation_is_honoured(encode, noise, rule, orientation, kind):
    stored = np.ascontiguousarray(STORED[orientation](noise))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(stored, kind, exif=exif(orientation), **options)
    got = decode(data, Geometry(32, rule))
    np.testing.assert_array_equal(got, decode(encode(noise), Geometry(32, rule)))


@pytest.mark.parametrize("rule", ["crop", "squash", "pad"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("size", [(1003, 641), (641, 1003)])
def test_shrink_on_load_keeps_picture_and_orientation(
    encode, scene, spied, rule, orientation, size
):
    picture = scene(*size)
    stored = np.ascontiguousarray(STORED[orientation](picture))
    data = encode(stored, "JPEG", quality=97, subsampling=0, exif=exif(orientation))
    got = decode(data, Geometry(56, rule)).astype(int)
    assert max(spied[0]) < 1003 / 2  # it did shrink
    difference = np.abs(got - reference(picture, 56, rule))
    # A shift by half a decoded pixel would already show as a mean of more than one.
    assert difference.mean() < 0.5
    assert difference.max() <= 6


@pytest.mark.parametrize("rule", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(513, 512), (1024, 1030), (2100, 900), (700, 1900), (3000, 300)])
@pytest.mark.parametrize("side", [32, 56, 64, 224])
def test_shrink_on_load_never_goes_below_twice_the_drawn_size(
    encode, scene, spied, rule, size, side
):
    data = encode(Image.fromarray(scene(64, 64)).resize(size), "JPEG")
    geometry = Geometry(side, rule)
    decode(data, geometry)
    drawn, (decoded,) = geometry.place(*size).drawn, spied
    if decoded == size:
        return
    assert decoded[0] >= 2 * drawn[0]
    assert decoded[1] >= 2 * drawn[1]
    # ... and the next smaller one of 1/2, 1/4, 1/8 would.
    divisor = round(size[0] / decoded[0])
    assert divisor in (2, 4, 8)


def test_shrink_on_load_is_as_strong_as_allowed(encode, spied):
    # Short side 512 drawn at 64: decoding at 1/4 leaves 128, exactly twice.
    data = encode(Image.new("RGB", (600, 512)), "JPEG")
    decode(data, Geometry(56))
    decode(encode(Image.new("RGB", (600, 511)), "JPEG"), Geometry(56))
    assert spied == [(150, 128), (300, 256)]


@pytest.fixture
def spied(monkeypatch):
    """Sizes of the pictures as they were decoded."""
    import bottleneck.images.decoder as module

    sizes = []
    original = module.to_eight_bit

    def spy(image):
        sizes.append(image.size)
        return original(image)

    monkeypatch.setattr(module, "to_eight_bit", spy)
    return sizes


def test_a_grey_jpeg_shrinks_too(encode, scene, spied):
    grey = scene(800, 800)[:, :, 0]
    got = decode(encode(grey, "JPEG", quality=97), Geometry(56)).astype(int)
    assert spied == [(200, 200)]
    assert (got[:, :, 0] == got[:, :, 1]).all()
    expected = reference(np.repeat(grey[:, :, None], 3, axis=2), 56, "crop")
    assert np.abs(got - expected).mean() < 0.5


@pytest.mark.parametrize("value", [0, 9, 300])
def test_an_impossible_orientation_is_ignored(encode, noise, value):
    data = encode(noise, exif=exif(value))
    np.testing.assert_array_equal(decode(data, Geometry(32)), decode(encode(noise), Geometry(32)))


def test_damaged_exif_does_not_damage_the_picture(encode, noise):
    plain = decode(encode(noise, "JPEG"), Geometry(32))
    for junk in (
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0MM\0*\0\0\0\x08\xff",
    ):
        data = encode(noise, "JPEG", exif=junk)
        np.testing.assert_array_equal(decode(data, Geometry(32)), plain)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(encode, kind):
    frames = [Image.new("RGB", (20, 20), c) for c in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decode(data, Geometry(20, "squash")) == (255, 0, 0)).all()


def bilinear_by_hand(line, count):
    """Resize the first axis: a triangle over each place, as wide as what it stands for."""
    length = len(line)
    step = length / count
    reach = max(1.0, step)
    centres = (np.arange(count) + 0.5) * step - 0.5
    weights = np.maximum(1 - np.abs(np.arange(length) - centres[:, None]) / reach, 0)
    return np.tensordot(weights / weights.sum(1, keepdims=True), line, 1)


@pytest.mark.parametrize("shape", [(37, 53), (200, 320)])
def test_without_rounding_numbers_are_those_of_the_formula(encode, shape):
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3), np.uint8)
    geometry = Geometry(48, "squash", interpolation="bilinear", whole=True, rounded=False)
    found = decode(encode(pixels), geometry)
    assert found.dtype == geometry.dtype == np.float32
    across = bilinear_by_hand(pixels.astype(float).swapaxes(0, 1), 48).swapaxes(0, 1)
    np.testing.assert_allclose(found, bilinear_by_hand(across, 48), atol=1e-3)
    whole = decode(encode(pixels), Geometry(48, "squash", interpolation="bilinear", whole=True))
    assert whole.dtype == np.uint8
    # Pillow rounds after each of the two passes.
    assert 0.25 < np.abs(found - whole).max() <= 1.01


@pytest.mark.parametrize("rule", ["crop", "pad"])
@pytest.mark.parametrize("antialias", [True, False])
def test_without_rounding_the_rest_is_the_same(encode, rule, antialias):
    def drawn(low, high):
        pixels = np.random.default_rng(3).integers(low, high, (60, 90, 3), np.uint8)
        options = {"interpolation": "bicubic", "antialias": antialias}
        return [
            decode(encode(pixels), Geometry(32, rule, **options, rounded=rounded)).astype(float)
            for rounded in (True, False)
        ]

    rounded, numbers = drawn(90, 160)
    assert 0.25 < np.abs(rounded - numbers).max() <= 1.01
    # A cubic filter overshoots at edges, and nothing is clipped.
    assert drawn(0, 256)[1].min() < 0 or antialias
    # Any 8-bit grey picture of one colour stays what it is.
    grey = decode(encode(np.full((9, 5), 77, np.uint8)), Geometry(8, rounded=False))
    np.testing.assert_allclose(grey, 77, atol=1e-4)
