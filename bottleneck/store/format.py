"""The feature file, format version 1: its constants, and where its rows lie.

``docs/FORMAT.md`` says the same in words. Raise :data:`FORMAT_VERSION` when a reader of
the current version would misread or refuse the file.

Where the rows lie: one unbroken extent of the file for each live dataset.

HDF5 is asked once, read-only; after that rows are read and written by their byte offset.
"""

import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from bottleneck import fingerprint
from bottleneck.errors import StoreError
from bottleneck.exhaustion import raise_if_exhausted

FORMAT = "bottleneck-features"
FORMAT_VERSION = 1

FEATURES = "features"
CRC32 = "crc32"
STATUS = "status"
DIGEST = "digest"
MANIFEST = "manifest"
EXTENTS = "extents"
TARGETS_SHA256 = "targets_sha256"

DIGEST_BYTES = fingerprint.DIGEST_BYTES
"""BLAKE2b with a 16-byte digest over the encoded image (or its raw pixels)."""

FEATURE_DTYPES: dict[str, np.dtype[np.floating[Any]]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
}
"""Types of features on disk, by the name people give."""

PAGE = 4096
"""Chunks begin at multiples of this, in bytes, so that memory maps and sectors line up."""

CHUNK_BYTES = 1 << 20
"""About the size of one chunk, in bytes: a good unit for reading through any HDF5 reader."""

# A version-1 B-tree node for chunks of a 2-D dataset: 64 keys of 32 bytes and 64 addresses of
# 8 bytes and a header, at least half full. Twice that, because an unused rest costs nothing,
# while a node allocated between two chunks would break the run that readers map.
_NODE_BYTES = 2 * 2640
_NODE_CHUNKS = 32
_META_BASE = 1 << 16


@dataclass(frozen=True)
class LiveDataset:
    """A dataset written in place while the file lives: ``n_rows`` rows of ``row_shape``."""

    path: str
    n_rows: int
    row_shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole dataset."""
        return (self.n_rows, *self.row_shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(self.dtype.itemsize * math.prod(self.row_shape))

    @property
    def chunk_rows(self) -> int:
        """Rows per chunk: about a mebibyte of whole rows, a whole number of pages."""
        unit = PAGE // math.gcd(PAGE, self.row_bytes)
        rows = max(unit, CHUNK_BYTES // self.row_bytes // unit * unit)
        return min(rows, self.n_rows)

    @property
    def n_chunks(self) -> int:
        """Number of chunks."""
        return -(-self.n_rows // self.chunk_rows)


def row_checksums(block: NDArray[Any]) -> NDArray[np.uint32]:
    """Compute ``/crc32``: the CRC-32 of the bytes of every row, uint32 of shape (n,)."""
    rows = np.ascontiguousarray(block)
    return np.fromiter(map(zlib.crc32, rows), "<u4", len(rows))


def live_datasets(n_rows: int, dims: dict[str, int], dtype: DTypeLike) -> list[LiveDataset]:
    """List the datasets of a file with ``n_rows`` rows and outputs ``dims`` (name -> length)."""
    features = [
        LiveDataset(f"{FEATURES}/{name}", n_rows, (dim,), np.dtype(dtype))
        for name, dim in dims.items()
    ]
    checksums = [LiveDataset(f"{CRC32}/{name}", n_rows, (), np.dtype("<u4")) for name in dims]
    # The features come last: a file that is cut short loses rows, not what is known of them.
    return [
        *checksums,
        LiveDataset(STATUS, n_rows, (), np.dtype("u1")),
        LiveDataset(DIGEST, n_rows, (DIGEST_BYTES,), np.dtype("u1")),
        *features,
    ]


def meta_block_size(datasets: list[LiveDataset]) -> int:
    """Bytes of metadata to reserve in one block, so that every chunk index fits beside it."""
    nodes = sum(dataset.n_chunks // _NODE_CHUNKS + 2 for dataset in datasets)
    return _META_BASE + nodes * _NODE_BYTES


def is_feature_file(text: str) -> bool:
    """Whether a path is that of a feature file of ours, by its content."""
    try:
        if not Path(text).is_file() or not h5py.is_hdf5(text):
            return False
        with h5py.File(text, "r") as file:
            return file.attrs.get("format") in (FORMAT, FORMAT.encode())
    except OSError as error:
        raise_if_exhausted(error)
        return False  # damaged, or no name of a file at all


_PIECE_BYTES = 1 << 30
"""Linux reads no more than 2 GiB at once."""


class NotLiveError(StoreError):
    """The rows are not one unbroken, unfiltered run: a compressed copy, or another's work."""


@dataclass(frozen=True)
class Extent:
    """Rows of one dataset, one after the other from ``offset`` on."""

    offset: int
    n_rows: int
    row_shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(self.dtype.itemsize * np.prod(self.row_shape, dtype=np.int64))

    def read(self, descriptor: int, start: int, stop: int) -> NDArray[Any]:
        """Read rows through an open file; what lies past its end is zeros.

        A disk that fails is an OSError here, where a memory map would end the process.
        """
        values = np.zeros((stop - start, *self.row_shape), self.dtype)
        view = values.data.cast("B")
        position = self.offset + start * self.row_bytes
        while view:
            piece = os.pread(descriptor, min(len(view), _PIECE_BYTES), position)
            if not piece:
                break
            view[: len(piece)] = piece
            view, position = view[len(piece) :], position + len(piece)
        return values

    def map(self, path: Path) -> NDArray[np.generic]:
        """Map the rows read-only: ndarray of shape ``(n_rows, *row_shape)``."""
        return np.memmap(path, self.dtype, "r", self.offset, (self.n_rows, *self.row_shape))


