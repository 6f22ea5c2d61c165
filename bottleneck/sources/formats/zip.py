"""Zip files: images read where they lie, found through the list at the end of the file.

The format is PKWARE's APPNOTE.TXT 6.3, sections 4.3 and 4.4, with its 64-bit extensions.
"""

import bz2
import stat
import struct
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ImageError, SourceError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.manifest import Manifest
from bottleneck.packed import PackedBuilder
from bottleneck.sources.base import Listing, Tally
from bottleneck.sources.layout import AS_FOUND, Choice
from bottleneck.sources.random_access import Blob, Window, listing
from bottleneck.sources.shards import Shard, Sharded, archive_manifest, sort_members, sorted_rows
from bottleneck.status import RowStatus

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


_STORED, _DEFLATED, _BZIP2 = 0, 8, 12
_EXTRA_GUESS = 64
"""Extra fields before a member's bytes are rarely longer: one read gets it all."""

ENTRY = np.dtype([("header", "<u8"), ("packed", "<u8"), ("size", "<u8"), ("crc", "<u4"),
                  ("method", "<u2"), ("name", "<u2"), ("name_crc", "<u4")])  # fmt: skip


class ZipSource(Sharded):
    """Images in zip files.

    Parameters
    ----------
    name : str
        What was given.
    manifest : Manifest
        The images.
    shards : sequence of Shard
        The files.
    counts : sequence of int
        Images in each.
    entries : ndarray of ENTRY, shape (n,)
        Where each image is and how it is packed.
    odd : dict of int to str
        Rows that are no plain files, and what they are.
    listing : Listing, optional
        What was left out.
    """

    def __init__(
        self,
        name: str,
        manifest: Manifest,
        shards: Sequence[Shard],
        counts: Sequence[int],
        entries: NDArray[np.void],
        *,
        odd: dict[int, str],
        listing: Listing | None = None,
    ) -> None:
        super().__init__(name, manifest, [shard.blob for shard in shards], counts, listing)
        self._blobs = [shard.blob for shard in shards]
        self._entries = entries
        self._odd = odd

    def read(self, row: int) -> bytes:
        """Return an image's bytes, unpacked and checked.

        Raises
        ------
        ImageError
            ``MISSING``, ``UNREADABLE`` or ``TRUNCATED``, naming the zip and the offset;
            ``UNSUPPORTED`` for links and rare methods of compression.
        """
        blob = self._blobs[self.locate(row)[0]]
        header, packed, size, crc, method, name, name_crc = self._entries[row].item()
        where = f"{blob.name}, the member at offset {header}"
        if row in self._odd:
            raise ImageError(RowStatus.UNSUPPORTED, f"{where}: {self._odd[row]}, not a file")
        guess = min(LOCAL_HEADER.size + name + _EXTRA_GUESS + packed, max(0, blob.size - header))
        data = blob.read(header, max(guess, LOCAL_HEADER.size))
        begin = begin_of(data, name_crc)
        if begin is None:
            raise ImageError(
                RowStatus.UNREADABLE, f"{where}: its header is damaged, or of another name"
            )
        body = data[begin : begin + packed]
        if len(body) < packed:
            body += blob.read(header + begin + len(body), packed - len(body))
        image = _unpack(body, method, size, where)
        if len(image) != size:
            raise ImageError(
                RowStatus.UNREADABLE, f"{where}: expected {size} bytes, it unpacks to {len(image)}"
            )
        if (found := zlib.crc32(image)) != crc:
            raise ImageError(
                RowStatus.UNREADABLE,
                f"{where}: its checksum is {found:08x}, recorded was {crc:08x}",
            )
        return image


def open_zip(name: str, shards: Sequence[Shard], choice: Choice = AS_FOUND) -> ZipSource:
    """List the images of zip files; folders in them name classes and splits.

    Parameters
    ----------
    name : str
        What was given.
    shards : sequence of Shard
        The files in order.
    choice : Choice
        What names the class, where not the outermost folder.

    Raises
    ------
    SourceError
        When one is no zip, is cut short, damaged or encrypted.
    ManifestError
        When there is no image, or a path appears twice.
    """
    names = PackedBuilder()
    rows = array("B")
    counts = []
    odd: dict[int, str] = {}
    tally = Tally()
    for shard in shards:
        count = 0
        with listing():
            for entry in read_directory(shard.blob):
                if entry.kind == "folder":
                    continue
                if choice.rules.is_key(entry.name):
                    _refuse_encrypted(entry, shard)
                    if entry.kind != "file":
                        odd[len(names)] = f"a {entry.kind}"
                    names.append(entry.name)
                    rows.frombytes(_ROW.pack(*entry.place))
                    count += 1
                else:
                    tally.leave_out(entry.name)
        counts.append(count)
    sorted_names, order = sort_members(names.finish(), counts)
    entries = np.frombuffer(rows, ENTRY)
    manifest = archive_manifest(
        name, shards, counts, sorted_names, None, tally=tally, choice=choice
    )
    places = entries if order is None else entries[order]
    return ZipSource(
        name,
        manifest,
        shards,
        counts,
        places,
        odd=sorted_rows(odd, order),
        listing=tally.finish(),
    )


_ROW = struct.Struct("<QQQIHHI")


def _refuse_encrypted(entry: Entry, shard: Shard) -> None:
    if entry.encrypted:
        raise SourceError(
            f"{shard.blob.name}: {entry.name!r} at offset {entry.place[0]} is encrypted",
            hint="Unpack it with its password first, and give the folder.",
        )


def _unpack(body: bytes, method: int, size: int, where: str) -> bytes:
    try:
        if method == _STORED:
            return body
        if method == _DEFLATED:
            # One byte more than promised is enough to see that it is not what was promised.
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, size + 1)
        if method == _BZIP2:
            return bz2.BZ2Decompressor().decompress(body, size + 1)
    except (zlib.error, OSError) as error:
        raise_if_exhausted(error)
        raise ImageError(RowStatus.UNREADABLE, f"{where}: {error}") from error
    raise ImageError(
        RowStatus.UNSUPPORTED, f"{where}: packed by method {method}, not stored, deflate or bzip2"
    )
