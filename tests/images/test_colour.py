"""Every pixel format against arithmetic written out in NumPy; no resizing takes place."""

import colorsys
import struct
import zlib
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image, features

from bottleneck.errors import ImageError
from bottleneck.images import Geometry, decode
from bottleneck.images.colour import to_eight_bit
from bottleneck.status import RowStatus

SIDE = 16
AS_IS = Geometry(SIDE, "squash")
RNG = np.random.default_rng(1)
GREY = RNG.integers(0, 256, (SIDE, SIDE), np.uint8)
RGB = RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (SIDE, SIDE), np.uint8)
ALPHA[0, :4] = 0, 255, 1, 254
DEEP = RNG.integers(0, 65536, (SIDE, SIDE), np.uint16)
DEEP[0, :6] = 0, 65535, 128, 129, 257, 256  # 128/257 is just under, 129/257 just over a half


def grey3(plane):
    return np.repeat(np.asarray(plane, np.uint8)[:, :, None], 3, axis=2)


def over_white(colour, alpha):
    alpha = alpha.astype(np.float64)[..., None] / 255
    return np.rint(colour * alpha + 255 * (1 - alpha)).astype(np.uint8)


def upright(image):
    """What to_eight_bit makes of an image that has no file format of its own."""
    return np.array(to_eight_bit(image).convert("RGB"))


def test_grey(encode):
    np.testing.assert_array_equal(decode(encode(GREY), AS_IS), grey3(GREY))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit(encode, kind):
    bits = GREY > 127
    np.testing.assert_array_equal(decode(encode(bits, kind), AS_IS), grey3(bits * 255))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM", "TGA", "QOI"])
def test_rgb(encode, kind):
    np.testing.assert_array_equal(decode(encode(RGB, kind), AS_IS), RGB)


def test_rgb_webp_and_jpeg2000_without_loss(encode):
    np.testing.assert_array_equal(decode(encode(RGB, "WEBP", lossless=True), AS_IS), RGB)
    np.testing.assert_array_equal(decode(encode(RGB, "JPEG2000"), AS_IS), RGB)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_rgba_lies_over_white(encode, kind):
    data = encode(np.dstack([RGB, ALPHA]), kind)
    np.testing.assert_array_equal(decode(data, AS_IS), over_white(RGB, ALPHA))


def test_alpha_of_every_value_is_exact(encode):
    colour, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    data = encode(np.dstack([colour, colour, colour, alpha]))
    expected = over_white(grey3(colour), alpha)
    np.testing.assert_array_equal(decode(data, Geometry(256, "squash")), expected)


def test_grey_with_alpha(encode):
    data = encode(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)]))
    np.testing.assert_array_equal(decode(data, AS_IS), over_white(grey3(GREY), ALPHA))


@pytest.mark.parametrize("mode", ["RGBa", "La"])
def test_premultiplied_alpha_only_lacks_the_white(mode):
    planes = [RGB[:, :, i] for i in range(3)] if mode == "RGBa" else [GREY]
    planes = [np.minimum(plane, ALPHA) for plane in planes]
    raw = np.dstack([*planes, ALPHA]) if mode == "RGBa" else np.dstack([planes[0]] * 3 + [ALPHA])
    # A premultiplied image holds its samples as they are.
    image = Image.frombytes("RGBa", (SIDE, SIDE), raw.tobytes())
    if mode == "La":
        image = Image.merge("LA", [image.getchannel(0), image.getchannel(3)])
        image = image.convert("La")
        premultiplied = np.asarray(image)
        planes, alpha = [premultiplied[:, :, 0]], premultiplied[:, :, 1]
    else:
        alpha = ALPHA
    expected = [plane.astype(int) + 255 - alpha for plane in planes]
    expected = np.dstack(expected if mode == "RGBa" else expected * 3)
    np.testing.assert_array_equal(upright(image), expected)


