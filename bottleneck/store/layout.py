"""Where the rows lie: one unbroken extent of the file for each live dataset.

HDF5 is asked once, read-only; after that rows are read and written by their byte offset.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import StoreError
from bottleneck.store.format import CRC32, DIGEST, FEATURES, STATUS


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
    def extents(self) -> list[Extent]:
        """Return all extents."""
        return [*self.features.values(), *self.crc32.values(), self.status, self.digest]


def read_layout(file: h5py.File) -> Layout:
    """Find the extents of an open feature file and check that each is one unbroken run.

    Raises
    ------
    NotLiveError
        When a dataset is filtered, or broken into pieces, as after compressing or re-chunking.
    StoreError
        When one is missing, reaches past the end of the file, or they do not fit together.
    """
    end = Path(file.filename).stat().st_size
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
    if len({extent.n_rows for extent in layout.extents}) != 1:
        raise StoreError(f"{file.filename}: the datasets have different numbers of rows")
    return layout


def _extent(dataset: h5py.Dataset, end: int) -> Extent:
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
