"""What headers declare: the right values, or a refusal that names the layout."""

import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bottleneck.errors import ImageError
from bottleneck.images import Geometry, decode
from bottleneck.status import RowStatus

SIDE = 8
AS_IS = Geometry(SIDE, "squash")
UNIT = np.random.default_rng(3).random((SIDE, SIDE, 4))
UNIT[0, :2] = [[0] * 4, [1] * 4]
FORMATS = {1: "u", 2: "i", 3: "f"}


def packed(samples, bits, kind, order):
    if bits in (8, 16, 32, 64):
        return samples.astype(np.dtype(f"{FORMATS[kind]}{bits // 8}").newbyteorder(order)).tobytes()
    packs = b""
    for row in samples.reshape(len(samples), -1):  # rows begin with a byte
        text = "".join(f"{int(value):0{bits}b}" for value in row)
        packs += int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    return packs


def tiff(
    samples, bits, photometric, *, order="<", deflate=False, separate=False, kind=1, tags=None
):
    """A TIFF in any layout, written by the published format."""
    height, width, count = samples.shape
    planes = [samples[:, :, i] for i in range(count)] if separate else [samples]
    strips = [packed(plane, bits, kind, order) for plane in planes]
    strips = [zlib.compress(strip) if deflate else strip for strip in strips]
    strips = [strip + b"\0" * (len(strip) % 2) for strip in strips]
    offsets = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    entries = {
        256: [width], 257: [height], 258: [bits] * count, 259: [8 if deflate else 1],
        262: [photometric], 273: offsets, 277: [count], 278: [height],
        279: [len(strip) for strip in strips], 284: [2 if separate else 1], 339: [kind] * count,
        **(tags or {}),
    }  # fmt: skip
    start = 8 + sum(map(len, strips))
    behind, table, extra = start + 6 + 12 * len(entries), b"", b""
    for tag in sorted(entries):
        field = struct.pack(f"{order}{len(entries[tag])}H", *entries[tag])
        if len(field) > 4:
            extra += field + b"\0" * (len(field) % 2)
            field = struct.pack(f"{order}I", behind + len(extra) - len(field))
        table += struct.pack(f"{order}HHI", tag, 3, len(entries[tag])) + field.ljust(4, b"\0")
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    count = struct.pack(f"{order}H", len(entries))
    return header + b"".join(strips) + count + table + b"\0\0\0\0" + extra


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("photometric", "bits", "kind", "channels", "separate"),
    [
        (0, 8, 1, 1, False), (0, 16, 1, 1, False), (0, 32, 3, 1, False), (1, 32, 3, 1, False),
        (1, 12, 1, 1, False), (2, 8, 1, 3, True), (2, 16, 1, 3, True), (2, 16, 1, 3, False),
        (5, 8, 1, 4, True), (5, 16, 1, 4, True),
    ],
)  # fmt: skip
def test_tiff_layouts(photometric, bits, kind, channels, separate, order, deflate):
    top = 1 if kind == 3 else 2**bits - 1
    samples = UNIT[:, :, :channels] * top
    samples = samples.astype(np.float32) if kind == 3 else np.rint(samples)
    data = tiff(
        samples, bits, photometric, order=order, deflate=deflate, separate=separate, kind=kind
    )
    if (
        order == ">"
        and photometric in (0, 1)
        and bits in (12, 16)
        and (bits, photometric) != (16, 1)
    ):
        with pytest.raises(ImageError) as caught:  # layouts Pillow does not know
            decode(data, AS_IS)
        assert caught.value.reason is RowStatus.UNSUPPORTED
        return
    value = samples / top * 255
    if photometric == 0:
        value = 255 - value
    if photometric == 5:
        value = (255 - value[..., :3]) * (255 - value[..., 3:]) / 255
    # Pillow keeps the upper byte of each 16-bit sample: off by up to 1, by up to 2 in a product.
    shown = decode(data, AS_IS)
    np.testing.assert_allclose(
        shown, np.broadcast_to(value, (8, 8, 3)), atol=1 + (photometric == 5)
    )


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (tiff(UNIT * 255, 8, 1, separate=True, tags={338: [0, 0, 0]}), "4 channels"),
        (tiff(UNIT * 255, 8, 1, tags={338: [0]}), "meaning"),
        (tiff(UNIT[..., :1] * 100, 8, 1, kind=2), "signed samples of 8 bits"),
        (tiff(UNIT[..., :1] * 255, 8, 1, tags={259: [34887]}), "LERC"),
        (tiff(UNIT[..., :1] * 255, 8, 1, tags={259: [34712]}), "JPEG 2000"),
        (tiff(UNIT[..., :1] * 255, 8, 32803), "photometric interpretation 32803"),
        (tiff(UNIT * 255, 8, 5, tags={332: [2]}), "inks"),
        (tiff(UNIT[..., :3] * 255, 8, 6), "chroma"),
        (tiff(UNIT[..., :2] * 255, 8, 1, separate=True, tags={338: [2]}), "separate planes"),
        (b"\xff\xd8\xff\xf7\0\x0b\x08\0\x08\0\x08\1\1\x11\0", "JPEG-LS"),
        (b"\xff\xd8\xff\xc3\0\x0b\x08\0\x08\0\x08\1\1\x11\0", "lossless JPEG"),
        (b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x08\0\x08\1\1\x11\0", "12 bits"),
    ],
)
def test_what_is_not_decoded_right_is_refused_by_name(data, named):
    with pytest.raises(ImageError, match=named) as caught:
        decode(data, AS_IS)
    assert caught.value.reason is RowStatus.UNSUPPORTED


