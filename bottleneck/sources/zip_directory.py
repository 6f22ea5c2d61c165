"""The central directory of a zip file: what is in it, and where."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bottleneck.errors import SourceError
from bottleneck.sources.blob import Blob, Window

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")

_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED, _UTF8 = 0x1, 0x800


@dataclass(slots=True)
class Entry:
    """A member of a zip file.

    Parameters
    ----------
    name : str
        Its path.
    place : tuple of int
        Offset of its header, packed size, size, CRC-32, method, and length of its name in bytes.
    encrypted : bool
        Whether a password is needed.
    """

    name: str
    place: tuple[int, int, int, int, int, int]
    encrypted: bool


def read_directory(blob: Blob) -> Iterator[Entry]:
    """Yield the members of a zip in the order of its directory.

    Raises
    ------
    SourceError
        When the end of the file is missing, or the directory is damaged.
    """
    total, offset, shift = _find_end(blob)
    window = Window(blob)
    for number in range(total):
        fields = _CENTRAL.unpack(window.read(offset, _CENTRAL.size))
        if fields[0] != b"PK\1\2":
            raise SourceError(
                f"{blob.name} is damaged: expected entry {number} of {total} of its list at "
                f"offset {offset}",
                hint="Copy it again; `zip -FF` may save what is left.",
            )
        flags, method, crc = fields[3], fields[4], fields[7]
        name_length, extra_length, comment_length = fields[10:13]
        rest = window.read(offset + _CENTRAL.size, name_length + extra_length)
        name, extra = rest[:name_length], rest[name_length:]
        packed, size, header = _wide(fields[8], fields[9], fields[16], extra)
        yield Entry(
            name=name.decode("utf-8" if flags & _UTF8 else "cp437", "surrogateescape").replace(
                "\\", "/"
            ),
            place=(header + shift, packed, size, crc, method, name_length),
            encrypted=bool(flags & _ENCRYPTED),
        )
        offset += _CENTRAL.size + name_length + extra_length + comment_length


def _find_end(blob: Blob) -> tuple[int, int, int]:
    """Return the number of entries, the directory's offset, and what lies before the zip."""
    length = min(blob.size, _END.size + 0xFFFF)
    tail = blob.read(blob.size - length, length)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > length:
        raise SourceError(
            f"{blob.name} has no list of its members: it is no zip file, or it is cut short "
            f"(it ends at {blob.size})",
            hint="Copy it again; `zip -FF` may save what is left.",
        )
    end = blob.size - length + at
    _, disk, _, _, total, size, offset, _ = _END.unpack_from(tail, at)
    if disk not in (0, _FULL16):
        raise SourceError(f"{blob.name} is one of several parts", hint="Join them: zip -s 0")
    behind = end
    where = at - _LOCATOR.size
    # Some programs write 64-bit fields although the short ones would do.
    if where >= 0 and tail[where : where + 4] == b"PK\6\7":
        end64 = _LOCATOR.unpack_from(tail, where)[2]
        fields = _END64.unpack(blob.read(end64, _END64.size))
        if fields[0] != b"PK\6\6":
            raise SourceError(f"{blob.name} is damaged: no end mark at offset {end64}")
        total, size, offset, behind = fields[7], fields[8], fields[9], end64
    # A program may stand before the zip (self-extracting); offsets then begin behind it.
    shift = behind - size - offset
    if shift < 0:
        raise SourceError(
            f"{blob.name} is damaged: its list of {size} bytes at offset {offset} does not fit",
            hint="Copy it again.",
        )
    return total, offset + shift, shift


def _wide(packed: int, size: int, header: int, extra: bytes) -> tuple[int, int, int]:
    """Take the 64-bit values where the 32-bit fields are full."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            values = iter(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            size = next(values, size) if size == _FULL32 else size
            packed = next(values, packed) if packed == _FULL32 else packed
            header = next(values, header) if header == _FULL32 else header
        position += 4 + length
    return packed, size, header
