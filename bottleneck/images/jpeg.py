"""JPEG and JPEG 2000: segments, what headers declare, and whether a file without end is whole.

A JPEG that lacks its end marker, and whether it lacks anything else.

Cameras and streams leave the marker out. Whether the last bits are there follows from the pixels:
what stands behind complete data is not read, so it changes none of them. Whether a scan is missing
altogether follows from the headers: all coefficients of all components have to be given in full.

JPEG 2000: depth and sign of the components, and the right values of deep colours.

Pillow brings every component to 8 bits as ``(sample + half) >> shift`` without a limit, so that
the brightest samples of more than 8 bits wrap round to 0: white becomes black, opaque becomes
transparent. Two facts of the format give the right values all the same.

- In the irreversible transform the declared depth scales the samples: a codestream that is
  declared to have 8 bits is decoded to 8 bits, within their limits.
- In the reversible one it only moves them. Declared one bit deeper, the darkest samples and the
  wrapped ones, both 0 otherwise, lie at either side of the middle.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from PIL import Image, ImageFile

from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.images.declared import AS_DECODED, ByteStream, DeclaredPixels, unsupported

_STANDALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers that no length follows."""
_QUANTISATION, SCAN, END = 0xDB, 0xDA, 0xD9
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""What ends a scan: 0xFF within one is followed by 0, by a restart's number, or by another one."""
_FRAMES = {
    0xC3: "lossless JPEG", 0xC5: "hierarchical JPEG", 0xC6: "hierarchical JPEG",
    0xC7: "hierarchical JPEG", 0xCB: "lossless JPEG", 0xCD: "hierarchical JPEG",
    0xCE: "hierarchical JPEG", 0xCF: "hierarchical JPEG", 0xF7: "JPEG-LS",
}  # fmt: skip
_BASELINE = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}


