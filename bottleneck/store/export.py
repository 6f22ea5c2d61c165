"""Hand features on: compressed copies that are feature files, and the formats of other programs.

Hand features on to other programs: NPY with a table, Parquet, an index for search.

Only finished rows go out, so rows get new numbers; every format carries the keys. Features
are read and written in blocks, so a file may be larger than memory (an index is built in it).
"""

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py
import numpy as np

from bottleneck.errors import OptionError, StoreError, not_importable
from bottleneck.location import is_set
from bottleneck.manifest import SPLITS
from bottleneck.status import RowStatus
from bottleneck.store import system
from bottleneck.store.contents import open_hdf5
from bottleneck.store.foreign_files import NOTED_OUTPUT, NOTED_RECIPE
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
from bottleneck.targets import MISSING, column_names
from bottleneck.writing import csv_line, prepare_output, written_whole

if TYPE_CHECKING:
    from typing_extensions import Buffer


class CheckedFile(io.RawIOBase):
    """A new file for ``h5py.File(CheckedFile(path), "w")``: to HDF5, a disk that never fails.

    HDF5 (as of 2.0) may pass over a write that failed while it closes a file, or crash. So it
    is not told of errors: the first one is kept, and raised by :meth:`finish`.

    Parameters
    ----------
    path : Path
        There must be no such file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._position = 0
        self._size = 0
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first error there was.

        Raises
        ------
        OSError
        """
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Give the file its length and make it durable.

        Raises
        ------
        OSError
            Also for a write that failed earlier.
        """
        self.check()
        os.ftruncate(self._descriptor, self._size)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; HDF5 asks for the end that way."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: "Buffer") -> int:
        """Read back what was written; zeros where nothing was."""
        view = memoryview(buffer).cast("B")
        data = b""
        try:
            data = os.pread(self._descriptor, len(view), self._position)
        except OSError as error:
            self._error = self._error or error
        view[:] = data.ljust(len(view), b"\0")
        self._position += len(view)
        return len(view)

    def write(self, data: "Buffer") -> int:
        """Write at the current position, or keep the error."""
        view = memoryview(data).cast("B")
        if self._error is None:
            try:
                system.write_at(self._descriptor, view, self._position)
            except OSError as error:
                self._error = error
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length, which the file gets at the end."""
        self._size = self._position if size is None else size
        return self._size


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
    if is_set(str(source)):
        raise OptionError(
            f"expected a single feature file to compress, got the set {source}",
            hint="Make one of it first: bottleneck merge SET -o FILE.h5",
        )
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
        bytes_before=store.bytes,
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
                f"{store.location}: row {damaged[0]} does not match its checksum",
                hint="`bottleneck verify --fix` finds such rows, for `extract` to compute again.",
            )
        copied[rows] = values
        checksums[rows] = found
        target.check()  # no need to go on


Target = Literal["npy", "parquet", "usearch"]

ENDINGS: dict[str, Target] = {".npy": "npy", ".parquet": "parquet", ".usearch": "usearch"}
"""Endings of file names that say what is wanted."""

COLUMNS = ("path", "label", "split", "group")
"""Columns of the table; ``path`` is the key, so that the table lists images for ``extract``."""

_COPIED_ROWS = 8192


def export_arrays(
    source: str | Path | FeatureStore,
    output: str | Path,
    *,
    to: Target | None = None,
    feature: str | None = None,
) -> ExportResult:
    """Write the finished rows of one output for other programs.

    Parameters
    ----------
    source : str, Path or FeatureStore
        A feature file, or a set.
    output : str or Path
        Where to. ``npy`` and ``usearch`` also write a CSV table beside it, of the same name
        with ``.csv`` at the end: row i of it belongs to row (or index key) i.
    to : {"npy", "parquet", "usearch"}, optional
        By default what the ending says.
    feature : str, optional
        Which output of the file; may be left out where there is only one.

    Raises
    ------
    OptionError
        When the ending says nothing, or a table is in the way.
    StoreError
        When no row is finished, or nothing can be written.
    RuntimeUnavailableError
        When an extra is missing.
    """
    target = to or ENDINGS.get(Path(output).suffix.lower())
    if target is None:
        raise OptionError(
            f"expected an output that ends in {', '.join(ENDINGS)}, got {output}",
            hint="Or say --to, or --compress for a smaller feature file.",
        )
    store = source if isinstance(source, FeatureStore) else FeatureStore.open(source)
    source = store.location
    name = store.output_name(feature)
    rows = np.flatnonzero(store.done)
    if not len(rows):
        raise StoreError(f"expected finished rows in {source}, found none")
    path = prepare_output(output, kind="other", inputs=[source])
    write = {"npy": _write_npy, "parquet": _write_parquet, "usearch": _write_usearch}[target]
    try:
        table = None if target == "parquet" else _place_of_table(path, source)
        with written_whole(path) as temporary:
            write(store, name, rows, temporary)
        if table is not None:
            with written_whole(table) as temporary:
                _write_table(store, rows, temporary)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    return ExportResult(
        output=str(path),
        rows=len(rows),
        bytes_before=store.bytes,
        bytes_after=path.stat().st_size,
    )