KINDS = [
    *((1, bits) for bits in (1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64)),
    *((2, bits) for bits in (8, 16, 32)),
    *((3, bits) for bits in (16, 32, 64)),
]
# Photometric interpretation, channels, what the further ones are.
MEANINGS = [
    (0, 1, ()), (1, 1, ()), (1, 2, (0,)), (1, 2, (1,)), (1, 2, (2,)), (0, 2, (2,)), (1, 3, (0, 0)),
    (2, 3, ()), (2, 4, (0,)), (2, 4, (1,)), (2, 4, (2,)), (5, 4, ()), (5, 5, (0,)), (6, 3, ()),
    (9, 3, ()), (10, 3, ()),
]  # fmt: skip


def meant(unit, photometric, extra):
    """The values by the format's definition; None where it has none."""
    alpha = unit[:, :, -1:] if extra and extra[0] in (1, 2) else None
    if photometric in (0, 1):
        colour = np.repeat(1 - unit[:, :, :1] if photometric == 0 else unit[:, :, :1], 3, axis=2)
    elif photometric == 2:
        colour = unit[:, :, :3]
    elif photometric == 5:
        colour = (1 - unit[:, :, :3]) * (1 - unit[:, :, 3:4])
    elif photometric == 6:
        y, blue, red = unit[:, :, 0], unit[:, :, 1] - 128 / 255, unit[:, :, 2] - 128 / 255
        green = y - 0.344136 * blue - 0.714136 * red
        colour = np.clip(np.dstack([y + 1.402 * red, green, y + 1.772 * blue]), 0, 1)
    else:
        return None
    if alpha is not None:
        colour = colour + 1 - alpha if extra[0] == 1 else colour * alpha + 1 - alpha
    return 255 * colour


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_no_tiff_of_any_layout_is_decoded_to_other_values(kind, bits):
    decoded = 0
    for photometric, channels, extra in MEANINGS:
        for order, deflate, separate in itertools.product("<>", (False, True), (False, True)):
            top = 1 if kind == 3 else 2 ** min(bits, 16) - 1  # 32 bits hold 16
            unit = np.random.default_rng(9).random((SIDE, SIDE, channels))
            unit[0, :2] = [[0] * channels, [1] * channels]
            if extra[:1] == (1,):
                unit[:, :, :-1] = np.minimum(unit[:, :, :-1], unit[:, :, -1:])
            unit = unit if kind == 3 else np.rint(unit * top) / top
            tags = {338: list(extra)} if extra else {}
            tags |= {530: [1, 1]} if photometric == 6 else {}
            samples = unit * top if kind == 3 else np.rint(unit * top).astype(np.int64)
            if kind == 2 and bits < 32:
                samples = samples >> 1
            data = tiff(
                samples, bits, photometric,
                order=order, deflate=deflate, separate=separate and channels > 1,
                kind=kind, tags=tags,
            )  # fmt: skip
            try:
                shown = decode(data, AS_IS)
            except ImageError as error:
                assert error.reason is RowStatus.UNSUPPORTED, error  # noqa: PT017
                continue
            decoded += 1
            # Pillow keeps the upper byte of 16-bit colours, and multiplies what it has kept.
            expected = meant(unit, photometric, extra)
            assert expected is not None, photometric
            np.testing.assert_allclose(shown, expected, atol=3 if bits == 16 else 1.6)
    assert bool(decoded) == ((kind, bits) in DECODED)


DECODED = {*((1, bits) for bits in (1, 2, 4, 8, 12, 16, 32)), (2, 32), (3, 32)}


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def into_png(data, extra):
    return data[:33] + extra + data[33:]


LARGE = zlib.compress(bytes(3_000_000))
XMP = b"XML:com.adobe.xmp\0"


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"a\0\0" + LARGE),
        chunk(b"iTXt", b"a\0\1\0\0\0" + LARGE),
        chunk(b"iCCP", b"a\0\0" + LARGE),
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000))) * 80,
        chunk(b"tEXt", b"a\0b")[:-1] + b"?",
        chunk(b"tIME", b"1234567")[:-1] + b"?",
    ],
)
def test_metadata_do_not_keep_a_png_from_being_decoded(encode, noise, extra):
    data = encode(noise)
    np.testing.assert_array_equal(decode(into_png(data, extra), AS_IS), decode(data, AS_IS))


@pytest.mark.parametrize("compressed", [False, True])
def test_the_orientation_in_a_large_xmp_text_is_kept(encode, noise, compressed):
    text = b" " * 2_500_000 + b'<rdf:Description tiff:Orientation="6"/>'
    body = XMP + (b"\1\0\0\0" + zlib.compress(text) if compressed else b"\0\0\0\0" + text)
    turned = encode(Image.fromarray(noise).transpose(Image.Transpose.ROTATE_270))
    shown = decode(into_png(encode(noise), chunk(b"iTXt", body)), AS_IS)
    np.testing.assert_array_equal(shown, decode(turned, AS_IS))


def test_a_wrong_checksum_of_what_is_shown_is_still_an_error(encode, noise):
    data = bytearray(encode(noise))
    data[29] ^= 1  # of the header
    with pytest.raises(ImageError):
        decode(bytes(data), AS_IS)


def test_a_bitmap_whose_fourth_byte_is_0_is_opaque(encode):
    rgb = np.rint(UNIT[..., :3] * 255).astype(np.uint8)
    clear = np.dstack([rgb, np.zeros((SIDE, SIDE), np.uint8)])
    for kind in ("BMP", "TGA"):
        np.testing.assert_array_equal(decode(encode(clear, kind), AS_IS), rgb)