def palette_image():
    image = Image.fromarray(GREY % 8).convert("P")
    image.putdata((GREY % 8).ravel().tolist())
    colours = RNG.integers(0, 256, (8, 3), np.uint8)
    image.putpalette(colours.tobytes())
    return image, colours


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP"])
def test_palette(encode, kind):
    image, colours = palette_image()
    np.testing.assert_array_equal(decode(encode(image, kind), AS_IS), colours[GREY % 8])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_one_transparent_colour(encode, kind):
    image, colours = palette_image()
    colours[3] = 255
    np.testing.assert_array_equal(
        decode(encode(image, kind, transparency=3), AS_IS), colours[GREY % 8]
    )


def test_palette_with_an_alpha_for_every_colour(encode):
    image, colours = palette_image()
    alphas = RNG.integers(0, 256, 8, np.uint8)
    data = encode(image, transparency=alphas.tobytes())
    expected = over_white(colours[GREY % 8], alphas[GREY % 8])
    np.testing.assert_array_equal(decode(data, AS_IS), expected)


def test_palette_with_an_alpha_channel():
    image = palette_image()[0]
    colours = np.asarray(image.convert("RGB"))
    image = image.convert("PA")
    image.putalpha(Image.fromarray(ALPHA))
    assert image.mode == "PA"
    np.testing.assert_array_equal(upright(image), over_white(colours, ALPHA))


def test_one_grey_declared_transparent(encode):
    data = encode(GREY, transparency=int(GREY[2, 2]))
    expected = np.where(GREY[2, 2] == GREY, 255, GREY)
    np.testing.assert_array_equal(decode(data, AS_IS), grey3(expected))


def test_one_colour_declared_transparent(encode):
    data = encode(RGB, transparency=tuple(RGB[2, 2].tolist()))
    expected = RGB.copy()
    expected[(RGB[2, 2] == RGB).all(axis=2)] = 255
    np.testing.assert_array_equal(decode(data, AS_IS), expected)


def test_black_declared_transparent_in_a_one_bit_image(encode):
    data = encode(GREY > 127, transparency=0)
    assert b"tRNS" in data
    np.testing.assert_array_equal(decode(data, AS_IS), np.full((SIDE, SIDE, 3), 255))


def raw_png(width, depth, colour_type, transparent, row):
    """A PNG of one row in a layout that Pillow does not write."""

    def chunk(kind, body):
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, 1, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", header),
            chunk(b"tRNS", transparent),
            chunk(b"IDAT", zlib.compress(b"\0" + row)),
            chunk(b"IEND", b""),
        ]
    )


def test_the_transparent_grey_counts_in_samples_of_the_file():
    # Four bits: samples 5, 6, 15, 0 are 85, 102, 255, 0; sample 5 is transparent.
    data = raw_png(4, 4, 0, struct.pack(">H", 5), bytes([0x56, 0xF0]))
    pixels = decode(data, Geometry(4, "squash"))
    np.testing.assert_array_equal(pixels[0, :, 0], [255, 102, 255, 0])


def test_the_transparent_colour_of_a_sixteen_bit_file():
    colours = np.array([[0x1234, 0x5678, 0x9ABC], [0x2034, 0x5678, 0x9ABC]], ">u2")
    data = raw_png(2, 16, 2, colours[0].tobytes(), colours.tobytes())
    pixels = decode(data, Geometry(2, "squash"))
    np.testing.assert_array_equal(pixels[0], [[255, 255, 255], [0x20, 0x56, 0x9A]])


def test_one_sixteen_bit_grey_declared_transparent():
    image = Image.fromarray(DEEP)
    image.info["transparency"] = int(DEEP[2, 2])
    expected = np.where(DEEP[2, 2] == DEEP, 255, np.rint(DEEP / 257))
    np.testing.assert_array_equal(upright(image), grey3(expected))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_is_scaled_and_rounded(encode, kind):
    expected = grey3(np.rint(DEEP.astype(np.float64) * 255 / 65535))
    np.testing.assert_array_equal(decode(encode(DEEP, kind), AS_IS), expected)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_every_kind_of_sixteen_bit(mode):
    order = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I;16N": "=u2"}[mode]
    image = Image.frombytes(mode, (SIDE, SIDE), DEEP.astype(order).tobytes())
    assert image.mode == mode
    np.testing.assert_array_equal(upright(image), grey3(np.rint(DEEP / 257)))