@dataclass(frozen=True)
class Layout:
    """The extents of a feature file."""

    features: Mapping[str, Extent]
    crc32: Mapping[str, Extent]
    status: Extent
    digest: Extent

    @property
    def n_rows(self) -> int:
        """Rows of the file."""
        return self.status.n_rows

    @property
    def by_name(self) -> dict[str, Extent]:
        """All extents by the name of their dataset."""
        return {
            **{f"{FEATURES}/{name}": extent for name, extent in self.features.items()},
            **{f"{CRC32}/{name}": extent for name, extent in self.crc32.items()},
            STATUS: self.status,
            DIGEST: self.digest,
        }

    @property
    def extents(self) -> list[Extent]:
        """All extents."""
        return [*self.by_name.values()]


def read_layout(file: h5py.File, size: int | None = None) -> Layout:
    """Find the extents of an open feature file and check that each is one unbroken run.

    Parameters
    ----------
    file : h5py.File
        The file.
    size : int, optional
        Its length in bytes, where it lies on no disk of ours.

    Raises
    ------
    NotLiveError
        When a dataset is filtered, or broken into pieces, as after compressing or re-chunking.
    StoreError
        When one is missing, reaches past the end of the file, or they do not fit together.
    """
    end = Path(file.filename).stat().st_size if size is None else size
    layout = Layout(
        features={name: _extent(file[FEATURES][name], end) for name in file[FEATURES]},
        crc32={name: _extent(file[CRC32][name], end) for name in file[CRC32]},
        status=_extent(file[STATUS], end),
        digest=_extent(file[DIGEST], end),
    )
    if layout.features.keys() != layout.crc32.keys():
        raise StoreError(
            f"{file.filename}: expected a checksum dataset for each output "
            f"({', '.join(layout.features)}), got {', '.join(layout.crc32)}"
        )
    _require_made_so(layout, file)
    for extent, expected in _types(layout):
        if (extent.dtype, extent.row_shape) not in expected:
            raise StoreError(
                f"{file.filename}: rows of {extent.dtype.str} {extent.row_shape} where the format "
                f"has {' or '.join(f'{kind.str} {shape}' for kind, shape in expected)}"
            )
    if len({extent.n_rows for extent in layout.extents}) != 1:
        raise StoreError(f"{file.filename}: the datasets have different numbers of rows")
    return layout


def _require_made_so(layout: Layout, file: h5py.File) -> None:
    """Compare where rows lie with where the creator put them.

    A flipped bit can move a dataset of one chunk to another unbroken run, over other rows.
    """
    made = json.loads(file.attrs[EXTENTS])
    for name, extent in layout.by_name.items():
        if made.get(name) != extent.offset:
            raise StoreError(
                f"{file.filename}:{name} is found at byte {extent.offset}, but was made at byte "
                f"{made.get(name)}: the index is damaged",
                hint="`bottleneck rescue` saves its sound rows.",
            )


def _types(layout: Layout) -> Iterator[tuple[Extent, list[tuple[np.dtype, tuple[int, ...]]]]]:
    """Pair each extent with the types and row shapes that the format allows for it."""
    for extent in layout.features.values():
        yield extent, [(kind, (extent.row_shape[0],)) for kind in FEATURE_DTYPES.values()]
    for extent in layout.crc32.values():
        yield extent, [(np.dtype("<u4"), ())]
    yield layout.status, [(np.dtype("u1"), ())]
    yield layout.digest, [(np.dtype("u1"), (DIGEST_BYTES,))]


def _extent(dataset: object, end: int) -> Extent:
    if not isinstance(dataset, h5py.Dataset):
        raise StoreError(f"expected a dataset, got {dataset!r}")
    where = f"{dataset.file.filename}:{dataset.name}"
    if (
        dataset.chunks is None
        or dataset.compression
        or dataset.id.get_create_plist().get_nfilters()
    ):
        raise NotLiveError(f"{where} is filtered or not chunked")
    chunk_rows = dataset.chunks[0]
    if dataset.chunks[1:] != dataset.shape[1:]:
        raise NotLiveError(f"{where} has chunks of parts of rows")
    row_bytes = int(dataset.dtype.itemsize * np.prod(dataset.shape[1:], dtype=np.int64))
    chunk_bytes = chunk_rows * row_bytes
    starts: list[int] = []

    def visit(chunk: h5py.h5d.StoreInfo) -> None:
        # Byte offset at which this chunk would have to make row 0 begin.
        starts.append(chunk.byte_offset - chunk.chunk_offset[0] * row_bytes)
        if chunk.filter_mask or chunk.size != chunk_bytes:
            starts.append(-1)

    dataset.id.chunk_iter(visit)
    n_chunks = -(-dataset.shape[0] // chunk_rows)
    if len(starts) != n_chunks or len(set(starts)) != 1:
        raise NotLiveError(f"{where} is not one unbroken run of {n_chunks} chunks")
    if starts[0] + n_chunks * chunk_bytes > end:
        raise StoreError(
            f"{where} reaches past the end of the file ({end} bytes): it was cut short",
            hint="`bottleneck rescue` saves the rows that are still there.",
        )
    return Extent(starts[0], dataset.shape[0], tuple(dataset.shape[1:]), dataset.dtype)
