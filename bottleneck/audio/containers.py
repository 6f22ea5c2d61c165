"""What the containers of sounds say of themselves: whether a file ends early, and what it is.

The library that decodes takes a shortened WAV, AIFF or Ogg file for a shorter sound.
"""

import struct
from typing import Final

_UNKNOWN_SIZES: Final = (0, 0x7FFFFFFF, 0xFFFFFFFF)
"""What programs write that do not know yet how long the sound will be."""

_NOT_YET_KNOWN: Final = 0x7FFFF000
"""From here on a size of 32 bits is such a guess as well."""

_OGG_LAST: Final = 4
"""The flag of an Ogg page that ends a stream."""

_FOREIGN: Final = (
    (4, b"ftyp", "MP4 (AAC, ALAC)"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "Windows Media"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (0, b"#!AMR", "AMR"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"MThd", "MIDI"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
)


def foreign(data: bytes) -> str | None:
    """Name the format of sounds that cannot be decoded here, by its first bytes."""
    found = (name for at, mark, name in _FOREIGN if data[at : at + len(mark)] == mark)
    return next(found, None)


def ends_early(data: bytes) -> bool | None:
    """Whether a file is shorter than it says itself; None where it does not say."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _chunk_is_cut(data, b"data", "<I")
    if data[:4] == b"FORM":
        return _chunk_is_cut(data, b"SSND", ">I")
    if data[:4] == b"OggS":
        return _ogg_is_cut(data)
    if data[:4] in (b"RF64", b"riff") and len(data) >= 28:  # sizes of 64 bits, the latter Sony's
        (size,) = struct.unpack_from("<Q", data, 20 if data[:4] == b"RF64" else 16)
        return bool(size > len(data))
    if data[:4] == b".snd" and len(data) >= 12:
        offset, size = struct.unpack(">II", data[4:12])
        return size not in _UNKNOWN_SIZES and offset + size > len(data)
    return None


def _chunk_is_cut(data: bytes, name: bytes, order: str) -> bool:
    """Whether the chunk of a RIFF or IFF file that holds the samples goes beyond the end."""
    at = 12
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(order, data, at + 4)
        if data[at : at + 4] == name:
            known = size not in _UNKNOWN_SIZES and size < _NOT_YET_KNOWN
            return bool(known and at + 8 + size > len(data))
        at += 8 + size + size % 2
    return True  # not even the beginning of the samples is there


def _ogg_is_cut(data: bytes) -> bool:
    """Whether the last page is not whole, or does not end a stream."""
    at = data.rfind(b"OggS")
    if at + 27 > len(data):
        return True
    segments = data[at + 26]
    lengths = data[at + 27 : at + 27 + segments]
    whole = len(lengths) == segments and at + 27 + segments + sum(lengths) <= len(data)
    return not (whole and data[at + 5] & _OGG_LAST)
