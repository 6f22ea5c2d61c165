"""Parquet: tables of paths, and images inside as Hugging Face's ``datasets`` writes them."""

import posixpath
from array import array
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bottleneck.errors import (
    ImageError,
    ManifestError,
    OptionError,
    SourceError,
    not_importable,
)
from bottleneck.location import is_url
from bottleneck.manifest import Manifest
from bottleneck.packed import PackedBuilder, PackedStrings
from bottleneck.sources.base import Listing, Source, not_used
from bottleneck.sources.columns import TargetColumns, cell_text, path_text, plain_paths
from bottleneck.sources.random_access import listing, open_blob
from bottleneck.sources.rules import label_of, name_of
from bottleneck.sources.shards import Request, Shard, Sharded, row_keys
from bottleneck.sources.urls import labels_in_paths, located
from bottleneck.status import RowStatus

if TYPE_CHECKING:
    from bottleneck.sources.formats.parquet_file import ParquetColumns

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
    paths : RowGroupReader, optional
        Of the column of paths, for rows whose image is a file beside the table.
    listing : Listing, optional
        What was left out.
    """

    def __init__(
        self,
        name: str,
        manifest: Manifest,
        shards: Sequence[Shard],
        counts: Sequence[int],
        *,
        reader: Any,
        paths: Any = None,
        listing: Listing | None = None,
    ) -> None:
        super().__init__(name, manifest, [shard.blob for shard in shards], counts, listing)
        self._reader = reader
        self._paths = paths
        self._files = [shard.blob.name for shard in shards]

    def read(self, row: int) -> bytes:
        """Return an image's bytes.

        Raises
        ------
        ImageError
            ``MISSING`` where the file is gone or the row has neither an image nor a path
            to one, ``UNREADABLE`` where its row group is damaged.
        """
        file, inside = self.locate(row)
        image: bytes | None = self._reader.read(file, inside)
        if image is not None:
            return image
        path = self._paths.read(file, inside) if self._paths else None
        if not path:
            raise ImageError(RowStatus.MISSING, "the row has no image in it")
        if not (is_url(path) or posixpath.isabs(path)):
            path = posixpath.join(posixpath.dirname(self._files[file]), path)
        try:
            blob = open_blob(path)
        except SourceError as error:
            raise ImageError(
                RowStatus.MISSING, f"the row has no image in it but a path: {error.message}"
            ) from error
        return blob.read(0, blob.size)


def open_parquet(request: Request) -> Source:
    """List the images of Parquet files, or those at the paths in them.

    All files have the columns of the first. Behind ``::`` may stand ``IMAGE`` or ``IMAGE,LABEL``:
    names of columns, where they do not tell.

    Parameters
    ----------
    request : Request
        The files, and where paths and labels are to be looked for.

    Raises
    ------
    RuntimeUnavailableError
        When pyarrow is not installed.
    SourceError
        When a file is none, or damaged; when no column holds images or paths.
    ManifestError
        When there is no row, or a path appears twice.
    """
    name, shards = request.name, request.shards()
    try:
        from bottleneck.sources.formats.parquet_file import (
            RowGroupReader,
            choose_columns,
            column_with,
            columns_of,
            first_value,
            is_target_only,
            open_file,
            plan_groups,
        )
    except ImportError as error:
        raise not_importable(f"pyarrow to read {name}", "parquet", error) from error
    columns: ParquetColumns | None = None
    table = _Table(PackedBuilder(), array("i"), array("i"), array("i"), {}, {}, {})
    asked: TargetColumns | None = None
    counts, groups, path_groups = [], [], []
    unused: list[str] = []
    for shard in shards:
        with listing(), open_file(shard.blob) as file:
            schema = file.schema_arrow
            if columns is None:
                here = choose_columns(schema, shard.blob.name, request, partial(first_value, file))
            else:
                image = column_with(columns.leaf, schema.names)
                here = columns_of(schema, shard.blob.name, image, request)
            asked = asked or TargetColumns(request.targets, schema.names, name)
            if here.label in asked.names and is_target_only(schema.field(here.label).type):
                here = replace(here, label="")
            columns = columns or here
            _refuse_difference(shard, shards[0], (columns, here), asked.names, schema.names)
            used = {*columns.used(schema.names), *asked.names}
            unused += [column for column in schema.names if column not in used]
            _read_table(file, shard.blob.name, columns, table, asked)
            counts.append(file.metadata.num_rows)
            groups.append(plan_groups(file.metadata, columns.leaf))
            path_groups.append(plan_groups(file.metadata, columns.path))
    assert columns is not None
    assert asked is not None
    names = table.paths.finish()
    if not sum(counts):
        raise ManifestError(f"expected rows in {name}, found none")
    keys, note = _keys(names, shards, counts, columns, request)
    splits = (
        table.texts(table.split_codes, table.splits) if columns.split else _splits(shards, counts)
    )
    groups_of = table.texts(table.group_codes, table.groups) if columns.group else None
    try:
        labels = _labels(keys, table, columns, request)
        manifest = Manifest.build(keys, labels, splits, groups_of)
    except ManifestError as error:
        raise ManifestError(f"{name}: {error.message}", hint=error.hint) from error
    manifest = replace(manifest, targets=asked.finish())
    notes = (*columns.notes, note, *not_used("columns", unused))
    found = Listing(notes=tuple(filter(None, notes)))
    if not columns.leaf:
        return located(name, request.folder, manifest, found, rules=request.choice.rules)
    blobs = [shard.blob for shard in shards]
    reader = RowGroupReader(blobs, groups, columns.leaf)
    paths = RowGroupReader(blobs, path_groups, columns.path) if columns.path else None
    return ParquetSource(name, manifest, shards, counts, reader=reader, paths=paths, listing=found)


def _refuse_difference(
    shard: Shard,
    first: Shard,
    columns: "tuple[ParquetColumns, ParquetColumns]",
    targets: Sequence[str],
    names: Sequence[str],
) -> None:
    """Refuse a file in which other columns mean something than in the first one."""
    theirs, ours = columns
    lost = [*targets, *(one for one in ours.used(names) if one)]
    missing = next((one for one in lost if one not in names), None)
    pairs = zip(theirs.parts, ours.parts, strict=True)
    there, here = next(((a, b) for a, b in pairs if a != b), ("", ""))
    if missing or there or here:
        what = f"{missing or there!r} is missing" if missing or there else f"it has {here!r} too"
        raise SourceError(
            f"{shard.blob.name}: expected the columns of {first.blob.name}, {what} among "
            f"{', '.join(names)}",
            hint="Write all files with the same columns; a label that is not known is null.",
        )


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


def _read_table(
    file: Any, name: str, columns: "ParquetColumns", table: _Table, asked: TargetColumns
) -> None:
    from bottleneck.sources.formats.parquet_file import class_labels

    wanted = [n for n in (columns.path, columns.label, columns.split, columns.group) if n]
    wanted += [one for one in asked.names if one not in wanted]
    if not columns.path:
        for _ in range(file.metadata.num_rows):
            table.paths.append("")
    if not wanted:
        return
    # Files of one table may number their classes each in its own way.
    classes = class_labels(file.schema_arrow)
    of_lists = class_labels(file.schema_arrow, lists=True)
    meant = [
        (columns.label, table.label_codes, table.labels),
        (columns.split, table.split_codes, table.splits),
        (columns.group, table.group_codes, table.groups),
    ]
    known: dict[tuple[str, Hashable], str] = {}
    row = 0
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=wanted, use_threads=False):
        if columns.path:
            for i, value in enumerate(_leaf(batch, columns.path).to_pylist()):
                where = f"{name}, column {columns.path!r}, row {row + i}"
                table.paths.append(path_text(value, where))
        for column, codes, names in meant:
            reads = label_of if column == columns.label else name_of
            for i, value in enumerate(_leaf(batch, column).to_pylist() if column else ()):
                # By what it looks like where it has no hash, or as NaN is never found again.
                cell = (column, value if isinstance(value, str | int) else repr(value))
                text = known.get(cell)
                if text is None:
                    where = f"{name}, column {column!r}, row {row + i}"
                    text = reads(value, where)
                    text = known[cell] = _class_name(text, value, classes.get(column, ()), where)
                codes.append(names.setdefault(text, len(names)))
        for place, column in enumerate(asked.names):
            item = partial(_item_name, of_lists.get(column, ()))
            for i, value in enumerate(_leaf(batch, column).to_pylist()):
                where = f"{name}, column {column!r}, row {row + i}"
                asked.append(place, cell_text(value, where, item))
        row += batch.num_rows


def _item_name(classes: tuple[str, ...], value: object, where: str) -> str:
    return _class_name(label_of(value, where), value, classes, where)


def _class_name(name: str | None, value: Any, classes: tuple[str, ...], where: str) -> str:
    """Return the name of a class, empty for none; numbers are names where the schema has them."""
    if name is None or not classes or isinstance(value, str | bytes) or not name.isdecimal():
        return name or ""
    if int(name) >= len(classes):
        raise ManifestError(
            f"{where}: expected one of {len(classes)} classes that the schema names, got {name}",
            hint="Write the table again with the names of all classes.",
        )
    return classes[int(name)]


def _leaf(batch: Any, column: str) -> Any:
    outer, _, inner = column.rpartition(".")
    if column in batch.schema.names:
        return batch.column(column)
    struct = batch.column(outer)
    position = [struct.type.field(i).name for i in range(struct.type.num_fields)].index(inner)
    return struct.flatten()[position]


def _keys(
    names: PackedStrings,
    shards: Sequence[Shard],
    counts: Sequence[int],
    columns: "ParquetColumns",
    request: Request,
) -> tuple[Sequence[str], str]:
    """Return what rows are called, and a note of what was changed in their paths."""
    if columns.leaf:
        return row_keys(shards, counts, names), ""
    row = next((row for row, path in enumerate(names) if not path), None)
    if row is not None:
        raise ManifestError(f"{request.name}: expected a path in every row, row {row} has none")
    return plain_paths(names, request.folder, request.name)


def _labels(
    keys: Sequence[str], table: _Table, columns: "ParquetColumns", request: Request
) -> Iterator[str | None] | None:
    if not request.choice.from_path:
        return table.texts(table.label_codes, table.labels) if columns.label else None
    if columns.leaf:
        raise OptionError(
            f"{request.name} holds its images itself: they lie in no folders for "
            f"{request.choice.written}",
            hint="Say --label-column NAME, or --label-from none.",
        )
    return labels_in_paths(keys, request.name, request.choice)


def _splits(shards: Sequence[Shard], counts: Sequence[int]) -> Iterator[str]:
    return (shard.split for shard, n in zip(shards, counts, strict=True) for _ in range(n))
