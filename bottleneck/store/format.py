"""Constants of the feature file, format version 1, and the arithmetic of its layout.

``docs/FORMAT.md`` says the same in words. Raise :data:`FORMAT_VERSION` when a reader of
the current version would misread or refuse the file.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from bottleneck import fingerprint

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
