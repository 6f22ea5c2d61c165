"""A Parquet file: which columns hold what, and images read by row groups with a bound on memory."""

import json
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from bottleneck.errors import ImageError, SourceError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.location import is_url
from bottleneck.sources.columns import LABELS, find_columns
from bottleneck.sources.random_access import Blob, BlobFile
from bottleneck.sources.rules import (
    BEGINNING,
    RULES,
    ItemRules,
    OtherItemsError,
    refuse_beginnings,
)
from bottleneck.sources.shards import Request
from bottleneck.status import RowStatus

_ITEMS = tuple(column for rules in RULES.values() for column in rules.columns)
_NOT_ITEMS = frozenset({"md5", "sha1", "sha256", "hash", "phash", "embedding", "features"})


@dataclass(frozen=True)
class ParquetColumns:
    """Which columns of a table mean what; empty for none.

    Parameters
    ----------
    leaf : str
        Path of the encoded images, ``image.bytes``.
    path : str
        Path of the images' names or places, ``image.path``.
    label, split, group : str
        Names of columns.
    notes : tuple of str
        What was taken for something without being called so.
    """

    leaf: str
    path: str
    label: str
    split: str
    group: str
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """All of them."""
        return self.leaf, self.path, self.label, self.split, self.group

    def used(self, names: Sequence[str]) -> list[str]:
        """Return the columns of a table of some names that they are in."""
        return [column_with(part, names) for part in self.parts if part]


def column_with(part: str, names: Sequence[str]) -> str:
    """Return the column that a part of it is in: ``image`` for ``image.bytes``."""
    return part if part in names else part.rpartition(".")[0]


def choose_columns(
    schema: Any,
    name: str,
    request: Request,
    first: Callable[[str], bytes] = lambda _: b"",
) -> ParquetColumns:
    """Find the columns of a table that hold images or paths, labels, splits and groups.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the table.
    name : str
        The file, for messages.
    request : Request
        What was said of columns. Where paths are said to be, no images are in the table itself.
    first : callable
        Returns the first value of a binary column, which tells images from hashes.

    Raises
    ------
    OptionError
        When a column that was said is not there.
    SourceError
        When none holds images or paths, or there is no telling which; lists the columns.
    """
    leaves = _leaves(schema)
    image, _, label = request.part.partition(",")
    listed = ", ".join(f"{field.name} ({_type_name(field.type)})" for field in schema)
    for wanted in filter(None, (image, label)):
        if wanted not in schema.names:
            raise SourceError(f"{name} has no column {wanted!r}", hint=f"It has: {listed}")
    has_paths = bool(columns_of(schema, name, image, request).path)
    if not image and not request.choice.path_column:
        found = _item_column(
            {n: leaf for n, (leaf, _) in leaves.items()}, has_paths, first, request.choice.rules
        )
        if found is None:
            raise SourceError(
                f"cannot tell which column of {name} holds the images: {listed}",
                hint=f"Name it: {name}::{next(iter(leaves))}",
            )
        image = found
        _refuse_other_column(image, name, request.choice.rules)
    if image and image not in leaves:
        raise SourceError(
            f"{name}: the column {image!r} holds no encoded images: {listed}",
            hint="Images are binary, or {bytes, path} as Hugging Face writes them.",
        )
    if image:
        begins = first(leaves[image][0])[:BEGINNING]
        refuse_beginnings(request.choice.rules, name, [begins])
    if not image and not has_paths:
        raise SourceError(
            f"expected a column of images or of paths in {name}, got {listed}",
            hint="Images are binary, or {bytes, path} as Hugging Face writes them; paths are "
            "texts in a column named path, or in that of --path-column NAME.",
        )
    return columns_of(schema, name, image, request)


def columns_of(schema: Any, name: str, image: str, request: Request) -> ParquetColumns:
    """Find what the columns of a table mean, whose column of images is known; empty for paths."""
    leaves = _leaves(schema)
    classes = class_labels(schema)
    # A struct of bytes beside the images is another image, as a mask is, and no class; and a
    # column of bytes called image is the images, not their paths.
    usable = [
        f.name
        for f in schema
        if f.name != image
        and (f.name not in leaves or (_is_binary(f.type) and f.name.lower() not in _ITEMS))
    ]
    choice, label = request.choice, request.part.partition(",")[2]
    if label and not choice.decides and not choice.label_column:
        choice = replace(choice, label_column=label)
    found = find_columns(
        usable,
        name,
        choice,
        targets=request.targets,
        also_labels=tuple(classes) if len(classes) == 1 else (),
    )
    leaf, path = leaves.get(image, ("", "")) if image else ("", found.path)
    if leaf and not path and found.path.strip().lower() == "path":
        path = found.path
    notes = filter(None, (found.label_note, found.path_note if path == found.path else ""))
    return ParquetColumns(leaf, path, found.label, found.split, found.group, tuple(notes))


