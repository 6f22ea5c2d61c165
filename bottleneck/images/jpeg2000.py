"""JPEG 2000: depth and sign of the components, and the right values of deep colours.

Pillow brings every component to 8 bits as ``(sample + half) >> shift`` without a limit, so that
the brightest samples of more than 8 bits wrap round to 0: white becomes black, opaque becomes
transparent. Two facts of the format give the right values all the same.

- In the irreversible transform the declared depth scales the samples: a codestream that is
  declared to have 8 bits is decoded to 8 bits, within their limits.
- In the reversible one it only moves them. Declared one bit deeper, the darkest samples and the
  wrapped ones, both 0 otherwise, lie at either side of the middle.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bottleneck.images.declared import AS_DECODED, DeclaredPixels, unsupported

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
