"""How other programs keep features: HDF5, NPY and NPZ, Parquet, CSV, clip-retrieval's folders.

Each reader finds the features and the named columns beside them. What a column is for, its name
says: :data:`ROLES`.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import StoreError, not_importable
from bottleneck.manifest import natural_key
from bottleneck.npy import load_array, load_arrays
from bottleneck.sources.formats.table import separator_of
from bottleneck.store.contents import Array2D, DatasetRows, StackedRows, open_hdf5

ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "features": ("features", "feature", "feats", "embeddings", "embedding", "x"),
    "keys": ("path", "paths", "key", "keys", "image_path", "filename", "filenames"),
    "labels": ("label", "labels", "y"),
    "splits": ("split", "splits"),
    "groups": ("group", "groups"),
}
"""Names of columns (in any case) for each thing, the first that is there counts."""

TABLES: Final = (".csv", ".tsv")

NOTED_RECIPE: Final = b"bottleneck.recipe"
NOTED_OUTPUT: Final = b"bottleneck.output"
"""What an exported Parquet file says of where its features come from."""

_NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True, eq=False)
class Found:
    """What a file holds.

    Parameters
    ----------
    features : array, shape (n, dim)
        Read whole only where the format leaves no other way.
    columns : mapping of str to sequence
        The values of each column, by its name or by what it is for.
    notes : mapping of bytes to bytes
        What the file says of itself.
    """

    features: Array2D
    columns: Mapping[str, Sequence[Any]]
    notes: Mapping[bytes, bytes] = field(default_factory=dict)


def read_file(path: Path, asked: Mapping[str, str]) -> Found:
    """Read another program's features, of the kind that the path says.

    Parameters
    ----------
    path : Path
        The file or folder.
    asked : mapping of str to str
        Names of columns for some of :data:`ROLES`; of an NPY file, ``keys`` is the path of its
        table.

    Raises
    ------
    StoreError
        When something named is not there, or cannot be read.
    """
    if path.is_dir():
        return _clip_retrieval(path, asked)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _npy(path, asked)
    if suffix == ".npz":
        return _npz(path, asked)
    if suffix == ".parquet":
        return _parquet(path, asked)
    return _csv(path, asked) if suffix in TABLES else _hdf5(path, asked)


def named(names: Iterable[str], asked: Mapping[str, str], path: Path) -> dict[str, str]:
    """Tell which name is whose: that asked for, or the first of :data:`ROLES` that is there."""
    there = [*names]
    lower = {name.strip().lower(): name for name in reversed(there)}
    found = {}
    for role, usual in ROLES.items():
        name = asked.get(role) or next((lower[one] for one in usual if one in lower), None)
        if name is None:
            continue
        if name not in there:
            raise StoreError(
                f"{path} has no dataset {name!r}", hint=f"It has: {', '.join(there) or 'none'}"
            )
        found[role] = name
    return found


def _missing_features(path: Path, names: Sequence[str]) -> StoreError:
    return StoreError(
        f"{path}: expected features under one of the names {', '.join(ROLES['features'])}, "
        f"found {', '.join(names) or 'nothing'}",
        hint="Rename them, or in Python: FeatureStore.open(path, features='name of the dataset').",
    )


def _by_role(columns: Mapping[str, Any], roles: Mapping[str, str]) -> dict[str, Any]:
    """Call columns by what they are for; further ones keep their names."""
    used = set(roles.values())
    found = {role: columns[name] for role, name in roles.items() if role != "features"}
    return found | {name: values for name, values in columns.items() if name not in used}


def _hdf5(path: Path, asked: Mapping[str, str]) -> Found:
    with open_hdf5(path) as file:
        everywhere = _datasets(file)
        for name in asked.values():
            if name not in everywhere:
                raise StoreError(
                    f"{path} has no dataset {name!r}",
                    hint=f"It has: {', '.join(everywhere) or 'none'}",
                )
        # Only what is asked for is looked for in groups: weights have names like these there.
        top = [name for name in everywhere if "/" not in name]
        roles = named([*top, *(name for name in asked.values() if "/" in name)], asked, path)
        if "features" not in roles:
            raise _missing_features(path, everywhere)
        rows = file[roles["features"]].shape[:1]
        wanted = {name for role, name in roles.items() if role != "features"}
        columns = {
            name: _flat(np.atleast_1d(file[name][()]))
            for name in dict.fromkeys([*top, *wanted])
            if name in wanted or (file[name].shape == rows and name != roles["features"])
        }
    return Found(DatasetRows(path, roles["features"]), _by_role(columns, roles))


def _datasets(file: h5py.File) -> list[str]:
    names: list[str] = []

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(name)

    file.visititems(visit)
    return names


def _flat(values: NDArray[Any]) -> list[Any]:
    """Return one value of each row; several of a row stay together, to be refused."""
    return list(values if values.ndim > 1 and values.size != len(values) else values.ravel())


def _npy(path: Path, asked: Mapping[str, str]) -> Found:
    beside = path.with_suffix(".csv")
    table = asked.get("keys") or (str(beside) if beside.exists() else None)
    columns: dict[str, list[Any]] = {}
    if table is not None:
        titles, lines = _read_table(Path(table))
        columns = {title: [line[i] for line in lines] for i, title in enumerate(titles)}
        roles = named(titles, {}, Path(table))
        if "keys" not in roles:
            raise StoreError(
                f"{table}: expected a column path or key, got {', '.join(titles) or 'none'}"
            )
        columns = _by_role(columns, roles)
    return Found(open_npy(path), columns)


def open_npy(path: Path) -> NDArray[Any]:
    """Map the array of an NPY file."""
    with _readable(path, "NPY"):
        return load_array(path, mapped=True)


def _npz(path: Path, asked: Mapping[str, str]) -> Found:
    with _readable(path, "NPZ"):
        arrays = load_arrays(path)
    roles = named([*arrays], asked, path)
    if "features" not in roles:
        raise _missing_features(path, [*arrays])
    features = arrays.pop(roles["features"])
    wanted = set(roles.values())
    columns = {
        name: _flat(np.atleast_1d(values))
        for name, values in arrays.items()
        if name in wanted or values.shape == features.shape[:1]
    }
    return Found(features, _by_role(columns, roles))


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"there is no file {path}") from error
    except StoreError:
        raise
    except Exception as error:  # of NumPy, zlib and pyarrow
        raise StoreError(f"{path} is not a readable {kind} file: {error}") from error


def _parquet(path: Path, asked: Mapping[str, str]) -> Found:
    table = _read_parquet(path)
    names = table.column_names
    roles = named(names, asked, path)
    if "features" in roles:
        features = _list_column(table.column(roles["features"]), path)
        used = {roles["features"]}
    else:
        numbered = _numbered_columns(names)
        if not numbered:
            raise _missing_features(path, names)
        used = set(numbered)
        with _readable(path, "Parquet"):
            pieces = [table.column(name).to_numpy().astype(np.float32) for name in numbered]
        features = np.stack(pieces, axis=1)
    columns = {name: _arrow_values(table.column(name)) for name in names if name not in used}
    notes = dict(table.schema.metadata or {})
    if NOTED_RECIPE in notes:  # written by an export: names that are not UTF-8 are in bytes
        columns = {name: _names(values) for name, values in columns.items()}
    return Found(features, _by_role(columns, roles), notes)


def _names(values: Sequence[Any]) -> Sequence[Any]:
    return [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
        for value in values
    ]


def _read_parquet(path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise not_importable(f"pyarrow to read {path}", "parquet", error) from error
    with _readable(path, "Parquet"):
        return parquet.ParquetFile(path).read()


def _list_column(column: Any, path: Path) -> NDArray[Any]:
    """Make one array of a column of lists, all of one length."""
    import pyarrow as pa

    merged = column.combine_chunks()
    kind = merged.type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind)) or not (
        pa.types.is_floating(kind.value_type)
    ):
        raise StoreError(f"{path}: expected features in lists of floats, got {kind}")
    lengths = set(merged.value_lengths().to_pylist()) if len(merged) else {0}
    flat = merged.flatten()
    if len(lengths) != 1 or None in lengths or flat.null_count:
        raise StoreError(
            f"{path}: expected features of one length in every row, got "
            f"{', '.join(sorted(map(str, lengths)))}" + (" with nulls" if flat.null_count else "")
        )
    values = flat.to_numpy(zero_copy_only=False)
    if values.dtype == np.float64:  # features are not known any better
        values = values.astype(np.float32)
    array: NDArray[Any] = values.reshape(len(merged), lengths.pop())
    return array


def _arrow_values(column: Any) -> Sequence[Any]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_uint8(kind) or pa.types.is_boolean(kind):
        # What is missing among them stays missing.
        return [None if value is None else np.uint8(value) for value in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def _clip_retrieval(path: Path, asked: Mapping[str, str]) -> Found:
    parts = _in_order(path / "img_emb", "*.npy")
    if not parts:
        raise StoreError(f"{path}: expected img_emb/*.npy, found none")
    names = ["image_path", *([asked["labels"]] if "labels" in asked else [])]
    columns: dict[str, list[Any]] = {}
    for file in _in_order(path / "metadata", "*.parquet"):
        table = _read_parquet(file)
        for name in names:
            if name not in table.column_names:
                raise StoreError(
                    f"{file}: expected a column {name!r}, got {', '.join(table.column_names)}"
                )
        for name in table.column_names:
            columns.setdefault(name, []).extend(_arrow_values(table.column(name)))
    roles = named(columns, {"keys": "image_path", **asked}, path) if columns else {}
    return Found(StackedRows([open_npy(part) for part in parts]), _by_role(columns, roles))


def _in_order(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern), key=lambda path: natural_key(path.name))


def _csv(path: Path, asked: Mapping[str, str]) -> Found:
    titles, lines = _read_table(path)
    features = _numbered_columns(titles)
    if not features:
        raise StoreError(
            f"{path}: expected columns of features that are numbered, like f0, f1, f2, "
            f"got {', '.join(titles[:8])}{', ...' if len(titles) > 8 else ''}",
            hint="Images to extract features from are another thing: bottleneck extract TABLE.csv",
        )
    where = [titles.index(name) for name in features]
    array = np.empty((len(lines), len(where)), np.float32)
    for row, line in enumerate(lines):
        try:
            array[row] = [float(line[i]) for i in where]
        except ValueError as error:
            raise StoreError(f"{path}, row {row}: expected numbers as features: {error}") from error
    others = {
        title: [line[i] for line in lines] for i, title in enumerate(titles) if i not in {*where}
    }
    return Found(array, _by_role(others, named(others, asked, path)))


def _numbered_columns(names: Sequence[str]) -> list[str]:
    """Return the columns that are numbered without a gap, in that order; those of most numbers."""
    split = {name: match for name in names if (match := _NUMBERED.fullmatch(name))}
    stems = Counter(match[1] for match in split.values())
    if not stems:
        return []
    stem, count = stems.most_common(1)[0]
    found = sorted((int(match[2]), name) for name, match in split.items() if match[1] == stem)
    numbers = [number for number, _ in found]
    whole = numbers == [*range(numbers[0], numbers[0] + count)] and numbers[0] in (0, 1)
    return [name for _, name in found] if whole and count > 1 else []


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Read a CSV table whole: its titles, and the cells of every line."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
            return _cells(path, stream)
    except (OSError, csv.Error) as error:
        raise StoreError(f"cannot read the table {path}: {error}") from error


def _cells(path: Path, stream: IO[str]) -> tuple[list[str], list[list[str]]]:
    first = [stream.readline(), stream.readline()]
    stream.seek(0)
    separator = separator_of([line for line in first if line])
    reader = csv.reader(stream, delimiter=separator, strict=True)
    titles = [title.strip() for title in next(reader, [])]
    lines = []
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(titles):
            raise StoreError(
                f"{path}, line {reader.line_num}: expected {len(titles)} cells as the first line "
                f"has, got {len(cells)}"
            )
        lines.append(cells)
    repeated = [title for title, count in Counter(titles).items() if count > 1]
    if repeated:
        raise StoreError(f"{path}: the column {repeated[0]!r} appears twice")
    return titles, lines
