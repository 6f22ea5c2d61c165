"""Files written by another program (libvips) hold the array that was given to it."""

import itertools

import numpy as np
import pytest

from bottleneck.errors import ImageError
from bottleneck.images import Geometry, decode
from bottleneck.status import RowStatus

pyvips = pytest.importorskip("pyvips", reason="the writer: pip install 'pyvips[binary]'")

SIDE = 48
AS_IS = Geometry(SIDE, "squash")
RNG = np.random.default_rng(8)
NOISE = RNG.integers(0, 256, (SIDE, SIDE, 4), np.uint8)
SMOOTH = np.dstack(
    [np.add.outer(np.arange(SIDE) * i, np.arange(SIDE) * (5 - i)) + 3 for i in (1, 2, 3, 4)]
).astype(np.uint8)


def picture(pixels):
    return pyvips.Image.new_from_array(pixels)


def seen(pixels, top=255):
    """The array as RGB over white."""
    unit = pixels / top
    colours = 3 if pixels.shape[2] > 2 else 1
    colour = np.repeat(unit[:, :, :colours], 4 - colours if colours == 1 else 1, axis=2)
    if pixels.shape[2] in (2, 4):
        alpha = unit[:, :, -1:]
        colour = colour * alpha + 1 - alpha
    return 255 * colour


def check(data, expected, atol):
    shown = decode(data, AS_IS)
    np.testing.assert_allclose(shown, expected, atol=atol)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("deep", [False, True])
def test_png(channels, deep):
    pixels = NOISE[:, :, :channels]
    pixels = pixels.astype(np.uint16) * 256 + 77 if deep else pixels
    image = picture(pixels)
    if deep:
        image = image.copy(interpretation="rgb16" if channels > 2 else "grey16")
    for interlace in (False, True):
        data = image.pngsave_buffer(interlace=interlace)
        # Colours of 16 bits keep their upper byte; so does an alpha.
        check(data, seen(pixels, 65535 if deep else 255), 2 if deep else 0.51)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_with_a_palette(bits):
    colours = RNG.integers(0, 256, (2**bits, 4), np.uint8)
    colours[:, 3] = 255
    pixels = colours[RNG.integers(0, 2**bits, (SIDE, SIDE))]
    data = picture(pixels).pngsave_buffer(palette=True, bitdepth=bits, Q=100, dither=0)
    assert b"PLTE" in data
    written = pyvips.Image.new_from_buffer(data, "").numpy()  # quantised
    check(data, seen(written), 0.51)


@pytest.mark.parametrize("tile", [False, True])
@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits"])
def test_tiff(tile, compression):
    for kind, channels, predictor, big in itertools.product(
        (np.uint8, np.uint16, np.float32), (1, 2, 3, 4), ("none", "horizontal"), (False, True)
    ):
        pixels = NOISE[:, :, :channels].astype(kind)
        pixels = pixels / np.float32(255) if kind is np.float32 else pixels
        pixels = pixels * 257 if kind is np.uint16 else pixels
        data = picture(pixels).tiffsave_buffer(
            tile=tile, tile_width=16, tile_height=16, bigtiff=big,
            compression=compression, predictor=predictor,
        )  # fmt: skip
        top = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[kind]
        check_or_refused(data, seen(pixels, top), 2 if kind is np.uint16 else 0.51)


def check_or_refused(data, expected, atol):
    try:
        shown = decode(data, AS_IS)
    except ImageError as error:
        assert error.reason is RowStatus.UNSUPPORTED, error  # noqa: PT017
        return
    np.testing.assert_allclose(shown, expected, atol=atol)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("miniswhite", [False, True])
def test_grey_tiff_of_few_bits(bits, miniswhite):
    levels = np.linspace(0, 255, 2**bits).round().astype(np.uint8)
    pixels = levels[RNG.integers(0, 2**bits, (SIDE, SIDE, 1))]
    # libvips lays its bits out as black is 0, or turns samples of 1 and 8 bits.
    if miniswhite and bits in (2, 4):
        pytest.skip("libvips writes the negative for 1 and 8 bits only")
    data = picture(pixels).tiffsave_buffer(bitdepth=bits, miniswhite=miniswhite)
    check(data, seen(pixels), 0.51)


@pytest.mark.parametrize("subsample", ["on", "off"])
def test_jpeg(subsample):
    for interlace, restart, channels in itertools.product((False, True), (0, 2), (1, 3)):
        pixels = SMOOTH[:, :, :channels]
        data = picture(pixels).jpegsave_buffer(
            Q=100, interlace=interlace, restart_interval=restart, subsample_mode=subsample
        )
        other = pyvips.Image.new_from_buffer(data, "").numpy().reshape(SIDE, SIDE, -1)
        check(data, seen(other), 1.01)


def test_cmyk_jpeg_and_tiff():
    ink = picture(NOISE).copy(interpretation="cmyk")
    expected = (255.0 - NOISE[:, :, :3]) * (255.0 - NOISE[:, :, 3:]) / 255
    check(ink.tiffsave_buffer(), expected, 1.01)
    data = ink.jpegsave_buffer(Q=100, subsample_mode="off")
    other = pyvips.Image.new_from_buffer(data, "").numpy().astype(float)
    check(data, (255 - other[:, :, :3]) * (255 - other[:, :, 3:]) / 255, 1.01)


@pytest.mark.parametrize("channels", [3, 4])
def test_webp_without_loss(channels):
    pixels = NOISE[:, :, :channels]
    data = picture(pixels).webpsave_buffer(lossless=True, exact=True)
    check(data, seen(pixels), 0.51)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif(bits):
    pixels = SMOOTH[:, :, :3]
    data = picture(pixels).heifsave_buffer(
        compression="av1", Q=100, bitdepth=bits, subsample_mode="off", effort=2
    )
    check(data, seen(pixels), 4)


def test_gif_shows_its_first_frame():
    frames = [np.full((SIDE, SIDE, 3), value, np.uint8) for value in (40, 200)]
    strip = picture(np.concatenate(frames)).copy()
    strip.set_type(pyvips.GValue.gint_type, "page-height", SIDE)
    data = strip.gifsave_buffer()
    check(data, seen(frames[0]), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp"])
def test_orientation(kind, orientation):
    image = picture(NOISE[:, : SIDE // 2, :3]).copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    options = {"jpeg": {"Q": 100, "subsample_mode": "off"}, "webp": {"lossless": True}}
    data = getattr(image, f"{kind}save_buffer")(**options.get(kind, {}))
    upright = pyvips.Image.new_from_buffer(data, "").autorot()
    shown = decode(data, Geometry(SIDE, "pad"))
    at = (SIDE - upright.width) // 2, (SIDE - upright.height) // 2
    part = shown[at[1] : at[1] + upright.height, at[0] : at[0] + upright.width]
    assert part.shape == upright.numpy().shape
    np.testing.assert_allclose(part, upright.numpy().astype(int), atol=1)
