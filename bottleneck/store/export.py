"""Hand features on: a compressed copy that is smaller and still a feature file."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from bottleneck.errors import StoreError
from bottleneck.output import prepare_output
from bottleneck.store import system
from bottleneck.store.contents import open_hdf5
from bottleneck.store.format import CHUNK_BYTES, CRC32, DIGEST, FEATURES, MANIFEST, STATUS
from bottleneck.store.reader import FeatureStore

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
        When rows are pending, or the copy cannot be written.
    """
    store = FeatureStore.open(source)
    if not store.complete:
        raise StoreError(
            f"{source} has pending rows: a compressed copy could not be continued",
            hint="Finish the extraction first.",
        )
    path = prepare_output(output, kind="features", inputs=[source])
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open_hdf5(store.path) as old, h5py.File(temporary, "w") as new:
            for name in old.attrs:
                new.attrs.create(name, old.attrs[name], dtype=old.attrs.get_id(name).dtype)
            for name in (MANIFEST, STATUS, DIGEST, CRC32):
                old.copy(name, new)
            for name in store.outputs:
                _copy_rows(store, name, new, compression)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
        os.fsync(descriptor)
        os.close(descriptor)
        system.publish(temporary, path, replace=path.exists())
    except (OSError, RuntimeError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"cannot write {path}: {getattr(error, 'strerror', error)}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return ExportResult(
        output=str(path),
        rows=len(store),
        bytes_before=store.path.stat().st_size,
        bytes_after=path.stat().st_size,
    )


def _copy_rows(store: FeatureStore, output: str, new: h5py.File, compression: str) -> None:
    features = store.features(output)
    n_rows, dim = features.shape
    chunk = max(1, min(n_rows, CHUNK_BYTES // max(1, dim * features.dtype.itemsize)))
    target = new.create_dataset(
        f"{FEATURES}/{output}",
        features.shape,
        features.dtype,
        chunks=(chunk, dim),
        compression=compression,
        shuffle=True,
    )
    block = _BLOCK_ROWS // chunk * chunk or chunk
    for start in range(0, n_rows, block):
        rows = slice(start, start + block)
        # Rows that failed hold nothing that means anything: zeros pack best.
        done = store.done[rows, None]
        target[rows] = np.where(done, features[rows], np.zeros((), features.dtype))
