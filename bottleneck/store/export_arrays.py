"""Hand features on to other programs: NPY with a table, Parquet, an index for search.

Only finished rows go out, so rows get new numbers; every format carries the keys. Features
are read and written in blocks, so a file may be larger than memory (an index is built in it).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bottleneck.errors import OptionError, RuntimeUnavailableError, StoreError
from bottleneck.manifest import SPLITS
from bottleneck.store.export import ExportResult
from bottleneck.store.foreign_files import NOTED_OUTPUT, NOTED_RECIPE
from bottleneck.store.reader import FeatureStore
from bottleneck.targets import MISSING, column_names
from bottleneck.writing import csv_line, prepare_output, written_whole

Target = Literal["npy", "parquet", "usearch"]

ENDINGS: dict[str, Target] = {".npy": "npy", ".parquet": "parquet", ".usearch": "usearch"}
"""Endings of file names that say what is wanted."""

COLUMNS = ("path", "label", "split", "group")
"""Columns of the table; ``path`` is the key, so that the table lists images for ``extract``."""

_BLOCK_ROWS = 8192


def export_arrays(
    source: str | Path,
    output: str | Path,
    *,
    to: Target | None = None,
    feature: str | None = None,
) -> ExportResult:
    """Write the finished rows of one output for other programs.

    Parameters
    ----------
    source : str or Path
        A feature file.
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
    store = FeatureStore.open(source)
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
        bytes_before=store.path.stat().st_size,
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
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS]
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
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
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
        raise RuntimeUnavailableError(
            "expected the package pyarrow to write Parquet, found none",
            hint="pip install 'bottleneck-features[parquet]'",
        ) from error
    dim = store.outputs[name]
    number = pa.float16() if store.dtype == np.float16 else pa.float32()
    fields = [pa.field(column, pa.string()) for column in ("key", *COLUMNS[1:])]
    notes = {NOTED_RECIPE: store.recipe.to_json().encode(), NOTED_OUTPUT: name.encode()}
    targets = store.manifest.targets
    fields += [pa.field(column, pa.float64()) for column in column_names(targets.number_names)]
    fields += [pa.field(column, pa.uint8()) for column in column_names(targets.flag_names)]
    schema = pa.schema([*fields, pa.field("features", pa.list_(number, dim))], notes)
    with parquet.ParquetWriter(path, schema) as writer:
        for _, block, X in _blocks(store, name, rows):
            flat = pa.array(np.ascontiguousarray(X).ravel(), number)
            columns: list[Any] = []
            for column in _columns(store, block):
                # Text is UTF-8 here: other bytes show as \xff.
                text = [
                    value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                    for value in column
                ]
                columns.append(pa.array([value or None for value in text], pa.string()))
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


def _write_usearch(store: FeatureStore, name: str, rows: Any, path: Path) -> None:
    try:
        from usearch.index import Index
    except ImportError as error:
        raise RuntimeUnavailableError(
            "expected the package usearch to build an index, found none",
            hint="pip install 'bottleneck-features[index]'",
        ) from error
    index = Index(
        ndim=store.outputs[name],
        metric="cos",
        dtype="f16" if store.dtype == np.float16 else "f32",
    )
    for start, block, X in _blocks(store, name, rows):
        index.add(np.arange(start, start + len(block), dtype=np.uint64), X)
    index.save(str(path))
