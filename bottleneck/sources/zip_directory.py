"""The central directory of a zip file: what is in it, and where."""

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bottleneck.errors import SourceError
from bottleneck.sources.blob import Blob, Window

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")

_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED, _UTF8 = 0x1, 0x800
_UNIX = (3, 19)
_UNICODE_PATH = 0x7075
_SIGNATURE = b"PK\5\5"
"""Of a digital signature behind the entries."""


@dataclass(slots=True)
class Entry:
    """A member of a zip file.

    Parameters
    ----------
    name : str
        Its path.
    place : tuple of int
        Offset of its header, packed size, size, CRC-32, method, length of its name in bytes, and
        the CRC-32 of those.
    encrypted : bool
        Whether a password is needed.
    kind : str
        ``file``, ``folder`` or ``symbolic link``, or what else a Unix program packed.
    """

    name: str
    place: tuple[int, int, int, int, int, int, int]
    encrypted: bool
    kind: str


def read_directory(blob: Blob) -> Iterator[Entry]:
    """Yield the members of a zip in the order of its directory.

    The directory is gone through from its beginning to its end. Its recorded number of entries
    and their offsets are only checked against that, since programs without 64-bit fields
    (macOS's Archive Utility) write them modulo 2**16 and 2**32.

    Raises
    ------
    SourceError
        When the end of the file is missing, or the directory is damaged or does not have the
        number of entries that it should.
    """
    end = _find_end(blob)
    window = Window(blob)
    offset, number, previous = end.start, 0, 0
    while offset + 4 <= end.stop:
        signature = window.read(offset, 4)
        if signature == _SIGNATURE:
            break
        if signature != b"PK\1\2" or offset + _CENTRAL.size > end.stop:
            raise _damaged(
                blob, f"expected entry {number} of {end.total} of its list at offset {offset}"
            )
        fields = _CENTRAL.unpack(window.read(offset, _CENTRAL.size))
        flags, method, crc = fields[3], fields[4], fields[7]
        name_length, extra_length, comment_length = fields[10:13]
        rest = window.read(offset + _CENTRAL.size, name_length + extra_length)
        raw, extra = rest[:name_length], rest[name_length:]
        packed, size, header = _wide(fields[8], fields[9], fields[16], extra)
        if end.wraps:
            header += (previous - header + _FULL32) >> 32 << 32 if header < previous else 0
            previous = header
        name = _name(raw, flags, extra).replace("\\", "/")
        yield Entry(
            name=name,
            place=(header + end.shift, packed, size, crc, method, name_length, zlib.crc32(raw)),
            encrypted=bool(flags & _ENCRYPTED),
            kind="folder" if name.endswith("/") else _kind(fields[1] >> 8, fields[15] >> 16),
        )
        offset += _CENTRAL.size + name_length + extra_length + comment_length
        number += 1
    if number != end.total and (end.is_wide or number & _FULL16 != end.total):
        raise _damaged(blob, f"expected {end.total} entries in its list, found {number}")


def begin_of(head: bytes, name_crc: int) -> int | None:
    """Return where a member's bytes begin behind its own header; None where that is damaged.

    Parameters
    ----------
    head : bytes
        The header with the name behind it.
    name_crc : int
        CRC-32 of the name in the list at the end of the file: both are to be the same.
    """
    signature, *_, name_length, extra_length = LOCAL_HEADER.unpack_from(head)
    name = head[LOCAL_HEADER.size : LOCAL_HEADER.size + name_length]
    if signature != b"PK\3\4" or zlib.crc32(name) != name_crc:
        return None
    return LOCAL_HEADER.size + int(name_length) + int(extra_length)


def _kind(system: int, mode: int) -> str:
    """Tell by the mode that programs on Unix (3) and macOS (19) keep; others keep none."""
    form = stat.S_IFMT(mode) if system in _UNIX else 0
    return {0: "file", stat.S_IFREG: "file", stat.S_IFLNK: "symbolic link"}.get(
        form, "special file"
    )


def _damaged(blob: Blob, what: str) -> SourceError:
    return SourceError(
        f"{blob.name} is damaged: {what}",
        hint="Copy it again; `zip -FF` may save what is left.",
    )


