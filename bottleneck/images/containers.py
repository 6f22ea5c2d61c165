"""Which file formats are read, and how the bytes of one are opened without decoding them.

``PIL.Image.open`` is not used: it warns or raises by a size limit that any program may change,
and it tries every registered plugin. The list below is fixed, so the same bytes mean the same
thing everywhere. Left out on purpose: EPS (it would run Ghostscript on foreign input), formats
that Pillow only identifies (WMF, MPEG, GRIB, BUFR, HDF5), Photo CD (its colours come out
differently from every other decoder), and scientific or thumbnail formats
without a dependable signature (SPIDER, IM, IPTC, McIDAS, GBR, DIB and others).
"""

import struct
from dataclasses import dataclass

from PIL import Image, ImageFile

from bottleneck.errors import ImageError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.images.declared import AS_DECODED, ByteStream, DeclaredPixels
from bottleneck.images.failures import explain
from bottleneck.images.jpeg import read_jpeg2000_header, read_jpeg_header
from bottleneck.images.legacy import READ_HEADER
from bottleneck.images.png import SIGNATURE as PNG
from bottleneck.images.png import without_metadata_in_the_way
from bottleneck.images.tiff import prepare_tiff, read_tiff_header
from bottleneck.status import RowStatus

# The signature is long enough that a match means the format: a broken header is a broken file.
_SIGNED = (
    "JPEG", "PNG", "GIF", "WEBP", "TIFF", "AVIF", "JPEG2000",
    "PSD", "ICNS", "QOI", "DDS", "FITS", "BLP", "FTEX", "SUN", "DCX", "XPM",
)  # fmt: skip
# Two bytes or none: a file that then makes no sense is something else. TGA has no signature at
# all, so it comes last.
_UNSIGNED = ("BMP", "PPM", "ICO", "CUR", "PCX", "SGI", "MSP", "FLI", "XBM", "TGA")

# What a plugin raises once it has recognised its format, whatever the signature.
_RECOGNISED = (OSError, NotImplementedError, MemoryError, Image.DecompressionBombError)

# Images by their first bytes, which we know but do not decode.
_UNREADABLE_KINDS = (
    (0, b"%!PS", "EPS or PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (40, b" EMF", "EMF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (4, b"ftypheic", "HEIF"),
    (4, b"ftypheix", "HEIF"),
    (4, b"ftyphevc", "HEIF"),
    (4, b"ftypmif1", "HEIF or AVIF"),
    (4, b"ftypmsf1", "HEIF or AVIF"),
    (4, b"ftypavif", "AVIF"),
    (2048, b"PCD_", "Photo CD"),
    (0, b"PF\n", "Coloured PFM"),
    (0, b"P7\n", "PAM"),
    (0, b"gimp xcf", "XCF"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
)


@dataclass(frozen=True)
class Opened:
    """A file whose header was understood; no pixel is decoded yet."""

    image: ImageFile.ImageFile
    container: str
    stream: ByteStream
    declared: DeclaredPixels = AS_DECODED


def _read_header(container: str, data: bytes, stream: ByteStream) -> DeclaredPixels:
    # Formats whose header is read on its own: Pillow decodes some of their layouts wrongly.
    if container == "TIFF":
        return read_tiff_header(stream)
    if container == "JPEG":
        return read_jpeg_header(data)
    if container == "JPEG2000":
        return read_jpeg2000_header(data)
    read = READ_HEADER.get(container)
    return AS_DECODED if read is None else read(data)


def open_container(data: bytes) -> Opened:
    """Find the format of ``data`` and read its header.

    Raises
    ------
    ImageError
        ``EMPTY``, ``NOT_AN_IMAGE``, ``TRUNCATED``, ``UNSUPPORTED`` or ``UNREADABLE``.
    """
    if not data:
        raise ImageError(RowStatus.EMPTY, "the file has no bytes")
    Image.init()  # registers Pillow's plugins, once
    prefix = data[:16]
    stream = ByteStream(without_metadata_in_the_way(data) if prefix[:8] == PNG else data)
    for container in (*_SIGNED, *_UNSIGNED):
        factory, accept = Image.OPEN.get(container, (None, None))
        # A plugin whose library is missing answers with a sentence instead of True.
        if factory is None or (accept and accept(prefix) is not True):
            continue
        signed = container in _SIGNED
        declared = _read_header(container, data, stream) if signed else AS_DECODED
        if declared.instead is not None:
            stream = ByteStream(declared.instead)
        stream.seek(0)
        stream.ran_out = False
        try:
            image = factory(stream, "")
            prepare_tiff(image)
        except Exception as error:
            # Plugins raise anything on foreign bytes.
            raise_if_exhausted(error)
            if signed or (isinstance(error, _RECOGNISED) and not _is_text(data)):
                raise explain(error, container, ended_early(data, container, stream)) from error
            continue
        if not signed:
            declared = _read_header(container, data, stream)
        return Opened(image, container, stream, declared)
    for offset, signature, kind in _UNREADABLE_KINDS:
        if data.startswith(signature, offset):
            raise ImageError(RowStatus.UNSUPPORTED, f"{kind} files are not read here")
    raise ImageError(RowStatus.NOT_AN_IMAGE, f"no image format starts with {data[:8]!r}")


def ended_early(data: bytes, container: str, stream: ByteStream) -> bool:
    """Tell, after a failure, whether the bytes end before the file does."""
    return stream.ran_out or lost_tail(data, container, stream)


def lost_tail(data: bytes, container: str, stream: ByteStream) -> bool:
    """Tell whether the file is shorter than it says itself, even if it could be decoded.

    JPEG 2000 is decoded as far as it goes, and PNG and WebP may keep the orientation behind the
    pixels: without a check, a cut would give another picture.
    """
    if container == "PNG":
        return stream.ran_out  # while looking for the end chunk
    if container == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if container == "AVIF":
        return _boxes_end_early(data)
    if container == "JPEG2000":
        # Within compressed data no byte after 0xFF is above 0x8F, so this is the end marker.
        return _boxes_end_early(data) or b"\xff\xd9" not in data
    return False


def _is_text(data: bytes) -> bool:
    # "BMW, a list of" starts like a bitmap and "P1: notes" like a portable one.
    return all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in data[:64])


def _boxes_end_early(data: bytes) -> bool:
    # ISO base media boxes: 32-bit length and type; 1 means a 64-bit length follows, 0 the rest.
    if data.startswith(b"\xff\x4f\xff\x51"):
        return False  # a bare JPEG 2000 codestream
    position = 0
    while position < len(data):
        if len(data) - position < 8:
            return True
        (length,) = struct.unpack_from(">I", data, position)
        if length == 1 and len(data) - position >= 16:
            (length,) = struct.unpack_from(">Q", data, position + 8)
        if length == 0:
            return False
        if length < 8 or position + length > len(data):
            return True
        position += length
    return False
