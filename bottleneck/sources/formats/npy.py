"""NumPy's own files: an array in ``.npy``, several in ``.npz``.

The header is that of NEP 1. Rows are read from the file one by one, so the array is neither
loaded nor mapped; members of an ``.npz`` may be compressed.
"""

import posixpath
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck import npy
from bottleneck.errors import SourceError
from bottleneck.location import is_url
from bottleneck.sources.arrays import (
    ArraySource,
    BlobRows,
    LabelledArray,
    choose_images,
    labels_beside,
    names_of_labels,
    open_arrays,
    unused_arrays,
)
from bottleneck.sources.formats.inflate import RAW, InflatedBlob
from bottleneck.sources.formats.zip import LOCAL_HEADER, begin_of, read_directory
from bottleneck.sources.layout import split_of_name
from bottleneck.sources.random_access import Blob, exists, listing, open_blob
from bottleneck.sources.shards import Shard

_LONGEST_HEADER = 1 << 16


class PartOfBlob:
    """A stretch of a blob, as a blob."""

    def __init__(self, blob: Blob, offset: int, size: int, name: str) -> None:
        self.name = name
        self.size = size
        self.hop = blob.hop
        self._blob = blob
        self._offset = offset

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes; see :meth:`.Blob.read`."""
        return self._blob.read(self._offset + offset, length)

    def check(self) -> None:
        """Refuse a file that is gone or has changed."""
        self._blob.check()

    def stamp(self) -> str:
        """Return the stamp of the whole file."""
        return self._blob.stamp()


def open_npy(name: str, shards: Sequence[Shard]) -> ArraySource:
    """Open arrays of images; ``labels.npy`` beside ``images.npy`` holds the labels.

    Raises
    ------
    SourceError
        When a file is no NPY file, is cut short, or does not hold pixels.
    ManifestError
        When the labels do not fit.
    """
    labels = {shard.blob.name: _labels_file(shard.blob.name) for shard in shards}
    arrays = []
    for shard in shards:
        location = shard.blob.name
        if location in labels.values():
            continue  # of a whole folder that was given
        beside = labels[location]
        arrays.append(
            LabelledArray(
                images=read_header(shard.blob),
                labels=read_header(open_blob(beside)) if beside else None,
                prefix=shard.prefix or f"{posixpath.splitext(posixpath.basename(location))[0]}/",
                split=shard.split,
            )
        )
    return open_arrays(name, arrays)


def open_npz(name: str, shards: Sequence[Shard], part: str = "") -> ArraySource:
    """Open the arrays of images in ``.npz`` files, with the labels that are beside them.

    ``x_train`` goes with ``y_train``, ``test_images`` with ``test_labels``; the names tell the
    splits.

    Parameters
    ----------
    name : str
        What was given.
    shards : sequence of Shard
        The files.
    part : str
        ``IMAGES`` or ``IMAGES,LABELS``, where the names do not tell.

    Raises
    ------
    SourceError
        When a file is no NPZ file, is damaged, or has no array of pixels.
    ManifestError
        When the labels do not fit.
    """
    found = []
    unused: list[str] = []
    for shard in shards:
        opened = _members(shard.blob)
        images, _, labels = part.partition(",")
        for wanted in filter(None, (images, labels)):
            if wanted not in opened:
                raise SourceError(
                    f"{shard.blob.name} has no array {wanted!r}",
                    hint=f"It has: {', '.join(opened) or 'none'}",
                )
        shapes = {key: (member.shape, member.dtype) for key, member in opened.items()}
        chosen = [images] if images else choose_images(shapes, shard.blob.name)
        pairs = {key: labels or labels_beside(key, shapes) for key in chosen}
        unused += unused_arrays(shapes, [*pairs, *pairs.values()])
        for key, beside in pairs.items():
            found.append(
                LabelledArray(
                    images=read_header(opened[key].blob),
                    labels=opened[beside].whole() if beside else None,
                    prefix=f"{shard.prefix}{key}/",
                    split=split_of_name(key) or shard.split,
                )
            )
    return open_arrays(name, found, unused)


def read_header(blob: Blob) -> BlobRows:
    """Return the array of an NPY file.

    Raises
    ------
    SourceError
        When it is none, holds Python objects, is in Fortran order or cut short.
    """
    with listing():
        offset, shape, fortran, dtype = _parse_header(blob)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if dtype.hasobject or (fortran and len(shape) > 1) or not shape:
            raise SourceError(
                f"{blob.name}: expected an array of numbers or texts in C order, got "
                f"{'Python objects' if dtype.hasobject else ''}"
                f"{'Fortran order' if fortran and not dtype.hasobject else ''}"
                f"{'' if shape else 'a single value'}",
                hint="Texts are saved by numpy.array(x, str)."
                if dtype.hasobject
                else "Save it again with numpy.save(path, numpy.ascontiguousarray(x)).",
            )
        if offset + size > blob.size:
            raise SourceError(
                f"{blob.name} is cut short: expected {size} bytes at offset {offset}, "
                f"it ends at {blob.size}",
                hint="Copy it again.",
            )
        if offset + size < blob.size:
            raise SourceError(
                f"{blob.name}: expected {size} bytes at offset {offset}, there are "
                f"{blob.size - offset}",
                hint="Are several arrays saved in it? Save each in a file of its own.",
            )
    return BlobRows(blob, offset, shape, dtype)


def _parse_header(blob: Blob) -> tuple[int, tuple[int, ...], bool, np.dtype[Any]]:
    """Return where the values begin, their shape, whether in Fortran order, and their type."""
    head = blob.read(0, min(blob.size, _LONGEST_HEADER))
    try:
        return npy.read_header(head)
    except Exception as error:
        # The header is a line of Python, of which damage makes anything.
        raise SourceError(f"{blob.name} is not a readable NPY file: {error}") from error


@dataclass(frozen=True)
class _Member:
    """An array in an NPZ file; whether it can be read is asked when it is."""

    blob: Blob
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    crc: int

    def whole(self) -> BlobRows:
        """Return an array that is read as a whole; refuses one of another checksum."""
        with listing():
            found = zlib.crc32(self.blob.read(0, self.blob.size))
        if found != self.crc:
            raise SourceError(
                f"{self.blob.name} is damaged: its checksum is {found:08x}, recorded was "
                f"{self.crc:08x}",
                hint="Copy it again.",
            )
        return read_header(self.blob)


def _members(blob: Blob) -> dict[str, _Member]:
    members = {}
    with listing():
        for entry in read_directory(blob):
            header, packed, size, crc, method, name_length, name_crc = entry.place
            begin = begin_of(blob.read(header, LOCAL_HEADER.size + name_length), name_crc)
            name = f"{blob.name}::{entry.name.removesuffix('.npy')}"
            if begin is None:
                raise SourceError(
                    f"{name}, the member at offset {header}: its header is damaged, or of another "
                    "name",
                    hint="Copy it again.",
                )
            if not entry.name.endswith(".npy"):
                continue
            begin += header
            inside: Blob
            if method == 0:
                inside = PartOfBlob(blob, begin, size, name)
            elif method == 8:
                inside = InflatedBlob(blob, RAW, name=name, size=size, offset=begin, length=packed)
            else:
                raise SourceError(f"{name} is packed by method {method}, not stored or deflated")
            _, shape, _, dtype = _parse_header(inside)
            members[entry.name.removesuffix(".npy")] = _Member(inside, shape, dtype, crc)
    return members


def _labels_file(images: str) -> str | None:
    """Find the file of labels beside a file of images."""
    folder, base = posixpath.split(images)
    if is_url(images):  # a server need not list what is beside a file
        beside = (posixpath.join(folder, name) for name in names_of_labels(base))
        return next(filter(exists, beside), None)
    found = labels_beside(base, (path.name for path in Path(folder).iterdir()))
    return posixpath.join(folder, found) if found else None
