"""The members of a tar file, read from its headers alone.

Formats: POSIX ustar and pax (IEEE Std 1003.1, ``pax``), and GNU tar's long names. Python's own
``tarfile`` keeps an object of about a kilobyte per member, which a million members do not allow.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bottleneck.errors import SourceError
from bottleneck.sources.random_access import Blob, Window

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_PIECE = 1 << 20
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_FILE = {b"0", b"\0", b"7"}
_WITHOUT_DATA = {b"1", b"2", b"3", b"4", b"5", b"6"}
_KINDS = {
    b"1": "hard link",
    b"2": "symbolic link",
    b"3": "device",
    b"4": "device",
    b"5": "folder",
    b"6": "pipe",
    b"D": "folder",
    b"M": "file continued from another volume",
    b"S": "sparse file",
    b"V": "folder",
}
"""What members are that are no plain files; GNU's volume labels (V) hold nothing either."""

_OLD_SPARSE_MORE, _MORE_SPARSE_MORE = 482, 504
"""Where GNU's old sparse headers say that another block of them follows."""


@dataclass(slots=True)
class Member:
    """One entry of a tar file.

    Parameters
    ----------
    name : str
        Its path, without ``./`` before it.
    offset, size : int
        Where its bytes are.
    kind : str
        ``file``, ``folder``, ``hard link``, or what else it is.
    target : str
        What a link points to.
    """

    name: str
    offset: int
    size: int
    kind: str
    target: str


def read_members(blob: Blob, window: Window) -> Iterator[Member]:
    """Yield the members of a tar in their order, and of tars that follow it in the same file.

    Raises
    ------
    SourceError
        When it is compressed, no tar, damaged, or breaks off: with the offset. A tar that breaks
        off is refused as a whole, because nobody could tell which images are lost.
    """
    position = 0
    long: dict[str, str] = {}
    shared: dict[str, str] = {}
    _refuse_compressed(blob)
    while True:
        if position + _BLOCK > blob.size:
            raise SourceError(
                f"{blob.name} breaks off: expected another header or the end mark at offset "
                f"{position}, the file ends at {blob.size}",
                hint="Copy it again, or mend it: some of its images may be missing.",
            )
        block = window.read(position, _BLOCK)
        if block == _ZEROS:
            # `cat a.tar b.tar` leaves the end mark of the first in the middle.
            position = _skip_zeros(blob, position)
            if position + _BLOCK > blob.size:
                return
            block, long, shared = window.read(position, _BLOCK), {}, {}
        _check_header(block, blob, position)
        kind = block[156:157]
        fields = shared | long
        size = _size(block, fields, blob, position)
        data = position + _BLOCK
        if kind == b"S":
            data = _behind_sparse_headers(block, window, data)
        if kind in _WITHOUT_DATA:
            size = 0
        behind = data + -(-size // _BLOCK) * _BLOCK
        if data + size > blob.size:
            raise SourceError(
                f"{blob.name} breaks off: {_name(block)!r} at offset {position} needs {size} "
                f"bytes, the file ends at {blob.size}",
                hint="Copy it again, or mend it: the images behind are missing.",
            )
        position = behind
        if kind in (b"L", b"K"):
            long["path" if kind == b"L" else "linkpath"] = _text(window.read(data, size))
        elif kind in (b"x", b"X", b"g"):  # X: as Solaris wrote it before there was POSIX's x
            (shared if kind == b"g" else long).update(_records(window.read(data, size), blob, data))
        else:
            path = fields.get("GNU.sparse.name") or fields.get("path") or _name(block)
            yield Member(
                name=_plain(path),
                offset=data,
                size=size,
                kind=_kind(kind, path, fields),
                target=_plain(fields.get("linkpath") or _text(block[157:257])),
            )
            long = {}


def _refuse_compressed(blob: Blob) -> None:
    start = blob.read(0, min(blob.size, 6))
    for magic, format in _COMPRESSED.items():
        if start.startswith(magic):
            raise SourceError(
                f"{blob.name} is compressed by {format}: its members cannot be read one by one",
                hint="Unpack it to a plain .tar; images gain nothing by being compressed twice.",
            )


def _skip_zeros(blob: Blob, position: int) -> int:
    """Return the offset of the next block that is not all zeros, or where the blocks end."""
    while position + _BLOCK <= blob.size:
        piece = blob.read(position, min(_PIECE, blob.size - position))
        ahead = len(piece) - len(piece.lstrip(b"\0"))
        if ahead < len(piece):
            return position + ahead // _BLOCK * _BLOCK
        position += ahead
    return blob.size


def _check_header(block: bytes, blob: Blob, position: int) -> None:
    try:
        recorded = int(block[148:156].strip(b"\0 ") or b"-1", 8)
    except ValueError:
        recorded = -1
    field = sum(block[148:156]) - 8 * ord(" ")
    if sum(block) - field != recorded:
        # Some old programs added the bytes as signed numbers.
        negative = sum(byte > 127 for byte in block) - sum(byte > 127 for byte in block[148:156])
        if sum(block) - field - 256 * negative != recorded:
            raise SourceError(
                f"{blob.name} is {'no tar file' if position == 0 else 'damaged'}: "
                f"expected a header at offset {position}, its checksum does not match",
                hint=None if position == 0 else "Copy it again.",
            )


def _size(block: bytes, fields: dict[str, str], blob: Blob, position: int) -> int:
    """Return the length of a member's bytes; pax fields tell that of the file they are about."""
    field = block[124:136]
    try:
        if "size" in fields and block[156:157] not in b"xXgLK":
            size = int(fields["size"])
        elif field[0] & 0x80:  # base 256, for files of more than 8 GiB
            size = int.from_bytes(field, "big") - (0x80 << 8 * (len(field) - 1))
        else:
            size = int(field.strip(b"\0 ") or b"0", 8)
    except ValueError:
        size = -1
    if size < 0:
        raise SourceError(
            f"{blob.name} is damaged: the header at offset {position} has no valid size",
            hint="Copy it again.",
        )
    return size


def _behind_sparse_headers(block: bytes, window: Window, position: int) -> int:
    """Return where the bytes of one of GNU's old sparse files begin: behind its list of pieces."""
    more = block[_OLD_SPARSE_MORE]
    while more:
        more = window.read(position, _BLOCK)[_MORE_SPARSE_MORE]
        position += _BLOCK
    return position


def _records(data: bytes, blob: Blob, position: int) -> dict[str, str]:
    """Read pax records, ``27 path=folder/name.jpg`` and a line feed, the length included."""
    records = {}
    start = 0
    while start < len(data) and data[start : start + 1] != b"\0":
        length, space, _ = data[start : start + 20].partition(b" ")
        if not space or not length.isdigit() or int(length) <= len(length) + 1:
            raise SourceError(f"{blob.name} is damaged: unreadable pax record at {position}")
        record = data[start + len(length) + 1 : start + int(length) - 1]
        key, _, value = record.partition(b"=")
        records[_text(key)] = _text(value)
        start += int(length)
    return records


def _name(block: bytes) -> str:
    name = _text(block[:100])
    # GNU tar's own format keeps other things where ustar has the beginning of long names.
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _kind(kind: bytes, path: str, fields: dict[str, str]) -> str:
    if any(field.startswith("GNU.sparse") for field in fields):
        return "sparse file"
    if kind in _FILE:
        return "folder" if path.endswith("/") else "file"
    return _KINDS.get(kind) or f"member of the unknown type {kind!r}"


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _plain(path: str) -> str:
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return path