def _leaves(schema: Any) -> dict[str, tuple[str, str]]:
    """Return the columns that may be images: where their bytes are, and their paths."""
    leaves = {}
    for field in schema:
        kind = field.type
        if pa.types.is_struct(kind):
            inner = [kind.field(i).name for i in range(kind.num_fields)]
            if "bytes" in inner:
                path = f"{field.name}.path" if "path" in inner else ""
                leaves[field.name] = (f"{field.name}.bytes", path)
        elif _is_binary(kind):
            leaves[field.name] = (field.name, "")
    return leaves


def _refuse_other_column(column: str, name: str, rules: ItemRules) -> None:
    """Refuse a column that is called as those of items of another kind are."""
    for other in RULES.values():
        if other is not rules and column.strip().lower() in other.columns:
            raise OtherItemsError(rules.name, other.name, name, [f"the column {column!r}"])


def _item_column(
    leaves: Mapping[str, str], has_paths: bool, first: Callable[[str], bytes], rules: ItemRules
) -> str | None:
    """Choose among columns of bytes: by name, or by what the first value begins with.

    Hashes, features and thumbnails are bytes too. Empty where the paths are meant, None where
    there is no telling.
    """
    likely = [n for n in leaves if n.lower() not in (*LABELS, *_NOT_ITEMS)]
    named = next((n for one in rules.columns for n in likely if n.strip().lower() == one), None)
    if named or not likely:
        return named or ""
    if len(likely) == 1 and not has_paths:
        return likely[0]
    structs = [n for n in likely if leaves[n] != n]
    sure = structs or [n for n in likely if rules.begins(first(leaves[n]))]
    if len(sure) == 1:
        return sure[0]
    return None if sure or not has_paths else ""


def is_target_only(kind: Any) -> bool:
    """Whether a column that is asked for as a target cannot be the class as well."""
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_nested(kind))


