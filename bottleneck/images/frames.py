"""Whether a file holds pages or frames behind the one that is decoded.

Told from the headers alone, as animated and multi-page files are laid out by GIF89a, the PNG
specification (``acTL``), the WebP container, TIFF 6.0 and BigTIFF, FLIC and DCX. What is not
another picture does not count: thumbnails and masks of TIFF, the sizes of an icon, layers of a PSD.
"""

import struct
from collections.abc import Callable

_MOST_DIRECTORIES = 100
"""Of a TIFF, all thumbnails and masks: more are not looked through."""

_REDUCED_OR_MASK = 0b101


def has_more_frames(data: bytes) -> bool:
    """Whether a file has a second page or frame; False for what is damaged or no image.

    Parameters
    ----------
    data : bytes
        The whole file.
    """
    read = next((read for at, start, read in _KINDS if data.startswith(start, at)), None)
    try:
        return read is not None and read(data)
    except (struct.error, IndexError):
        return False


def _png(data: bytes) -> bool:
    at = 8
    while data[at + 4 : at + 8] not in (b"IDAT", b"IEND"):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"acTL":
            return bool(struct.unpack_from(">I", data, at + 8)[0] > 1)
        at += 12 + length
    return False


def _gif(data: bytes) -> bool:
    at = 13 + _gif_colours(data[10])
    seen = 0
    while data[at] in b",!":
        if data[at] == ord(","):
            if seen:
                return True
            seen = 1
            at += 10 + _gif_colours(data[at + 9]) + 1  # behind the least size of a code
        else:
            at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    return False


def _gif_colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp(data: bytes) -> bool:
    at, seen = 12, 0  # any other RIFF file has no chunks of that name
    while at + 8 <= len(data) and seen < 2:
        (length,) = struct.unpack_from("<I", data, at + 4)
        seen += data[at : at + 4] == b"ANMF"
        at += 8 + length + length % 2
    return seen > 1


def _tiff(data: bytes) -> bool:
    order = "<" if data.startswith(b"II") else ">"
    big = 43 in data[2:4]
    entries, entry, place = ("Q", 20, "Q") if big else ("H", 12, "I")
    number, start = struct.Struct(order + entries), struct.Struct(order + place)
    (at,) = start.unpack_from(data, 8 if big else 4)
    visited: set[int] = set()
    while at and at not in visited and len(visited) < _MOST_DIRECTORIES:
        (count,) = number.unpack_from(data, at)
        first = at + number.size
        if visited and not _is_reduced(data, first, count, entry, order):
            return True
        visited.add(at)
        (at,) = start.unpack_from(data, first + count * entry)
    return False


def _is_reduced(data: bytes, first: int, count: int, entry: int, order: str) -> bool:
    """Whether a directory is that of a thumbnail or a mask, by its NewSubfileType (254)."""
    for place in range(first, first + count * entry, entry):
        tag, kind = struct.unpack_from(f"{order}2H", data, place)
        if tag == 254 and kind == 4:
            value = place + (8 if entry == 12 else 12)
            return bool(struct.unpack_from(f"{order}I", data, value)[0] & _REDUCED_OR_MASK)
        if tag > 254:
            break
    return False


def _flic(data: bytes) -> bool:
    return bool(struct.unpack_from("<H", data, 6)[0] > 1)


def _dcx(data: bytes) -> bool:
    return bool(struct.unpack_from("<I", data, 8)[0])  # the place of a second page


def _sequence(_: bytes) -> bool:
    return True


_KINDS: tuple[tuple[int, bytes | tuple[bytes, ...], Callable[[bytes], bool]], ...] = (
    (0, b"\x89PNG", _png),
    (0, (b"GIF87a", b"GIF89a"), _gif),
    (0, b"RIFF", _webp),
    (0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    (0, b"\xb1\x68\xde\x3a", _dcx),
    (4, (b"ftypavis", b"ftypmsf1", b"ftyphevc", b"ftyphevx"), _sequence),
    (4, (b"\x11\xaf", b"\x12\xaf"), _flic),
)
