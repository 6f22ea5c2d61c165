"""PNG: metadata that do not decide pixels are not to keep the pixels from being decoded.

Pillow refuses a whole file for a text or profile that unpacks to more than 1 MB, and for a wrong
checksum of any chunk. Such chunks are left out here before it sees them. The orientation, which
may stand in a large XMP text, is kept.
"""

import re
import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_LIMIT = 1024 * 1024
"""Texts and profiles of more bytes, unpacked, are left out."""

TOTAL_LIMIT = 16 * TEXT_LIMIT
"""All texts together."""

UNPACK_LIMIT = 64 * TEXT_LIMIT
"""No more of an XMP text is searched for the orientation."""

_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
# Ancillary by their lower-case letter, and still part of the picture.
_PICTURE = (b"tRNS", b"acTL", b"fcTL", b"fdAT")
_XMP = b"XML:com.adobe.xmp"
_ORIENTATION = re.compile(rb"""tiff:Orientation(?:="[0-9]"|>[0-9])""")


def without_metadata_in_the_way(data: bytes) -> bytes:
    """Return a PNG without damaged or outsized metadata; the same bytes where there are none."""
    parts: list[bytes] = []
    done = at = len(SIGNATURE)
    total = 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            break
        if kind[:1].islower() and kind not in _PICTURE:
            body = data[at + 8 : end - 4]
            size = _unpacked_size(kind, body)
            sound = zlib.crc32(kind + body) == int.from_bytes(data[end - 4 : end], "big")
            if not sound or size > TEXT_LIMIT or total + size > TOTAL_LIMIT:
                parts += [data[done:at], _orientation_of(kind, body) if sound else b""]
                done = end
            else:
                total += size
        at = end
        if kind == b"IEND":
            break
    return b"".join([SIGNATURE, *parts, data[done:]]) if parts else data


def _packed(kind: bytes, body: bytes) -> bytes | None:
    # The zlib stream of a chunk; None for plain text.
    rest = body.partition(b"\0")[2]
    if kind in (b"zTXt", b"iCCP"):
        return rest[1:]
    if kind == b"iTXt" and rest[:1] == b"\1":
        return rest[2:].split(b"\0", 2)[-1]
    return None


def _pieces(packed: bytes) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    try:
        while packed and not unpacker.eof:
            piece = unpacker.decompress(packed, TEXT_LIMIT)
            packed = unpacker.unconsumed_tail
            yield piece
    except zlib.error:
        return


def _unpacked_size(kind: bytes, body: bytes) -> int:
    packed = _packed(kind, body) if kind in _TEXTS else None
    if packed is None:
        return len(body)
    size = 0
    for piece in _pieces(packed):
        size += len(piece)
        if size > TEXT_LIMIT:
            break
    return max(size, len(body))


def _orientation_of(kind: bytes, body: bytes) -> bytes:
    """Return a small XMP chunk with the orientation that a large one holds, or nothing."""
    if kind != b"iTXt" or not body.startswith(_XMP + b"\0"):
        return b""
    packed = _packed(kind, body)
    seen, last = 0, b""
    for piece in [body] if packed is None else _pieces(packed):
        found = _ORIENTATION.search(last + piece)
        if found:
            small = b"iTXt" + _XMP + b"\0\0\0\0\0" + found[0]
            return struct.pack(">I", len(small) - 4) + small + struct.pack(">I", zlib.crc32(small))
        seen, last = seen + len(piece), piece[-64:]
        if seen > UNPACK_LIMIT:
            break
    return b""
