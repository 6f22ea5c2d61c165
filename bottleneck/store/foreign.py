"""Features that other programs wrote: HDF5 with names to tell, NPY with a table, clip-retrieval."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError, RuntimeUnavailableError, StoreError
from bottleneck.manifest import Manifest, natural_key
from bottleneck.recipe import Recipe
from bottleneck.sources.rules import label_of
from bottleneck.status import RowStatus
from bottleneck.store.blocks import Array2D, DatasetRows, StackedRows
from bottleneck.store.contents import Contents, open_hdf5
from bottleneck.store.format import DIGEST_BYTES

OUTPUT = "features"
"""Name of the one output that another program's file has."""


def is_foreign(path: Path) -> bool:
    """Whether a path is told to be another program's features by its kind alone."""
    return path.suffix == ".npy" or (path / "img_emb").is_dir()


def open_foreign(
    path: Path,
    *,
    features: str | None,
    keys: str | None,
    labels: str | None,
    splits: str | None,
    identity: Mapping[str, Any] | None,
) -> Contents:
    """Open another program's features; see :meth:`bottleneck.store.FeatureStore.open`.

    Raises
    ------
    StoreError
        When something named is not there, or does not fit.
    """
    if path.is_dir():
        array, columns = _clip_retrieval(path, labels)
    elif path.suffix == ".npy":
        beside = path.with_suffix(".csv")
        if keys is None and beside.exists():
            keys = str(beside)
        array, columns = _open_npy(path), _table(keys)
    else:
        array, columns = _hdf5(path, features or "", keys, labels, splits)
    if len(array.shape) != 2 or array.dtype.kind != "f":
        raise StoreError(
            f"{path}: expected features of shape (rows, length) and a float type, "
            f"got {array.dtype} {array.shape}"
        )
    rows = len(array)
    for name, column in columns.items():
        if column is not None and len(column) != rows:
            raise StoreError(f"{path}: {rows} rows of features, but {len(column)} {name}")
    try:
        manifest = Manifest.build(
            columns.get("keys") or [str(row) for row in range(rows)],
            _classes(columns.get("labels"), path),
            columns.get("splits"),
            columns.get("groups"),
        )
    except ManifestError as error:
        raise StoreError(f"{path}: {error.message}", hint=error.hint) from error
    recipe = Recipe(
        identity={"backbone": "foreign", "dim": array.shape[1], **(identity or {})},
        execution={"precision": "unknown", "dtype": array.dtype.name},
    )
    return Contents(
        path=path,
        creator="another program",
        recipe=recipe,
        identity_sha256=recipe.identity_sha256,
        manifest_sha256=manifest.sha256,
        features={OUTPUT: array},
        status=np.full(rows, RowStatus.DONE, np.uint8),
        read_manifest=lambda: manifest,
        read_digests=lambda: np.zeros((rows, DIGEST_BYTES), np.uint8),
        read_checksums=lambda _: np.zeros(rows, np.uint32),
        layout=None,
        why_read_only="it was written by another program",
        foreign=True,
    )


def _classes(labels: Sequence[Any] | None, path: Path) -> list[str | None] | None:
    """Return what labels say, as those of images do: null, NaN and -1 are none."""
    if labels is None:
        return None
    return [label_of(value, f"{path}, label of row {row}") for row, value in enumerate(labels)]


_Columns = dict[str, Sequence[str] | None]


def _hdf5(
    path: Path, features: str, keys: str | None, labels: str | None, splits: str | None
) -> tuple[Array2D, _Columns]:
    with open_hdf5(path) as file:
        for name in filter(None, (features, keys, labels, splits)):
            if not isinstance(file.get(name), h5py.Dataset):
                raise StoreError(
                    f"{path} has no dataset {name!r}",
                    hint=f"It has: {', '.join(_datasets(file)) or 'none'}",
                )
        columns: _Columns = {
            "keys": _strings(file[keys]) if keys else None,
            "labels": _labels(file[labels]) if labels else None,
            "splits": _strings(file[splits]) if splits else None,
        }
    return DatasetRows(path, features), columns


def _datasets(file: h5py.File) -> list[str]:
    names: list[str] = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(name)

    file.visititems(visit)
    return names


def _labels(dataset: h5py.Dataset) -> list[Any]:
    values = dataset[()]
    if values.ndim > 1 and values.size != len(values):
        return list(values)  # refused: several values of a row
    return list(values.ravel().tolist())


def _strings(dataset: h5py.Dataset) -> list[str]:
    values = dataset[()].ravel()
    return [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
        for value in values.tolist()
    ]


def _open_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise StoreError(f"there is no file {path}") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} is not a readable NPY file: {error}") from error
    return array


def _table(path: str | None) -> _Columns:
    """Read the columns of a CSV table; one of ``path``, ``key`` or ``keys`` names the rows."""
    if path is None:
        return {}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            records = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"cannot read the table {path}: {error}") from error
    names = [*records[0]] if records else []
    key = next((name for name in ("path", "key", "keys") if name in names), None)
    if key is None:
        raise StoreError(f"{path}: expected a column path or key, got {', '.join(names) or 'none'}")

    def column(name: str) -> list[str] | None:
        return [record[name] or "" for record in records] if name in names else None

    return {
        "keys": column(key),
        "labels": column("label"),
        "splits": column("split"),
        "groups": column("group"),
    }


def _clip_retrieval(path: Path, labels: str | None) -> tuple[Array2D, _Columns]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"{path}: reading Parquet metadata needs pyarrow",
            hint="pip install 'bottleneck-features[parquet]'",
        ) from error
    parts = _numbered(path / "img_emb", "*.npy")
    tables = _numbered(path / "metadata", "*.parquet")
    if not parts:
        raise StoreError(f"{path}: expected img_emb/*.npy, found none")
    columns: dict[str, list[Any]] = {}
    for table in tables:
        read = parquet.read_table(table)
        for name in ("image_path", *([labels] if labels else [])):
            if name not in read.column_names:
                raise StoreError(
                    f"{table}: expected a column {name!r}, got {', '.join(read.column_names)}"
                )
            values = read.column(name).to_pylist()
            columns.setdefault(name, []).extend(values if name == labels else map(str, values))
    found: _Columns = {
        "keys": columns.get("image_path"),
        "labels": columns.get(labels) if labels else None,
    }
    return StackedRows([_open_npy(part) for part in parts]), found


def _numbered(folder: Path, pattern: str) -> Sequence[Path]:
    found: Iterable[Path] = folder.glob(pattern)
    return sorted(found, key=lambda path: natural_key(path.name))
