"""Whatever the bytes, the answer is a picture or an ImageError with the right reason."""

import pickle
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from bottleneck.errors import BottleneckError, ImageError
from bottleneck.images import MAX_PIXELS, Geometry, decode
from bottleneck.status import RowStatus

SQUARE = Geometry(24, "squash")


def reason(data, **options):
    with pytest.raises(ImageError) as caught:
        decode(data, SQUARE, **options)
    return caught.value.reason


def png(width, height, rest=b""):
    """A PNG that promises more than it holds."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rest) + chunk(b"IEND", b"")
    )


def jpeg_of_size(data, width, height):
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def attempt(data, geometry=SQUARE, **options):
    """The pixels, or the reason there are none."""
    try:
        return decode(data, geometry, **options)
    except ImageError as error:
        return error.reason


def test_no_bytes():
    assert reason(b"") is RowStatus.EMPTY


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b"\n\n<html>",
        b'{"error": "forbidden"}',
        b"BMW is a maker of cars, and this is not a bitmap at all.",
        b"P1 is what the drivers call pole position.",
        b"plain text",
        b"\x00",
        b"\x00" * 5000,
        b"\xff" * 5000,
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
        b"PK\x03\x04" + b"\x00" * 100,
        b"\x7fELF" + b"\x02" * 100,
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
    ],
)
def test_other_files(data):
    assert reason(data) is RowStatus.NOT_AN_IMAGE


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes(seed):
    assert reason(np.random.default_rng(seed).bytes(3000)) is RowStatus.NOT_AN_IMAGE


@pytest.mark.parametrize(
    "start",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"\xc5\xd0\xd3\xc6" + b"\0" * 40,
        b"\xff\x0a\xff\xff",
        b"PF\n8 8\n-1.0\n",
        b"P7\nWIDTH 8\nHEIGHT 8\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n",
        b"\0\0\0\x0cJXL \r\n\x87\n",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\xd7\xcd\xc6\x9a" + b"\0" * 40,
    ],
)
def test_images_of_kinds_that_are_not_read(start):
    assert reason(start + b"\0" * 200) is RowStatus.UNSUPPORTED


CUTTABLE = {
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "restarts": ("JPEG", {"restart_marker_rows": 1}),
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "webp": ("WEBP", {}),
    "webp-lossless": ("WEBP", {"lossless": True}),
    "jp2": ("JPEG2000", {}),
    "j2k": ("JPEG2000", {"no_jp2": True}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
}
MAY_BE_CUT = RowStatus.TRUNCATED, RowStatus.NOT_AN_IMAGE, RowStatus.EMPTY


@pytest.mark.parametrize("name", CUTTABLE)
def test_a_cut_file_never_gives_another_picture(encode, noise, name):
    kind, options = CUTTABLE[name]
    orientation = Image.Exif()
    orientation[0x0112] = 6
    if kind in ("PNG", "WEBP"):  # these may keep it behind the pixels
        options = {**options, "exif": orientation}
    data = encode(noise, kind, **options)
    whole = decode(data, SQUARE)
    cuts = {*range(0, len(data), max(1, len(data) // 150)), *range(len(data) - 40, len(data))}
    for cut in sorted(cuts):
        result = attempt(data[:cut])
        if isinstance(result, RowStatus):
            assert result in (MAY_BE_CUT if cut <= 40 else [RowStatus.TRUNCATED]), cut
        else:
            # Nothing that is shown was lost: an end marker, a checksum, or alignment.
            assert len(data) - cut <= 4, cut
            np.testing.assert_array_equal(result, whole)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_anywhere_before_the_end_marker_is_truncated(encode, scene, progressive):
    data = encode(scene(300, 200), "JPEG", progressive=progressive)
    for cut in {*range(3, len(data) - 2, 37), len(data) - 3}:
        assert reason(data[:cut]) is RowStatus.TRUNCATED


PICTURES = {
    "scene": lambda paint: paint(61, 43),
    "noise": lambda _: np.random.default_rng(0).integers(0, 256, (43, 61, 3), np.uint8),
    "white": lambda _: np.full((43, 61, 3), 255, np.uint8),
    "almost flat": lambda _: (
        np.random.default_rng(0).normal(128, 1.5, (43, 61, 3)).astype(np.uint8)
    ),
}


@pytest.mark.parametrize("quality", [60, 100])
@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize(
    "options",
    [
        {}, {"progressive": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 1},
        {"optimize": True}, {"subsampling": 0},
    ],
    ids=str,
)  # fmt: skip
def test_a_jpeg_that_lacks_its_end_is_accepted_only_with_every_pixel(
    encode, scene, picture, options, quality
):
    pixels = PICTURES[picture](scene)
    as_is = Geometry(pixels.shape[1], "pad")
    data = encode(pixels, "JPEG", quality=quality, **options)
    assert data.endswith(b"\xff\xd9")
    whole = decode(data, as_is)
    for cut in range(1, 65):
        result = attempt(data[:-cut], as_is)
        if isinstance(result, RowStatus):
            assert cut > 2
            assert result is RowStatus.TRUNCATED
        else:
            np.testing.assert_array_equal(result, whole)


def test_a_progressive_jpeg_without_its_last_scans_is_truncated(encode, scene):
    data = encode(scene(61, 43), "JPEG", progressive=True)
    at = 0
    starts = []
    while (at := data.find(b"\xff\xda", at + 1)) >= 0:
        starts.append(at)
    assert len(starts) > 3
    for start in starts:
        assert reason(data[:start]) is RowStatus.TRUNCATED
        assert reason(data[: start + 6]) is RowStatus.TRUNCATED


def test_a_jpeg_with_bytes_after_its_end_is_fine(encode, noise):
    data = encode(noise, "JPEG")
    np.testing.assert_array_equal(decode(data + b"trailing\0junk", SQUARE), decode(data, SQUARE))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncation_is_an_error_whatever_the_program_told_pillow(encode, noise, monkeypatch, kind):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(noise, kind)
    for cut in (len(data) // 2, len(data) * 9 // 10, len(data) - 10):
        assert reason(data[:cut]) is RowStatus.TRUNCATED
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    decode(data, SQUARE)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_damage_in_the_middle_is_unreadable(encode, noise, monkeypatch):
    data = bytearray(encode(noise))
    data[len(data) // 2] ^= 0xFF
    assert reason(bytes(data)) is RowStatus.UNREADABLE
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert reason(bytes(data)) is RowStatus.UNREADABLE


def test_a_header_without_pixels_is_refused(encode):
    assert reason(png(0, 5)) is RowStatus.UNREADABLE
    assert reason(png(5, 5)) in (RowStatus.TRUNCATED, RowStatus.UNREADABLE)


@pytest.fixture(params=["default", "none", "tiny"])
def pillow_limit(request, monkeypatch):
    limits = {"default": Image.MAX_IMAGE_PIXELS, "none": None, "tiny": 10}
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limits[request.param])


@pytest.mark.parametrize("action", ["error", "ignore", "always"])
@pytest.mark.usefixtures("pillow_limit")
def test_bombs_are_refused_by_our_limit_alone(encode, noise, action):
    assert MAX_PIXELS == 178_956_970
    bombs = [
        png(20000, 20000),
        png(MAX_PIXELS + 1, 1),
        jpeg_of_size(encode(noise, "JPEG"), 60000, 60000),
        b"P6 60000 60000 255\n",
    ]
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter(action)
        started = time.perf_counter()
        for bomb in bombs:
            assert reason(bomb) is RowStatus.TOO_LARGE
        assert time.perf_counter() - started < 1
        np.testing.assert_array_equal(decode(encode(noise), Geometry(37, "pad"))[18, 18] >= 0, True)
    assert not shown


@pytest.mark.usefixtures("pillow_limit")
def test_a_large_photograph_below_the_limit_is_fine(encode):
    # 108 megapixels: above Pillow's default for a warning, below the limit.
    data = encode(Image.new("L", (12000, 9000), 77), "JPEG")
    np.testing.assert_array_equal(decode(data, SQUARE), np.full((24, 24, 3), 77))


def test_the_limit_is_exact_and_can_be_set(encode):
    data = encode(np.zeros((10, 20), np.uint8))
    assert decode(data, SQUARE, max_pixels=200).shape == (24, 24, 3)
    with pytest.raises(ImageError, match="20 x 10 is 200 pixels, more than 199") as caught:
        decode(data, SQUARE, max_pixels=199)
    assert caught.value.reason is RowStatus.TOO_LARGE


def test_a_file_that_takes_more_memory_than_there_is_is_too_large(encode, noise, monkeypatch):
    def load(self):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert reason(encode(noise, "BMP")) is RowStatus.TOO_LARGE


@pytest.mark.parametrize(
    "error",
    [
        struct.error("x"), SyntaxError("x"), ValueError("x"), IndexError("x"), KeyError("x"),
        ZeroDivisionError("x"), OverflowError("x"), zlib.error("x"), TypeError("x"),
        RecursionError("x"), AssertionError(), EOFError(), AttributeError("x"),
    ],
)  # fmt: skip
def test_any_exception_of_a_decoder_becomes_an_image_error(encode, noise, monkeypatch, error):
    def load(self):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(ImageError, match=r"^BMP: ") as caught:
        decode(encode(noise, "BMP"), SQUARE)
    assert caught.value.reason is RowStatus.UNREADABLE
    assert caught.value.__cause__ is error


def test_an_interrupt_is_not_swallowed(encode, noise, monkeypatch):
    def load(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(KeyboardInterrupt):
        decode(encode(noise, "BMP"), SQUARE)


def test_the_error_travels_between_processes():
    with pytest.raises(ImageError) as caught:
        decode(b"", SQUARE)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copy, BottleneckError)
    assert (copy.reason, str(copy)) == (RowStatus.EMPTY, str(caught.value))


FUZZED = ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "ICO", "PPM", "TGA", "QOI"]


@pytest.mark.parametrize("kind", FUZZED)
def test_flipped_bytes_raise_nothing_but_image_errors(encode, scene, kind):
    rng = np.random.default_rng(FUZZED.index(kind))
    sound = np.frombuffer(encode(scene(40, 28), kind), np.uint8)
    slowest = 0.0
    for trial in range(120):
        damaged = sound.copy()
        # Half the trials aim at the header, where flips hurt most.
        within = min(len(sound), 64) if trial % 2 else len(sound)
        count = int(rng.integers(1, 5))
        damaged[rng.integers(0, within, count)] = rng.integers(0, 256, count)
        started = time.perf_counter()
        result = attempt(damaged.tobytes(), max_pixels=4_000_000)
        assert result.failed if isinstance(result, RowStatus) else result.shape == (24, 24, 3)
        slowest = max(slowest, time.perf_counter() - started)
    assert slowest < 5