def _name(raw: bytes, flags: int, extra: bytes) -> str:
    """Decode a member's name: by its flag, its field of UTF-8, or by what it can be.

    Many programs write UTF-8 without the flag (macOS, Java, 7-Zip on Linux); text in an old code
    page that is valid UTF-8 by chance is next to unknown.
    """
    if flags & _UTF8:
        return raw.decode("utf-8", "surrogateescape")
    for kind, value in _extra_fields(extra):
        # APPNOTE 4.6.9: void where the name was changed after it was written.
        if kind == _UNICODE_PATH and value[:5] == struct.pack("<BI", 1, zlib.crc32(raw)):
            return value[5:].decode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


@dataclass(frozen=True, slots=True)
class _End:
    """What the end of a zip says of its directory.

    Parameters
    ----------
    total : int
        Recorded number of entries.
    start, stop : int
        Where the directory is.
    shift : int
        Bytes before the zip.
    is_wide : bool
        Whether the numbers have 64 bits.
    wraps : bool
        Whether offsets of members are modulo 2**32.
    """

    total: int
    start: int
    stop: int
    shift: int
    is_wide: bool
    wraps: bool


def _find_end(blob: Blob) -> _End:
    length = min(blob.size, _END.size + 0xFFFF)
    tail = blob.read(blob.size - length, length)
    at = _last_end_mark(tail)
    if at < 0:
        raise SourceError(
            f"{blob.name} has no list of its members: it is no zip file, or it is cut short "
            f"(it ends at {blob.size})",
            hint="Copy it again; `zip -FF` may save what is left.",
        )
    stop = blob.size - length + at
    _, disk, _, _, total, size, offset, _ = _END.unpack_from(tail, at)
    if disk not in (0, _FULL16):
        raise SourceError(f"{blob.name} is one of several parts", hint="Join them: zip -s 0")
    where = at - _LOCATOR.size
    # Some programs write 64-bit fields although the short ones would do.
    is_wide = where >= 0 and tail[where : where + 4] == b"PK\6\7"
    if is_wide:
        stop, fields = _wide_end(blob, _LOCATOR.unpack_from(tail, where)[2], stop - _LOCATOR.size)
        total, size, offset = fields[7], fields[8], fields[9]
    # A program may stand before the zip (self-extracting); offsets then begin behind it.
    shift = stop - size - offset
    if shift < 0:
        raise SourceError(
            f"{blob.name} is damaged: its list of {size} bytes at offset {offset} does not fit",
            hint="Copy it again.",
        )
    wraps = not is_wide and shift > 0 and shift & _FULL32 == 0
    if shift and not wraps and blob.read(0, 4) == b"PK\3\4":
        raise SourceError(
            f"{blob.name} holds {shift} bytes of another zip in front of its own members, whose "
            "list says nothing of it",
            hint="Are it two zips behind one another? Give each as a file of its own.",
        )
    return _End(total, stop - size, stop, 0 if wraps else shift, is_wide, wraps)


def _wide_end(blob: Blob, recorded: int, behind: int) -> tuple[int, tuple[Any, ...]]:
    """Find the end mark of 64 bits: where it should be, or right before what names its place."""
    for stop in (recorded, behind - _END64.size):  # the latter where a program stands in front
        if 0 <= stop <= blob.size - _END64.size:
            fields = _END64.unpack(blob.read(stop, _END64.size))
            if fields[0] == b"PK\6\6":
                return stop, fields
    raise SourceError(f"{blob.name} is damaged: no end mark at offset {recorded}")


def _last_end_mark(tail: bytes) -> int:
    """Find the end mark whose comment ends with the file, or else the last; -1 for none."""
    last = at = tail.rfind(b"PK\5\6", 0, max(0, len(tail) - _END.size + 4))
    while at >= 0:
        if at + _END.size + _END.unpack_from(tail, at)[7] == len(tail):
            return at
        at = tail.rfind(b"PK\5\6", 0, at)
    return last


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        yield kind, extra[position + 4 : position + 4 + length]
        position += 4 + length


def _wide(packed: int, size: int, header: int, extra: bytes) -> tuple[int, int, int]:
    """Take the 64-bit values where the 32-bit fields are full."""
    for kind, value in _extra_fields(extra):
        if kind == 1:
            values = iter(struct.unpack_from(f"<{len(value) // 8}Q", value))
            size = next(values, size) if size == _FULL32 else size
            packed = next(values, packed) if packed == _FULL32 else packed
            header = next(values, header) if header == _FULL32 else header
    return packed, size, header