def test_big_endian_sixteen_bit_tiff(encode):
    image = Image.frombytes("I;16B", (SIDE, SIDE), DEEP.astype(">u2").tobytes())
    data = encode(image, "TIFF")
    assert data.startswith(b"MM")
    np.testing.assert_array_equal(decode(data, AS_IS), grey3(np.rint(DEEP / 257)))


def test_sixteen_bit_pgm_with_its_own_maximum():
    levels = np.array([[0, 1000], [500, 250]], ">u2")
    pixels = decode(b"P5 2 2 1000\n" + levels.tobytes(), Geometry(2, "squash"))
    np.testing.assert_array_equal(pixels[:, :, 0], [[0, 255], [128, 64]])


def test_all_sixteen_bit_values():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = upright(Image.fromarray(values))
    exact = (values.astype(np.int64) * 2 * 255 + 65535) // (2 * 65535)  # round half up, no ties
    np.testing.assert_array_equal(pixels[:, :, 0], exact)


def test_integers_of_32_bits_are_16_bits_in_a_wider_box(encode):
    data = encode(DEEP.astype(np.int32), "TIFF")
    np.testing.assert_array_equal(decode(data, AS_IS), grey3(np.rint(DEEP / 257)))


def test_floats_run_from_0_to_1(encode):
    values = RNG.random((SIDE, SIDE)).astype(np.float32)
    values[0, :2] = 0, 1
    np.testing.assert_array_equal(
        decode(encode(values, "TIFF"), AS_IS), grey3(np.rint(values * np.float32(255)))
    )


@pytest.mark.parametrize(
    "samples",
    [
        np.array([[0, 70000]], np.int32),
        np.array([[-1, 5]], np.int32),
        np.array([[0, 1.5]], np.float32),
        np.array([[0.5, np.nan]], np.float32),
        np.array([[0.5, -np.inf]], np.float32),
    ],
)
def test_samples_without_a_defined_range_are_refused_not_clipped(encode, samples):
    with pytest.raises(ImageError, match="range is not defined") as caught:
        decode(encode(samples, "TIFF"), AS_IS)
    assert caught.value.reason is RowStatus.UNSUPPORTED


def test_cmyk(encode):
    samples = RNG.integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    image = Image.frombytes("CMYK", (SIDE, SIDE), samples.tobytes())
    ink, black = samples[:, :, :3].astype(float), samples[:, :, 3:].astype(float)
    expected = (255 - ink) * (255 - black) / 255
    np.testing.assert_allclose(decode(encode(image, "TIFF"), AS_IS), expected, atol=1)


