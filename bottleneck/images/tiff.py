"""TIFF: which layouts Pillow is known to decode right, by the tags of the first directory.

The table was drawn up by writing every combination and comparing with arithmetic. In a TIFF the
same samples may be stored in many ways, and Pillow has two decoders (its own for uncompressed
data, libtiff for the rest) which are right for different ones.
"""

import functools
import io
import sys
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageFile, ImagePalette, TiffImagePlugin

from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.images.declared import AS_DECODED, ByteStream, DeclaredPixels, unsupported

_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_WHITE_IS_0, _BLACK_IS_0, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8

# Photometric interpretation: its name, its colours, and (sample format, bits) of each sample.
_LAYOUTS: dict[int, tuple[str, int, frozenset[tuple[int, int]]]] = {
    _WHITE_IS_0: (
        "a negative (MinIsWhite)",
        1,
        frozenset({(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (3, 32)}),
    ),
    _BLACK_IS_0: (
        "grey (MinIsBlack)",
        1,
        frozenset({(1, 1), (1, 2), (1, 4), (1, 8), (1, 12), (1, 16), (1, 32), (2, 32), (3, 32)}),
    ),
    _RGB: ("RGB", 3, frozenset({(1, 8), (1, 16)})),
    _PALETTE: ("a palette", 1, frozenset({(1, 1), (1, 2), (1, 4), (1, 8)})),
    _CMYK: ("CMYK", 4, frozenset({(1, 8), (1, 16)})),
    _YCBCR: ("YCbCr", 3, frozenset({(1, 8)})),
    _LAB: ("CIE L*a*b*", 3, frozenset({(1, 8)})),
}
_FORMATS = {_UNSIGNED: "unsigned", _SIGNED: "signed", _FLOAT: "floating-point"}
_RAW, _FAX, _OLD_JPEG, _JPEG = 1, (2, 3, 4), 6, 7
_COMPRESSIONS = {_RAW, *_FAX, 5, _OLD_JPEG, _JPEG, 8, 32773, 32946, 34925, 50000, 50001}
_NAMED = {
    34925: "LZMA", 50000: "Zstandard", 50001: "WebP",
    34661: "JBIG", 34676: "LogLuv", 34677: "LogLuv", 34712: "JPEG 2000", 34887: "LERC",
    34892: "lossy JPEG (DNG)", 52546: "JPEG XL", 32771: "16-bit aligned", 32809: "ThunderScan",
}  # fmt: skip
# Pillow's name of samples in the file's byte order, which libtiff has put in the machine's.
_NATIVE = {"F;32BF": "F;32NF", "I;32BS": "I;32NS", "I;16BS": "I;16NS"}


def read_tiff_header(stream: ByteStream) -> DeclaredPixels:
    """Check the first directory of a TIFF against the table.

    Raises
    ------
    ImageError
        ``UNSUPPORTED``, with the layout's name.
    """
    tags = _read_tags(stream)
    if tags is None:
        return AS_DECODED  # damaged: Pillow says how
    compression = tags.get(259, _RAW)
    if compression not in _COMPRESSIONS or not _is_built_in(compression):
        raise unsupported("TIFF", f"compression by {_NAMED.get(compression, compression)}")
    photometric = _photometric(tags, compression)
    if photometric not in _LAYOUTS:
        raise unsupported("TIFF", f"photometric interpretation {photometric}")
    name, colours, layouts = _LAYOUTS[photometric]
    count = tags.get(277, colours if compression in (_OLD_JPEG, _JPEG) else 1)
    all_bits, formats = set(tags.get(258, (1,))), set(tags.get(339, (1,)))
    if len(all_bits) != 1 or len(formats) != 1:
        raise unsupported("TIFF", f"{name} in samples of different types")
    (bits,), (kind,) = all_bits, formats
    if (kind, bits) not in layouts:
        word = _FORMATS.get(kind, "undefined")
        raise unsupported("TIFF", f"{name} in {word} samples of {bits} bits")
    extra = tuple(tags.get(338, ()))
    beyond = f"{name} in {count} channels of {bits} bits"
    if count < colours and not (photometric == _YCBCR and count == 1):
        raise unsupported("TIFF", beyond)
    if count - colours != len(extra) and not (photometric == _RGB and count == 4 and not extra):
        raise unsupported("TIFF", f"{beyond} without a meaning of each")
    _refuse_planes(tags, compression, photometric, extra, beyond)
    if photometric == _YCBCR and compression == _RAW and tuple(tags.get(530, (2, 2))) != (1, 1):
        raise unsupported("TIFF", "uncompressed YCbCr with fewer chroma samples")
    if photometric == _CMYK and tags.get(332, 1) != 1:
        raise unsupported("TIFF", "inks other than CMYK")
    deep = kind == _UNSIGNED and bits == 12
    return DeclaredPixels(
        top=4095 if deep else None, negative=photometric == _WHITE_IS_0 and bits in (16, 32)
    )


_OPTIONAL = {34925: "lzma", 50000: "zstd", 50001: "webp"}


@functools.cache
def _is_built_in(compression: int) -> bool:
    # libtiff may lack these; Pillow does not tell, and reports a damaged file.
    if compression not in _OPTIONAL:
        return True
    try:
        Image.new("RGB", (16, 16)).save(io.BytesIO(), "TIFF", compression=_OPTIONAL[compression])
    except (OSError, ValueError, RuntimeError) as error:
        raise_if_exhausted(error)
        return False
    return True


def _refuse_planes(
    tags: Mapping[int, Any], compression: int, photometric: int, extra: tuple[int, ...], name: str
) -> None:
    if tags.get(284, 1) != 2 or not (extra or photometric == _YCBCR or tags.get(266, 1) == 2):
        return
    # Only libtiff keeps count of planes that are left out, and only RGB has a plane of alpha.
    ignored = not any(extra) or (photometric == _RGB and extra in ((1,), (2,)))
    if compression == _RAW or not ignored:
        raise unsupported("TIFF", f"{name}, in separate planes,")


def _photometric(tags: Mapping[int, Any], compression: int) -> int:
    if compression == _OLD_JPEG:
        return _YCBCR
    if 262 not in tags and compression in _FAX:
        return _WHITE_IS_0
    if 262 not in tags:
        raise unsupported("TIFF", "a file that does not say its photometric interpretation")
    return int(tags[262])


def _read_tags(stream: ByteStream) -> Mapping[int, Any] | None:
    try:
        stream.ran_out = False
        stream.seek(0)
        header = stream.read(8)
        if 43 in header[2:4]:  # BigTIFF
            header += stream.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        stream.seek(tags.next)
        tags.load(stream)
        return None if stream.ran_out else {tag: tags[tag] for tag in tags if tag in _USED}
    except Exception as error:  # noqa: BLE001 - Pillow raises anything on foreign bytes
        raise_if_exhausted(error)
        return None


_USED = {258, 259, 262, 266, 277, 284, 320, 332, 338, 339, 530}


def prepare_tiff(image: ImageFile.ImageFile) -> None:
    """Let an opened TIFF be decoded in the right byte order, its palette be read in 8 bits."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    tags = image.tag_v2
    separate = tags.get(284, 1) == 2 and image.mode in ("RGB", "RGBA", "CMYK")
    sixteen = {16} == set(tags.get(258, ()))
    if not image.use_load_libtiff and separate and sixteen:
        # Pillow's own decoder takes planes for 8 bits, libtiff does not.
        mode = f"{image.mode};16N"
        image.use_load_libtiff = True
        image.tile = [
            ImageFile._Tile("libtiff", (0, 0, *image._tile_size), 0, (mode, False, tags.offset))
        ]
    elif image.use_load_libtiff and tags.prefix == b"MM" and sys.byteorder == "little":
        image.tile = [
            tile._replace(args=(_NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))
            for tile in image.tile
            if isinstance(tile.args, tuple)
        ]
    colours = tags.get(320)
    if colours and max(colours) < 256 and image.palette:
        # Some programs write 8-bit colours where 16-bit ones belong.
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))
