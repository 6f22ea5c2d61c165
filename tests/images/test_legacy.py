"""Layouts of older formats: the values that their definitions mean, or a refusal by name."""

import struct

import numpy as np
import pytest
from PIL import Image

from bottleneck.errors import ImageError
from bottleneck.images import Geometry, decode
from bottleneck.status import RowStatus

SIDE = 16
AS_IS = Geometry(SIDE, "squash")
BITS = np.random.default_rng(4).integers(0, 2, (SIDE, SIDE), np.uint8)


def grey3(plane):
    return np.repeat(np.asarray(plane, np.uint8)[:, :, None], 3, axis=2)


def card(text):
    return text.encode().ljust(80)


def fits(*cards, body=bytes(2 * SIDE * SIDE)):
    texts = ["SIMPLE  =                    T", *cards, "END"]
    header = b"".join(map(card, texts))
    return header.ljust(2880) + body.ljust(2880, b"\0")


def axes(bits, *sides):
    names = [f"NAXIS{i}  = {side:20d}" for i, side in enumerate(sides, 1)]
    return [f"BITPIX  = {bits:20d}", f"NAXIS   = {len(sides):20d}", *names]


def psd(mode, bits, channels, rows):
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, channels, SIDE, SIDE, bits, mode)
    return header + bytes(12) + b"\0\0" + rows


def pcx(colours):
    body = b"".join(bytes([0xC1, byte]) for byte in np.packbits(BITS, axis=1).tobytes())
    header = struct.pack("<4B6H", 10, 5, 1, 1, 0, 0, SIDE - 1, SIDE - 1, 72, 72)
    return (header + colours).ljust(65, b"\0") + struct.pack("<BH", 1, 2).ljust(63, b"\0") + body


def tga(attributes, kind=2, depth=16, body=b""):
    return (
        struct.pack("<3BHHBHHHHBB", 0, 0, kind, 0, 0, 0, 0, 0, SIDE, SIDE, depth, attributes) + body
    )


def sun(depth, body, palette=0):
    return struct.pack(">8I", 0x59A66A95, SIDE, SIDE, depth, len(body), 1, 0, palette) + body


def xpm(*colours):
    rows = [f'"{"".join("ab"[bit] for bit in row)}",' for row in BITS]
    table = [f'"{name} c {colour}",' for name, colour in zip("ab", colours, strict=True)]
    head = f'/* XPM */\nstatic char *x[] = {{\n"{SIDE} {SIDE} 2 1",'
    return "\n".join([head, *table, *rows, "};"]).encode()


def bmp(bits, alpha):
    header = struct.pack("<IiiHHIIiiII", 56, SIDE, SIDE, 1, bits, 3, 0, 0, 0, 0, 0)
    masks = struct.pack("<4I", 0x7C00, 0x3E0, 0x1F, alpha)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 70) + header + masks + bytes(2 * SIDE * SIDE)


def test_a_bit_that_is_set_is_ink_in_xbm(encode):
    rows = np.packbits(BITS, axis=1, bitorder="little")
    text = ",\n".join(f"0x{byte:02x}" for byte in rows.ravel())
    data = (
        f"#define a_width {SIDE}\n#define a_height {SIDE}\nstatic char a_bits[] = {{\n{text}}};\n"
    )
    np.testing.assert_array_equal(decode(data.encode(), AS_IS), grey3(255 * (1 - BITS)))


def test_a_bit_that_is_set_is_ink_in_psd():
    data = psd(0, 1, 1, np.packbits(BITS, axis=1).tobytes())
    np.testing.assert_array_equal(decode(data, AS_IS), grey3(255 * (1 - BITS)))


@pytest.mark.parametrize("colours", [b"\0\0\0\xff\xff\xff", bytes(6)])
def test_pcx_of_black_and_white(colours):
    np.testing.assert_array_equal(decode(pcx(colours), AS_IS), grey3(255 * BITS))


def test_targa_of_16_bits_without_alpha_is_opaque():
    samples = np.random.default_rng(5).integers(0, 65536, (SIDE, SIDE)).astype("<u2")
    data = tga(0x20, body=samples.tobytes())
    fives = [(samples >> shift) & 31 for shift in (10, 5, 0)]
    expected = np.dstack([five * 255 // 31 for five in fives])
    np.testing.assert_allclose(decode(data, AS_IS), expected, atol=1)


def test_fits_of_8_bits_is_bottom_up():
    grey = np.random.default_rng(6).integers(0, 256, (SIDE, SIDE), np.uint8)
    data = fits(*axes(8, SIDE, SIDE), body=grey.tobytes())
    np.testing.assert_array_equal(decode(data, AS_IS), grey3(grey[::-1]))


def test_xpm_of_six_digits():
    expected = np.where(BITS[:, :, None], [255, 255, 255], [18, 52, 171])
    np.testing.assert_array_equal(decode(xpm("#1234AB", "None"), AS_IS), expected)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (fits(*axes(16, SIDE, SIDE)), "signed samples of 16 bits"),
        (fits(*axes(8, SIDE, SIDE), "BZERO   =                  128"), "BZERO"),
        (fits(*axes(8, SIDE, SIDE), "BSCALE  =                  2.0"), "BSCALE"),
        (fits(*axes(8, SIDE, SIDE, 3), body=bytes(3 * SIDE * SIDE)), "third axis"),
        (psd(3, 16, 3, bytes(6 * SIDE * SIDE)), "colour mode 3 in 16 bits"),
        (psd(7, 8, 2, bytes(2 * SIDE * SIDE)), "colour mode 7"),
        (psd(1, 8, 2, bytes(2 * SIDE * SIDE)), "colour mode 1 in 2 channels"),
        (psd(4, 8, 5, bytes(5 * SIDE * SIDE)), "colour mode 4 in 5 channels"),
        (pcx(b"\xff\xff\xff\0\0\0"), "two colours"),
        (tga(0x21, body=bytes(2 * SIDE * SIDE)), "16 bits with alpha"),
        (sun(32, bytes(4 * SIDE * SIDE)), "32 bits"),
        (sun(1, bytes(6 + 2 * SIDE), palette=6), "palette"),
        (xpm("#123456789ABC", "None"), "#123456789ABC"),
        (xpm("#123", "None"), "#123"),
        (xpm("red", "None"), "red"),
        (bmp(16, 0x8000), "16 bits with alpha"),
        (bytes(2048) + b"PCD_IPI" + bytes(5000), "Photo CD"),
    ],
)
def test_what_other_decoders_see_otherwise_is_refused_by_name(data, named):
    with pytest.raises(ImageError, match=named) as caught:
        decode(data, AS_IS)
    assert caught.value.reason is RowStatus.UNSUPPORTED


@pytest.mark.parametrize("kind", ["BMP", "PCX", "SGI", "TGA", "PPM", "XBM"])
def test_what_pillow_writes_is_read_back(encode, kind):
    image = Image.fromarray(255 * BITS)
    image = image.convert("1") if kind == "XBM" else image
    shown = grey3(255 * BITS)
    expected = 255 - shown if kind == "XBM" else shown  # Pillow writes the negative
    np.testing.assert_array_equal(decode(encode(image, kind), AS_IS), expected)
