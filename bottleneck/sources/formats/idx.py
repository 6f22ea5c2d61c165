"""IDX files: how the MNIST family is kept, packed by gzip or not.

The format is described on the page of the MNIST database: two zero bytes, the type of the
values, the number of dimensions, and each dimension as a big-endian 32-bit number.
"""

import hashlib
import posixpath
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bottleneck.errors import ImageError, SourceError
from bottleneck.location import is_url
from bottleneck.sources.arrays import (
    ArraySource,
    BlobRows,
    LabelledArray,
    PixelRows,
    open_arrays,
)
from bottleneck.sources.formats.inflate import GZIP, InflatedBlob
from bottleneck.sources.formats.known_sets import LARGEST, KnownSet, known_set
from bottleneck.sources.layout import split_of_name
from bottleneck.sources.random_access import Blob, exists, listing, open_blob
from bottleneck.sources.shards import Shard
from bottleneck.status import RowStatus

IDX_NAME = re.compile(
    r"(?P<stem>.*?)[-._]?(?P<what>images|labels)[-.]idx\d([-.]u?byte)?(\.gz)?", re.I
)
"""Names of the files, ``train-images-idx3-ubyte.gz`` and its variants."""

_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


def open_idx(name: str, shards: Sequence[Shard]) -> ArraySource:
    """Open files of images, each with the labels in the file next to it.

    Keys are the number of the image behind the first part of the file's name, ``train/59999``.
    ``train`` is the split ``train``, ``t10k`` (and what else is called a test) ``test``.

    Parameters
    ----------
    name : str
        What was given.
    shards : sequence of Shard
        Files of images; files of labels among them are passed over.

    Raises
    ------
    SourceError
        When a file is no IDX file or is cut short, or holds no pixels.
    ManifestError
        When the labels do not fit.
    """
    arrays = []
    for shard in shards:
        location = shard.blob.name
        match = IDX_NAME.fullmatch(posixpath.basename(location))
        if match and match["what"].lower() == "labels":
            continue
        stem = match["stem"] if match else posixpath.splitext(posixpath.basename(location))[0]
        folder = posixpath.dirname(shard.prefix.rstrip("/"))
        labels = labels_file(location)
        arrays.append(
            LabelledArray(
                images=read_idx(shard.blob),
                labels=read_idx(open_blob(labels)) if labels else None,
                prefix=f"{folder}/{stem}/" if folder else f"{stem}/" if stem else "images/",
                split="test" if stem.lower() == "t10k" else split_of_name(stem) or shard.split,
            )
        )
    if not arrays:
        raise SourceError(f"expected a file of images in {name}, found only labels")
    found = _known(arrays)
    if found is None:
        return open_arrays(name, arrays)
    note = f"known as {found.name} by its labels: classes have their names, not numbers"
    return open_arrays(
        name, [replace(array, classes=found.named()) for array in arrays], notes=[note]
    )


def _known(arrays: Sequence[LabelledArray]) -> KnownSet | None:
    """Find the published set that all labels are of, if they are of one."""
    found = [_known_of(array.labels) for array in arrays if array.labels is not None]
    return found[0] if found and all(one is found[0] for one in found) else None


def _known_of(labels: PixelRows) -> KnownSet | None:
    if labels.dtype != np.uint8 or len(labels.shape) != 1 or labels.shape[0] > LARGEST:
        return None
    with listing():
        file = open_blob(labels.name)  # as it is, packed or not
        md5 = hashlib.md5(file.read(0, file.size), usedforsecurity=False).hexdigest()
        return known_set(posixpath.basename(labels.name), labels.load(), md5)


def labels_file(images: str) -> str | None:
    """Return where the labels of a file of images are, packed or not, in any case of letters."""
    folder, slash, base = images.rpartition("/")
    base = re.sub(r"\.gz$", "", base, flags=re.I)
    base = re.sub(r"images", "labels", base, flags=re.I)
    base = re.sub(r"(idx)\d", r"\g<1>1", base, flags=re.I)
    names = (base, f"{base}.gz")
    if is_url(images):  # a server need not list what is beside a file
        return next(filter(exists, (f"{folder}{slash}{name}" for name in names)), None)
    present = {path.name.lower(): path.name for path in Path(folder or ".").iterdir()}
    found = next((present[name.lower()] for name in names if name.lower() in present), None)
    return f"{folder}{slash}{found}" if found else None


def read_idx(blob: Blob) -> BlobRows:
    """Return the array in an IDX file.

    Raises
    ------
    SourceError
        When its first bytes are those of something else, or it ends too early.
    """
    with listing():
        if blob.size >= 2 and blob.read(0, 2) == b"\x1f\x8b":
            blob = InflatedBlob(blob, GZIP, name=blob.name)
        try:
            magic = blob.read(0, 4)
        except ImageError as error:
            raise SourceError(f"{blob.name} is no IDX file: {error.message}") from error
        dtype = _TYPES.get(magic[2])
        if magic[:2] != b"\0\0" or dtype is None or not magic[3]:
            raise SourceError(
                f"{blob.name} is no IDX file: expected it to begin with 00 00 08 and the number "
                f"of dimensions, got {magic.hex(' ')}"
            )
        header = blob.read(4, 4 * magic[3])
        shape = tuple(np.frombuffer(header, ">u4").astype(int).tolist())
        rows = BlobRows(blob, 4 + len(header), shape, dtype)
        end = 4 + len(header) + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        # The last byte: a file cut short is told now, not in the middle of the run.
        blob.read(end - 1, 1)
        if _goes_on(blob, end):
            raise SourceError(
                f"{blob.name}: expected {end} bytes, as its header says {list(shape)} values of "
                f"{dtype.itemsize}, there are more",
                hint="Its header is damaged, or two files are behind one another.",
            )
    return rows


def _goes_on(blob: Blob, end: int) -> bool:
    try:
        return bool(blob.read(end, 1))
    except ImageError as error:
        if error.reason is RowStatus.TRUNCATED:
            return False
        raise
