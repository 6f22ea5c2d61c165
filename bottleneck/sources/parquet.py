"""Parquet: tables of paths, and images inside as Hugging Face's ``datasets`` writes them."""

import posixpath
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bottleneck.errors import ImageError, ManifestError, RuntimeUnavailableError, SourceError
from bottleneck.manifest import Manifest
from bottleneck.packed import PackedBuilder
from bottleneck.sources.base import Source
from bottleneck.sources.blob import listing
from bottleneck.sources.shards import Shard, Sharded, row_keys
from bottleneck.sources.target_columns import ITEM, TargetColumns
from bottleneck.status import RowStatus

if TYPE_CHECKING:
    from bottleneck.sources.parquet_columns import Columns

_ROWS_AT_ONCE = 1 << 14


class ParquetSource(Sharded):
    """Images in Parquet files; row groups are read when an image in them is wanted.

    Parameters
    ----------
    name : str
        What was given.
    manifest : Manifest
        The images.
    shards : sequence of Shard
        The files.
    counts : sequence of int
        Rows of each.
    reader : RowGroupReader
        Of the column of images.
    """

    def __init__(
        self,
        name: str,
        manifest: Manifest,
        shards: Sequence[Shard],
        counts: Sequence[int],
        reader: Any,
    ) -> None:
        super().__init__(name, manifest, [shard.blob for shard in shards], counts)
        self._reader = reader

    def read(self, row: int) -> bytes:
        """Return an image's bytes.

        Raises
        ------
        ImageError
            ``MISSING`` where the file is gone or the row has no image, ``UNREADABLE`` where its
            row group is damaged.
        """
        image: bytes | None = self._reader.read(*self.locate(row))
        if image is None:
            raise ImageError(RowStatus.MISSING, "the row has no image in it")
        return image


def open_parquet(
    name: str,
    shards: Sequence[Shard],
    part: str,
    of_paths: Callable[[Manifest], Source],
    targets: Sequence[str] = (),
) -> Source:
    """List the images of Parquet files.

    Parameters
    ----------
    name : str
        What was given.
    shards : sequence of Shard
        The files in order, all with the columns of the first.
    part : str
        ``IMAGE`` or ``IMAGE,LABEL``: names of columns, where they do not tell.
    of_paths : callable
        Makes the source of a table of paths.
    targets : sequence of str
        Columns that are targets, see :class:`~bottleneck.sources.target_columns.TargetColumns`.

    Raises
    ------
    RuntimeUnavailableError
        When pyarrow is not installed.
    SourceError
        When a file is none, or damaged; when no column holds images or paths.
    ManifestError
        When there is no row, or a path appears twice.
    """
    try:
        from bottleneck.sources.parquet_columns import choose_columns
        from bottleneck.sources.row_groups import RowGroupReader, open_file, plan_groups
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"reading {name} needs pyarrow, which is not installed",
            hint="pip install 'bottleneck-features[parquet]'",
        ) from error
    columns: Columns | None = None
    table = _Table(PackedBuilder(), array("i"), array("i"), array("i"), {}, {}, {})
    asked: TargetColumns | None = None
    counts, groups = [], []
    for shard in shards:
        with listing(), open_file(shard.blob) as file:
            columns = columns or choose_columns(file.schema_arrow, shard.blob.name, part)
            asked = asked or TargetColumns(targets, file.schema_arrow.names, name)
            missing = columns.missing(file.schema_arrow.names, asked.names)
            if missing:
                raise SourceError(
                    f"{shard.blob.name}: expected the columns of {shards[0].blob.name}, "
                    f"{missing!r} is missing among {', '.join(file.schema_arrow.names)}"
                )
            _read_table(file, columns, table, asked)
            counts.append(file.metadata.num_rows)
            groups.append(plan_groups(file.metadata, columns.leaf))
    assert columns is not None
    assert asked is not None
    names = table.paths.finish()
    if not sum(counts):
        raise ManifestError(f"expected rows in {name}, found none")
    if not columns.leaf and any(not path for path in names):
        row = next(row for row, path in enumerate(names) if not path)
        raise ManifestError(f"{name}: expected a path in every row, row {row} has none")
    splits = (
        table.texts(table.split_codes, table.splits) if columns.split else _splits(shards, counts)
    )
    keys = row_keys(shards, counts, names) if columns.leaf else names
    try:
        manifest = Manifest.build(
            keys,
            table.texts(table.label_codes, table.labels) if columns.label else None,
            splits,
            table.texts(table.group_codes, table.groups) if columns.group else None,
        )
    except ManifestError as error:
        raise ManifestError(f"{name}: {error.message}", hint=error.hint) from error
    manifest = replace(manifest, targets=asked.finish())
    if not columns.leaf:
        return of_paths(manifest)
    reader = RowGroupReader([shard.blob for shard in shards], groups, columns.leaf)
    return ParquetSource(name, manifest, shards, counts, reader)