@pytest.mark.parametrize("ink", [(255, 0, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (0, 64, 128, 32)])
def test_cmyk_jpeg_is_not_inverted(encode, ink):
    data = encode(Image.new("CMYK", (SIDE, SIDE), ink), "JPEG", quality=100)
    assert b"Adobe" in data  # such files store the complement
    expected = [(255 - c) * (255 - ink[3]) / 255 for c in ink[:3]]
    np.testing.assert_allclose(decode(data, AS_IS)[8, 8], expected, atol=3)


def test_ycbcr():
    samples = RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    y, cb, cr = (samples[:, :, i].astype(float) for i in range(3))
    red = y + 1.402 * (cr - 128)
    green = y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
    blue = y + 1.772 * (cb - 128)
    expected = np.clip(np.dstack([red, green, blue]), 0, 255)
    image = Image.frombytes("YCbCr", (SIDE, SIDE), samples.tobytes())
    np.testing.assert_allclose(upright(image), expected, atol=1)


def test_hsv():
    samples = RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    image = Image.frombytes("HSV", (SIDE, SIDE), samples.tobytes())
    expected = [colorsys.hsv_to_rgb(*(hsv / 255)) for hsv in samples.reshape(-1, 3)]
    expected = np.array(expected).reshape(SIDE, SIDE, 3) * 255
    np.testing.assert_allclose(upright(image), expected, atol=2)


def test_rgbx_ignores_the_fourth_byte():
    raw = np.dstack([RGB, ALPHA])
    image = Image.frombytes("RGBX", (SIDE, SIDE), raw.tobytes())
    np.testing.assert_array_equal(upright(image), RGB)


def test_lab_tiff(encode):
    # CIE L*a*b* (D50) to sRGB by the published formulas and the Bradford-adapted matrix.
    # A TIFF stores L* as 0..255 for 0..100, a* and b* as signed bytes.
    lab = np.array([[[255, 0, 0], [0, 0, 0], [128, 0, 0], [137, 40, 20]]])
    lightness = lab[..., 0] * 100 / 255
    fy = (lightness + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1, 0.8251]
    to_linear = np.array(
        [
            [3.1338561, -1.6168667, -0.4906146],
            [-0.9787684, 1.9161415, 0.0334540],
            [0.0719453, -0.2289914, 1.4052427],
        ]
    )
    linear = np.clip(xyz @ to_linear.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    image = Image.frombytes("LAB", (4, 1), lab.astype(np.int8).tobytes())
    np.testing.assert_allclose(upright(image), srgb * 255, atol=2)
    square = encode(image.resize((4, 4), Image.Resampling.NEAREST), "TIFF")
    np.testing.assert_allclose(
        decode(square, Geometry(4, "squash")), np.repeat(srgb * 255, 4, axis=0), atol=2
    )


def test_an_unknown_mode_is_unsupported():
    class Odd:
        mode = "BGR;15"
        info = MappingProxyType({})
        has_transparency_data = False

    with pytest.raises(ImageError, match="BGR;15") as caught:
        to_eight_bit(Odd())
    assert caught.value.reason is RowStatus.UNSUPPORTED


def test_every_mode_of_the_installed_pillow_is_handled():
    for mode in Image.MODES:
        assert upright(Image.new(mode, (3, 2))).shape == (2, 3, 3)


def test_a_jpeg_of_rgb_without_conversion(encode, scene):
    pixels = scene(SIDE, SIDE)
    data = encode(pixels, "JPEG", quality=100, keep_rgb=True)
    np.testing.assert_allclose(decode(data, AS_IS), pixels, atol=2)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "MPO", "AVIF"])
def test_the_first_of_several_frames(encode, kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow does not write AVIF")
    frames = [Image.new("RGB", (SIDE, SIDE), (level, 90, 160)) for level in (30, 220)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    shown = decode(data, AS_IS).astype(int)
    assert np.abs(shown - [30, 90, 160]).max() <= (0 if kind in ("PNG", "TIFF") else 6)


@pytest.mark.parametrize("order", "<>")
def test_floats_of_a_portable_map(order):
    values = RNG.random((SIDE, SIDE)).astype(f"{order}f4")
    values[0, :2] = 0, 1
    head = f"Pf\n{SIDE} {SIDE}\n{-1.0 if order == '<' else 1.0}\n".encode()
    shown = decode(head + values.tobytes(), AS_IS)
    np.testing.assert_array_equal(shown, grey3(np.rint(values[::-1] * np.float32(255))))


def test_sixteen_bits_of_a_portable_pixmap():
    values = RNG.integers(0, 65536, (SIDE, SIDE, 3)).astype(">u2")
    data = f"P6 {SIDE} {SIDE} 65535\n".encode() + values.tobytes()
    np.testing.assert_allclose(decode(data, AS_IS), values / 257, atol=1)


@pytest.mark.parametrize("size", [16, 32, 48])
def test_the_largest_of_an_icons_pictures(encode, size):
    # Pillow writes icons of 24 bits with rows of transparency that are too short: 32 bits here.
    image = Image.fromarray(RNG.integers(0, 256, (48, 48, 3), np.uint8)).convert("RGBA")
    data = encode(image, "ICO", sizes=[(16, 16), (size, size)], bitmap_format="bmp")
    expected = image.resize((size, size), Image.Resampling.LANCZOS).convert("RGB")
    np.testing.assert_array_equal(decode(data, Geometry(size, "squash")), expected)