def _place_of_table(path: Path, source: str | Path) -> Path:
    """Return where the table goes; one that no export wrote stays as it is."""
    table = prepare_output(path.with_suffix(".csv"), kind="other", inputs=[source])
    if table.exists() and not path.exists():
        raise OptionError(
            f"expected no {table.name} beside {path.name}, where the table of its rows goes; "
            "found one that does not belong to it",
            hint="Give the output another name, or remove the table yourself.",
        )
    return table


def _blocks(store: FeatureStore, name: str, rows: Any) -> Iterator[tuple[int, Any, Any]]:
    features = store.features(name)
    for start in range(0, len(rows), _COPIED_ROWS):
        block = rows[start : start + _COPIED_ROWS]
        yield start, block, np.asarray(features[block])


def _write_npy(store: FeatureStore, name: str, rows: Any, path: Path) -> None:
    shape = (len(rows), store.outputs[name])
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream,
            {
                "descr": np.lib.format.dtype_to_descr(store.dtype),
                "fortran_order": False,
                "shape": shape,
            },
        )
        for _, _, X in _blocks(store, name, rows):
            stream.write(np.ascontiguousarray(X).data)


def _write_table(store: FeatureStore, rows: Any, path: Path) -> None:
    # Bytes of file names that are not UTF-8 go out as they are.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(csv_line([*COLUMNS, *column_names(store.manifest.targets.names)]))
        for start in range(0, len(rows), _COPIED_ROWS):
            block = rows[start : start + _COPIED_ROWS]
            columns = [*_columns(store, block), *_target_cells(store, block)]
            stream.writelines(map(csv_line, zip(*columns, strict=True)))


def _columns(store: FeatureStore, rows: Any) -> list[Sequence[str]]:
    """Return keys, labels, splits and groups of some rows; empty where there is none."""
    manifest = store.manifest
    names, groups = manifest.classes, manifest.group_names
    return [
        [manifest.keys[int(row)] for row in rows],
        [names[code] if code >= 0 else "" for code in manifest.labels[rows]],
        [SPLITS[code] for code in manifest.splits[rows]],
        [groups[int(code)] if code >= 0 else "" for code in manifest.groups[rows]],
    ]


def _target_cells(store: FeatureStore, rows: Any) -> Iterator[list[str]]:
    """Yield the targets of some rows as a table has them; empty where there is no value."""
    for number in store.manifest.targets.numbers:
        yield ["" if np.isnan(value) else repr(float(value)) for value in number[rows]]
    for flag in store.manifest.targets.flags:
        yield ["" if value == MISSING else str(value) for value in flag[rows]]


def _write_parquet(store: FeatureStore, name: str, rows: Any, path: Path) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise not_importable("pyarrow to write Parquet", "parquet", error) from error
    dim = store.outputs[name]
    number = pa.float16() if store.dtype == np.float16 else pa.float32()
    # Text is UTF-8 here: a column with names that are not is one of bytes.
    texts = [
        pa.binary() if any(map(_is_no_text, column)) else pa.string()
        for column in (store.manifest.keys, store.classes, SPLITS, store.manifest.group_names)
    ]
    fields = [pa.field(*field) for field in zip(("key", *COLUMNS[1:]), texts, strict=True)]
    notes = {NOTED_RECIPE: store.recipe.to_json().encode(), NOTED_OUTPUT: name.encode()}
    targets = store.manifest.targets
    fields += [pa.field(column, pa.float64()) for column in column_names(targets.number_names)]
    fields += [pa.field(column, pa.uint8()) for column in column_names(targets.flag_names)]
    schema = pa.schema([*fields, pa.field("features", pa.list_(number, dim))], notes)
    with parquet.ParquetWriter(path, schema) as writer:
        for _, block, X in _blocks(store, name, rows):
            flat = pa.array(np.ascontiguousarray(X).ravel(), number)
            columns: list[Any] = []
            for column, kind in zip(_columns(store, block), texts, strict=True):
                raw = [value.encode("utf-8", "surrogateescape") or None for value in column]
                columns.append(pa.array(raw, pa.binary()).cast(kind))
            columns += [
                pa.array(values[block], pa.float64(), mask=np.isnan(values[block]))
                for values in targets.numbers
            ]
            columns += [
                pa.array(values[block], pa.uint8(), mask=values[block] == MISSING)
                for values in targets.flags
            ]
            columns.append(pa.FixedSizeListArray.from_arrays(flat, dim))
            writer.write_table(pa.table(columns, schema=schema))


def _is_no_text(name: str) -> bool:
    """Whether a name has bytes that are not UTF-8."""
    return not name.isascii() and any("\udc80" <= character <= "\udcff" for character in name)


def _write_usearch(store: FeatureStore, name: str, rows: Any, path: Path) -> None:
    try:
        from usearch.index import Index
    except ImportError as error:
        raise not_importable("usearch to build an index", "index", error) from error
    index = Index(
        ndim=store.outputs[name],
        metric="cos",
        dtype="f16" if store.dtype == np.float16 else "f32",
    )
    for start, block, X in _blocks(store, name, rows):
        index.add(np.arange(start, start + len(block), dtype=np.uint64), X)
    index.save(str(path))