@dataclass
class _Table:
    """What the manifest needs of a table, packed as it is read."""

    paths: PackedBuilder
    label_codes: "array[int]"
    split_codes: "array[int]"
    group_codes: "array[int]"
    labels: dict[str, int]
    splits: dict[str, int]
    groups: dict[str, int]

    def texts(self, codes: "array[int]", names: dict[str, int]) -> Iterator[str]:
        listed = list(names)
        return (listed[code] for code in codes)


def _read_table(file: Any, columns: "Columns", table: _Table, asked: TargetColumns) -> None:
    wanted = [n for n in (columns.path, columns.label, columns.split, columns.group) if n]
    wanted += [name for name in asked.names if name not in wanted]
    if not columns.path:
        for _ in range(file.metadata.num_rows):
            table.paths.append("")
    if not wanted:
        return
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=wanted, use_threads=False):
        if columns.path:
            for path in _leaf(batch, columns.path).to_pylist():
                text = str(path or "")
                # ./a//b is a/b, as in a CSV table.
                plain = not columns.leaf and ("./" in text or "//" in text) and "://" not in text
                table.paths.append(posixpath.normpath(text) if plain else text)
        for column, codes, names in (
            (columns.label, table.label_codes, table.labels),
            (columns.split, table.split_codes, table.splits),
            (columns.group, table.group_codes, table.groups),
        ):
            if column:
                known = columns.classes if column == columns.label else ()
                for value in _leaf(batch, column).to_pylist():
                    text = _name(value, known)
                    codes.append(names.setdefault(text, len(names)))
        for place, column in enumerate(asked.names):
            known = columns.label_names.get(column, ())
            for value in _leaf(batch, column).to_pylist():
                asked.append(place, _cell(value, known))


def _cell(value: Any, known: tuple[str, ...]) -> str:
    """Write a value as a CSV table has it; a list with :data:`ITEM` behind every item."""
    if isinstance(value, list):
        return ITEM + "".join(f"{_name(item, known)}{ITEM}" for item in value if item is not None)
    if isinstance(value, float):
        return repr(value)
    return "" if value is None else str(value)


def _name(value: Any, classes: tuple[str, ...]) -> str:
    if value is None or (isinstance(value, int) and value < 0):
        return ""
    if isinstance(value, int) and value < len(classes):
        return classes[value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _leaf(batch: Any, column: str) -> Any:
    outer, _, inner = column.rpartition(".")
    if column in batch.schema.names:
        return batch.column(column)
    struct = batch.column(outer)
    position = [struct.type.field(i).name for i in range(struct.type.num_fields)].index(inner)
    return struct.flatten()[position]


def _splits(shards: Sequence[Shard], counts: Sequence[int]) -> Iterator[str]:
    return (shard.split for shard, n in zip(shards, counts, strict=True) for _ in range(n))