def _is_binary(kind: Any) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def class_labels(schema: Any, *, lists: bool = False) -> dict[str, tuple[str, ...]]:
    """Return the class names that Hugging Face's ``datasets`` leaves in the schema.

    With ``lists``, those of columns that hold lists of labels.
    """
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = info["info"]["features"]
        if lists:
            features = {column: _item(feature) for column, feature in features.items()}
        return {
            column: tuple(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _item(feature: Any) -> Any:
    """Return what a list is of: written as ``{"feature": item}``, or before as ``[item]``."""
    if isinstance(feature, list) and len(feature) == 1:
        return feature[0]
    return feature.get("feature") if isinstance(feature, dict) else None


def _type_name(kind: Any) -> str:
    text = str(kind)
    return text if len(text) <= 40 else f"{text[:37]}..."


_WHOLE = 64 << 20
"""Row groups up to this size are kept whole; larger ones are gone through in pieces."""

_PIECE = 16 << 20
_KEPT = 256 << 20
"""Bytes of row groups in memory: several, because threads read some batches apart."""

_OPEN_FILES = 8
_STREAMS = 4
_BUFFER = 1 << 20


def open_file(blob: Blob) -> Any:
    """Open a Parquet file.

    Raises
    ------
    SourceError
        When it is none, or damaged.
    """
    place = pa.PythonFile(BlobFile(blob), "r") if is_url(blob.name) else blob.name
    try:
        return parquet.ParquetFile(place, buffer_size=_BUFFER, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{blob.name} is not a readable Parquet file: {error}") from error


def first_value(file: Any, leaf: str) -> bytes:
    """Return the first value of a binary column that is not null.

    Empty where all of some are null, or what is there is damaged: rows say so.
    """
    try:
        for batch in file.iter_batches(16, columns=[leaf], use_threads=False):
            column = batch.column(0)
            while pa.types.is_struct(column.type):
                column = column.flatten()[0]
            return next((bytes(value) for value in column.to_pylist() if value), b"")
    except (pa.ArrowException, OSError):
        pass
    return b""


@dataclass(frozen=True)
class Groups:
    """The row groups of a file.

    Parameters
    ----------
    starts : tuple of int
        First row of each, and behind the last the number of rows.
    pieces : tuple of int
        Rows of each that are read together.
    """

    starts: tuple[int, ...]
    pieces: tuple[int, ...]


def plan_groups(metadata: Any, leaf: str) -> Groups:
    """Decide how many rows of each row group are read together, by how large the images are."""
    rows, pieces = [0], []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = (group.column(i) for i in range(group.num_columns))
        size = max(
            (c.total_uncompressed_size for c in columns if c.path_in_schema == leaf), default=0
        )
        count = max(group.num_rows, 1)
        rows.append(group.num_rows)
        pieces.append(count if size <= _WHOLE else max(1, count * _PIECE // size))
    return Groups(tuple(accumulate(rows)), tuple(pieces))


@dataclass
class _Stream:
    """A row group that is being gone through; ``position`` is the next piece."""

    pieces: Iterator[Any]
    position: int = 0


class RowGroupReader:
    """Reads single values of a binary column; safe in threads, opened again in each process.

    Parameters
    ----------
    blobs : sequence of Blob
        The files.
    groups : sequence of Groups
        Their row groups.
    leaf : str
        The column's path, ``image.bytes``.
    """

    def __init__(self, blobs: Sequence[Blob], groups: Sequence[Groups], leaf: str) -> None:
        self._blobs = tuple(blobs)
        self._groups = tuple(groups)
        self._leaf = leaf
        self._prepare()

    def __repr__(self) -> str:
        return f"<RowGroupReader {self._leaf} in {len(self._blobs)} files>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("_blobs", "_groups", "_leaf")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def _prepare(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._files: OrderedDict[int, Any] = OrderedDict()
        self._streams: OrderedDict[tuple[int, int], _Stream] = OrderedDict()
        self._kept: OrderedDict[tuple[int, int, int], Any] = OrderedDict()

    def read(self, file: int, row: int) -> bytes | None:
        """Return a value, None where it is null.

        Raises
        ------
        ImageError
            ``MISSING`` or ``UNREADABLE``, naming the file and the row group.
        """
        if self._process != os.getpid():  # a fork took files that are open elsewhere
            self._prepare()
        blob = self._blobs[file]
        blob.check()
        groups = self._groups[file]
        group = bisect_right(groups.starts, row) - 1
        inside = row - groups.starts[group]
        piece, at = divmod(inside, groups.pieces[group])
        try:
            with self._lock:
                values = self._piece(file, group, piece)
            value: bytes | None = values[at].as_py()
        except (pa.ArrowException, OSError, StopIteration, IndexError, SourceError) as error:
            if isinstance(error, ImageError):
                raise
            raise_if_exhausted(error)
            raise ImageError(
                RowStatus.UNREADABLE, f"{blob.name}, row group {group}, row {row}: {error}"
            ) from error
        return value

    def _piece(self, file: int, group: int, piece: int) -> Any:
        wanted = (file, group, piece)
        if wanted not in self._kept:
            stream = self._streams.pop((file, group), None)
            if stream is None or stream.position > piece:
                stream = _Stream(self._open_pieces(file, group))
            while stream.position <= piece:
                self._kept[file, group, stream.position] = next(stream.pieces)
                stream.position += 1
                self._forget()
            self._streams[file, group] = stream
            while len(self._streams) > _STREAMS:
                self._streams.popitem(last=False)
        self._kept.move_to_end(wanted)
        return self._kept[wanted]

    def _open_pieces(self, file: int, group: int) -> Iterator[Any]:
        opened = self._files.pop(file, None) or open_file(self._blobs[file])
        self._files[file] = opened
        while len(self._files) > _OPEN_FILES:
            # Streams that are under way keep theirs open until they are dropped.
            self._files.popitem(last=False)
        rows = self._groups[file].pieces[group]
        for batch in opened.iter_batches(
            rows, row_groups=[group], columns=[self._leaf], use_threads=False
        ):
            column = batch.column(0)
            while pa.types.is_struct(column.type):
                column = column.flatten()[0]
            yield column

    def _forget(self) -> None:
        while len(self._kept) > 1 and sum(v.nbytes for v in self._kept.values()) > _KEPT:
            self._kept.popitem(last=False)
