"""Zip files: images read where they lie, found through the list at the end of the file.

The format is PKWARE's APPNOTE.TXT 6.3, sections 4.3 and 4.4, with its 64-bit extensions.
"""

import bz2
import struct
import zlib
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ImageError, SourceError
from bottleneck.manifest import Manifest
from bottleneck.packed import PackedBuilder
from bottleneck.sources.archive import archive_manifest, sort_members, sorted_rows
from bottleneck.sources.blob import listing
from bottleneck.sources.choice import AS_FOUND, Choice
from bottleneck.sources.listing import Listing, Tally
from bottleneck.sources.rules import is_image_key
from bottleneck.sources.shards import Shard, Sharded
from bottleneck.sources.zip_directory import LOCAL_HEADER, Entry, begin_of, read_directory
from bottleneck.status import RowStatus

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
                if is_image_key(entry.name):
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
    manifest = archive_manifest(name, shards, counts, sorted_names, None, choice=choice)
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
        raise ImageError(RowStatus.UNREADABLE, f"{where}: {error}") from error
    raise ImageError(
        RowStatus.UNSUPPORTED, f"{where}: packed by method {method}, not stored, deflate or bzip2"
    )
