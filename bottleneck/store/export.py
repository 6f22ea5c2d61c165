"""Hand features on: a compressed copy that is smaller and still a feature file."""

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from bottleneck.errors import StoreError
from bottleneck.status import RowStatus
from bottleneck.store import system
from bottleneck.store.checked import CheckedFile
from bottleneck.store.contents import open_hdf5
from bottleneck.store.format import (
    CHUNK_BYTES,
    CRC32,
    DIGEST,
    EXTENTS,
    FEATURES,
    MANIFEST,
    STATUS,
    row_checksums,
)
from bottleneck.store.reader import FeatureStore
from bottleneck.writing import prepare_output, written_whole

_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Parameters
    ----------
    output : str
        The copy.
    rows : int
        Its rows.
    bytes_before, bytes_after : int
        Size of the original and of the copy.
    """

    output: str
    rows: int
    bytes_before: int
    bytes_after: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def export_compressed(
    source: str | Path, output: str | Path, *, compression: Literal["gzip", "lzf"] = "gzip"
) -> ExportResult:
    """Write a compressed copy of a finished feature file.

    The copy opens like the original, here and in any HDF5 reader, but cannot be continued.
    Bytes are shuffled before they are packed, which is what makes floats shrink.

    Parameters
    ----------
    source : str or Path
        A feature file without pending rows.
    output : str or Path
        The copy.
    compression : {"gzip", "lzf"}
        ``gzip`` is smaller, ``lzf`` quicker and only known to h5py.

    Raises
    ------
    StoreError
        When rows are pending or damaged, the copy exists or cannot be written.
    """
    store = FeatureStore.open(source)
    store.require_own()
    if not store.complete:
        raise StoreError(
            f"{source} has pending rows: a compressed copy could not be continued",
            hint="Finish the extraction first.",
        )
    path = prepare_output(output, kind="features", inputs=[source])
    with system.writer_lock(path):
        if path.exists():
            raise StoreError(f"{path} exists already", hint="Give another name.")
        try:
            with written_whole(path, replace=False) as temporary:
                _write_copy(store, temporary, compression)
        except (OSError, RuntimeError) as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"cannot write {path}: {getattr(error, 'strerror', error)}") from error
        size = path.stat().st_size
    return ExportResult(
        output=str(path),
        rows=len(store),
        bytes_before=store.path.stat().st_size,
        bytes_after=size,
    )


def _write_copy(store: FeatureStore, temporary: Path, compression: str) -> None:
    with contextlib.closing(CheckedFile(temporary)) as target:
        with open_hdf5(store.path) as old, h5py.File(target, "w") as new:
            for name in old.attrs.keys() - {EXTENTS}:  # which says where rows can be written
                new.attrs.create(name, old.attrs[name], dtype=old.attrs.get_id(name).dtype)
            for name in (MANIFEST, DIGEST):
                old.copy(name, new)
            new.create_dataset(STATUS, data=store.status, track_times=False)
            for name in store.outputs:
                _copy_rows(store, name, new, compression, target)
        target.finish()


def _copy_rows(
    store: FeatureStore, output: str, new: h5py.File, compression: str, target: CheckedFile
) -> None:
    """Copy the features of finished rows, with the checksums they have; zeros for the others."""
    features, stored = store.features(output), store.checksums(output)
    n_rows, dim = features.shape
    chunk = max(1, min(n_rows, CHUNK_BYTES // max(1, dim * features.dtype.itemsize)))
    copied = new.create_dataset(
        f"{FEATURES}/{output}",
        features.shape,
        features.dtype,
        chunks=(chunk, dim),
        compression=compression,
        shuffle=True,
    )
    checksums = new.create_dataset(f"{CRC32}/{output}", stored.shape, "<u4", track_times=False)
    block = _BLOCK_ROWS // chunk * chunk or chunk
    for start in range(0, n_rows, block):
        rows = slice(start, start + block)
        done = store.status[rows] == RowStatus.DONE
        values = np.where(done[:, None], features[rows], np.zeros((), features.dtype))
        found = row_checksums(values) * done
        damaged = start + np.flatnonzero(done & (found != stored[rows]))
        if len(damaged):
            raise StoreError(
                f"{store.path}: row {damaged[0]} does not match its checksum",
                hint="`bottleneck verify --fix` finds such rows, for `extract` to compute again.",
            )
        copied[rows] = values
        checksums[rows] = found
        target.check()  # no need to go on