class Segment(NamedTuple):
    """A segment of a JPEG.

    Parameters
    ----------
    marker : int
        Of which kind.
    start, end : int
        Where its body begins, behind its length, and the place behind that, which may be one
        behind the file's end.
    following : int
        Where the next segment begins: behind the data of a scan, else at ``end``.
    """

    marker: int
    start: int
    end: int
    following: int


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments of a JPEG, up to its end marker, whose body is empty.

    Ends early at whatever is no marker.
    """
    at = 2
    while at + 2 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a filling
            at += 1
        elif marker in _STANDALONE:
            at += 2
        elif marker == END:
            yield Segment(END, at + 2, at + 2, at + 2)
            return
        elif at + 4 > len(data):
            return
        else:
            end = following = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if marker == SCAN:
                found = _MARKER.search(data, end)
                following = found.start() if found else len(data)
            yield Segment(marker, at + 4, end, following)
            at = following


def read_jpeg_header(data: bytes) -> DeclaredPixels:
    """Refuse the kinds of JPEG that are no 8-bit DCT, by name."""
    for one in segments(data):
        if one.marker in _FRAMES:
            raise unsupported("JPEG", _FRAMES[one.marker])
        if one.marker in _BASELINE:
            depth = data[one.start : one.start + 1]
            if depth not in (b"", b"\x08"):
                raise unsupported("JPEG", f"a JPEG of {depth[0]} bits")
        if one.marker in _BASELINE or one.marker == SCAN:
            break
    return AS_DECODED


_END = bytes([0xFF, END])
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_RESTARTS = range(0xD0, 0xD8)
_COARSE = 32  # a step of quantisation at which any other coefficient shows
# Bits of every kind: the first ones of these are 0 and 1, their runs short and long.
_FILLINGS = (b"\0", b"\x55", b"\xff\0", b"\xaa", b"\x69\x96\xc5\x3a")
_FILLED = 512


def with_end(data: bytes) -> bytes | None:
    """Return a JPEG with the end marker that it lacks; None if it lacks more, or nothing.

    Only for files within the limit of pixels: they are decoded at full size.
    """
    body = data.rstrip(b"\xff")  # perhaps the first half of the marker
    if not _all_scans_begin(body):
        return None
    restart = bytes([0xFF, _next_restart(body)])
    for picture in (body, _coarse(body)):
        shown = _pixels(picture + _END)
        # Bits of the interval that should be there, then of one that should have begun.
        behind = [filling * _FILLED + restart + filling * _FILLED for filling in _FILLINGS]
        if shown is None or any(_pixels(picture + more + _END) != shown for more in behind):
            return None
    return body + _END


def _next_restart(body: bytes) -> int:
    seen = [marker for marker in _RESTARTS if bytes([0xFF, marker]) in body]
    if not seen:
        return _RESTARTS[0]
    last = max(seen, key=lambda marker: body.rfind(bytes([0xFF, marker])))
    return _RESTARTS[(last + 1) % 8]


def _coarse(body: bytes) -> bytes:
    """Return the JPEG with larger steps of quantisation, but for the mean of each block."""
    changed = bytearray(body)
    for one in segments(body):
        if one.marker == SCAN:
            break
        if one.marker == _QUANTISATION:
            table, end = one.start, min(one.end, len(body))
            while table < end:
                width = 2 if body[table] >> 4 else 1
                for i in range(table + 2 * width, min(table + 1 + 64 * width, end), width):
                    changed[i] = max(body[i], _COARSE)
                table += 1 + 64 * width
    return bytes(changed)


def _pixels(data: bytes) -> bytes | None:
    factory, _ = Image.OPEN["JPEG"]
    try:
        image = factory(ByteStream(data), "")
        assert isinstance(image, ImageFile.ImageFile)
        image.draft("YCbCr", None)  # as they are stored: in RGB some differences are clipped
        image.load()
        return image.tobytes()
    except Exception as error:  # noqa: BLE001 - decoders raise anything on damaged files
        raise_if_exhausted(error)
        return None


def _all_scans_begin(data: bytes) -> bool:
    """Tell whether the headers announce every coefficient in full, and no end marker comes."""
    missing: dict[int, set[int]] = {}  # by component
    sequential = False
    reached = 2
    for marker, start, end, following in segments(data):
        if marker == END or end > len(data):
            return False
        reached = following
        body = data[start:end]
        if marker in _SEQUENTIAL or marker == _PROGRESSIVE:
            sequential = marker in _SEQUENTIAL
            missing = {component: set(range(64)) for component in body[6::3]}
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return False
        elif marker == SCAN and len(body) >= 6:
            first, last, precision = body[-3:]
            given = range(64) if sequential else range(first, last + 1)
            for component in body[1:-3:2] if sequential or not precision & 15 else b"":
                missing.get(component, set()).difference_update(given)
    return reached >= len(data) - 3 and bool(missing) and not any(missing.values())


_START = b"\xff\x4f\xff\x51"
_CODING, _COMPONENT_CODING, _TILE, _DATA = 0x52, 0x53, 0x90, 0x93
_IRREVERSIBLE, _REVERSIBLE = 0, 1


@dataclass(frozen=True)
class Header:
    """What the codestream declares of its components.

    Parameters
    ----------
    start : int
        Where the codestream begins in the file.
    kinds : bytes
        For each component its depth less 1; the upper bit says signed.
    """

    start: int
    kinds: bytes

    @property
    def depth(self) -> int:
        """Bits of the first component."""
        return (self.kinds[0] & 127) + 1

    def declaring(self, data: bytes, depth: int) -> bytes:
        """Return the file with another depth of its components."""
        changed = bytearray(data)
        first = self.start + 42
        changed[first : first + 3 * len(self.kinds) : 3] = bytes([depth - 1]) * len(self.kinds)
        return bytes(changed)


def read_jpeg2000_header(data: bytes) -> DeclaredPixels:
    """Check depth and sign of the components.

    Raises
    ------
    ImageError
        ``UNSUPPORTED``, with the layout's name.
    """
    header = _read_header(data)
    if header is None:
        return AS_DECODED
    depth, count = header.depth, len(header.kinds)
    if len(set(header.kinds)) != 1:
        raise unsupported("JPEG2000", "components of different depths")
    if header.kinds[0] & 128:
        raise unsupported("JPEG2000", "signed samples")
    if depth > 16:
        raise unsupported("JPEG2000", f"{count} components of {depth} bits")
    _refuse_colour_space(data, header)
    if depth == 8 or (depth == 16 and count == 1) or b"pclr" in data[: header.start]:
        return AS_DECODED
    if count > 1 and depth > 8:
        transforms = set(_transforms(data, header.start))
        if not transforms:
            return AS_DECODED  # cut within the header: Pillow says so
        if transforms == {_IRREVERSIBLE}:
            return DeclaredPixels(instead=header.declaring(data, 8))
        if transforms == {_REVERSIBLE}:
            return DeclaredPixels(deeper=header.declaring(data, depth + 1))
        raise unsupported("JPEG2000", f"{count} components of {depth} bits in several transforms")
    return DeclaredPixels(top=2**depth - 1, shift=(8 if depth < 8 else 16) - depth)


def _read_header(data: bytes) -> Header | None:
    start = data.find(_START)
    if start < 0 or len(data) < start + 43:
        return None
    (count,) = struct.unpack_from(">H", data, start + 40)
    kinds, steps = data[start + 42 : start + 42 + 3 * count : 3], set()
    for i in (1, 2):
        steps |= set(data[start + 42 + i : start + 42 + 3 * count : 3])
    if steps - {1}:
        raise unsupported("JPEG2000", "components of fewer samples than others")
    return Header(start, kinds) if count and len(kinds) == count else None


def _refuse_colour_space(data: bytes, header: Header) -> None:
    colours = data.find(b"colr\x01", 0, header.start)
    if len(header.kinds) > 2 and colours >= 0 and len(data) >= colours + 11:
        (space,) = struct.unpack_from(">I", data, colours + 7)
        if space not in (12, 16, 17, 18):
            raise unsupported("JPEG2000", f"colour space {space}")


def _transforms(data: bytes, start: int) -> Iterator[int]:
    for at in _segments(data, start):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == _CODING and at + 13 < len(data):
            yield data[at + 13]
        elif data[at + 1] == _COMPONENT_CODING:
            # The component's number takes one byte or two; the transform follows four others.
            component = 1 if int.from_bytes(data[start + 40 : start + 42], "big") < 257 else 2
            yield data[min(at + 4 + component + 5, at + 1 + length, len(data) - 1)]


def _segments(data: bytes, start: int) -> Iterator[int]:
    """Yield where the segments of the main header and of all tiles' headers begin."""
    at, tile_end = start + 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == _DATA:
            if tile_end <= at:  # the last tile may leave its length out
                return
            at = tile_end
            continue
        if data[at + 1] == _TILE and at + 10 <= len(data):
            (length,) = struct.unpack_from(">I", data, at + 6)
            tile_end = at + length
        yield at
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
