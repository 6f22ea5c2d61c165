"""Tables of images in text: CSV and its like, and JSON lines.

Their columns are ``path`` and, optionally, ``label``, ``split``, ``group`` and targets.
"""

import csv
import io
import itertools
import json
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from bottleneck.errors import BottleneckError, ManifestError, SourceError
from bottleneck.location import is_url
from bottleneck.manifest import Manifest
from bottleneck.sources.base import Listing, Source, not_used
from bottleneck.sources.columns import (
    Columns,
    TargetColumns,
    cell_text,
    find_columns,
    path_text,
    plain_paths,
)
from bottleneck.sources.layout import AS_FOUND, Choice
from bottleneck.sources.random_access import listing
from bottleneck.sources.remote import fetch
from bottleneck.sources.rules import fraction_of, label_of, name_of, unique_members
from bottleneck.sources.urls import labels_in_paths, located

_Row = tuple[int, list[Any]]
"""The number of its last line, and its cells."""


def open_csv(path: str, targets: Sequence[str] = (), choice: Choice = AS_FOUND) -> Source:
    """Read a table of images; paths are relative to the table's folder, or URLs.

    The first line names the columns. ``path`` must be there; ``label``, ``split`` and
    ``group`` may be, also called as other programs do; others are ignored. Rows keep the
    table's order.

    Parameters
    ----------
    path : str
        A CSV file in UTF-8, or its URL.
    targets : sequence of str
        Columns that are targets, see :class:`~bottleneck.sources.columns.TargetColumns`.
    choice : Choice
        Where paths and labels are to be looked for.

    Raises
    ------
    ManifestError
        For a missing column, an empty path, a line too short, an unknown split or a key twice.
    OptionError
        When a column that was asked for is not there.
    SourceError
        When the file cannot be read as UTF-8 text.
    """
    with _open_text(path) as stream:
        first = [line for line in (stream.readline(), stream.readline()) if line]
        separator = separator_of(first)
        reader = csv.reader(
            itertools.chain(first, stream), delimiter=separator, strict=True, skipinitialspace=True
        )
        try:
            header = [name.strip() for name in next(reader, [])]
            return _read(path, header, _csv_rows(path, reader, len(header), separator), targets,
                         choice)  # fmt: skip
        except csv.Error as error:
            raise ManifestError(
                f"{path}, line {reader.line_num}: not valid CSV: {error}"
            ) from error


def open_json_lines(path: str, targets: Sequence[str] = (), choice: Choice = AS_FOUND) -> Source:
    """Read a table of images whose every line is an object in JSON; see :func:`open_csv`.

    Raises
    ------
    ManifestError
        For a missing column or path, an unknown split or a key twice.
    OptionError
        When a column that was asked for is not there.
    SourceError
        When a line is no JSON object.
    """
    with _open_text(path) as stream:
        names = [*dict.fromkeys(name for _, row in _objects(path, stream) for name in row)]
        stream.seek(0)
        rows = ((line, [row.get(name) for name in names]) for line, row in _objects(path, stream))
        return _read(path, names, rows, targets, choice)


@contextmanager
def _open_text(path: str) -> Iterator[IO[str]]:
    try:
        with _stream(path) as stream:
            yield stream
    except BottleneckError:
        raise
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text: {error}", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error


def _stream(path: str) -> IO[str]:
    if not is_url(path):
        return Path(path).open(newline="", encoding="utf-8-sig")
    with listing():
        return io.TextIOWrapper(io.BytesIO(fetch(path)), newline="", encoding="utf-8-sig")


def separator_of(first: list[str]) -> str:
    """Return what separates the cells of the header and of the line below; a comma at a tie."""
    return max(",;\t|", key=lambda mark: min((line.count(mark) for line in first), default=0))


def _csv_rows(path: str, reader: Any, width: int, separator: str) -> Iterator[_Row]:
    for raw in reader:
        cells = [cell.strip() for cell in raw]
        if not any(cells):  # as spreadsheets leave behind the last row
            continue
        if any(cells[width:]):
            raise ManifestError(
                f"{path}, line {reader.line_num}: expected {width} cells as the first line has, "
                f"got {len(cells)}: {raw!r}",
                hint=f"Put texts that hold {separator!r} in double quotes.",
            )
        yield reader.line_num, cells


def _objects(path: str, stream: IO[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(stream, 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text, object_pairs_hook=unique_members)
        except ValueError as error:
            raise SourceError(
                f"{path}, line {line}: expected an object in JSON, got {text[:40]!r}: {error}",
                hint='A line per image: {"path": "cat/1.jpg", "label": "cat"}',
            ) from error
        if not isinstance(value, dict):
            raise SourceError(
                f"{path}, line {line}: expected an object in JSON, got {text.strip()[:40]!r}",
                hint='A line per image: {"path": "cat/1.jpg", "label": "cat"}',
            )
        yield line, value


def _read(
    path: str, names: Sequence[str], rows: Iterator[_Row], targets: Sequence[str], choice: Choice
) -> Source:
    """Make a source of a table's rows."""
    asked = TargetColumns(targets, names, path)
    columns = find_columns(names, path, choice, targets=asked.names)
    if not columns.path:
        raise ManifestError(
            f"{path}: expected a column named 'path', got {', '.join(names) or 'an empty file'}",
            hint=_header_hint(names),
        )
    paths: list[str] = []
    texts = _Texts(names, columns)
    place = names.index(columns.path)
    places = [names.index(name) for name in asked.names]
    widest = max([place, *texts.places, *places])
    for line, cells in rows:
        where = f"{path}, line {line}"
        key = path_text(cells[place], where) if len(cells) > widest else ""
        if not key:
            raise ManifestError(
                f"{where}: expected a path and {widest + 1} cells or more, got {cells!r}",
                hint=f"Every image has a line with all cells up to {names[widest]!r}, of which "
                "only the path may not be empty.",
            )
        paths.append(key)
        texts.append(cells, where)
        for column, position in enumerate(places):
            asked.append(column, cell_text(cells[position], where))
    if not paths:
        raise ManifestError(f"expected a line per image in {path}, found only the header")
    base = posixpath.dirname(path)
    keys, note = plain_paths(paths, base, path)
    labels = texts.labels
    classes = None if choice.label_column or choice.label_from == "none" else labels
    if classes is not None and (fraction := fraction_of(classes)):
        if columns.label not in asked.names:
            raise ManifestError(
                f"{path}: expected classes in the column {columns.label!r}, got numbers with "
                f"fractions, as {fraction}",
                hint=f"Numbers to predict: --target {columns.label}. If each of them is a class: "
                f"--label-column {columns.label}.",
            )
        labels = None
    try:
        if choice.from_path:
            labels = labels_in_paths(keys, path, choice)
        manifest = Manifest.build(keys, labels, texts.splits, texts.groups)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error.message}", hint=error.hint) from error
    manifest = replace(manifest, targets=asked.finish())
    used = {columns.path, columns.label, columns.split, columns.group, *asked.names}
    unused = not_used("columns", (one for one in names if one.strip() and one not in used))
    notes = (*columns.notes, *([note] if note else []), *unused)
    return located(path, base, manifest, Listing(notes=notes), rules=choice.rules)


class _Texts:
    """The labels, splits and groups of a table, one string per name and not one per row."""

    def __init__(self, names: Sequence[str], columns: Columns) -> None:
        self._known: dict[str, str] = {}
        self._label = columns.label
        self._columns = [
            (names.index(name), name, list[str]())
            for name in (columns.label, columns.split, columns.group)
            if name
        ]
        found = {name: texts for _, name, texts in self._columns}
        self.labels: Iterable[str | None] | None = found.get(columns.label)
        self.splits, self.groups = found.get(columns.split), found.get(columns.group)
        self.places = [place for place, _, _ in self._columns]

    def append(self, cells: Sequence[Any], where: str) -> None:
        """Take up a row."""
        for place, name, texts in self._columns:
            reads = label_of if name == self._label else name_of
            text = reads(cells[place], f"{where}, column {name!r}") or ""
            texts.append(self._known.setdefault(text, text))


_MEANT = {
    "path": ("file", "url", "name", "image_url", "id", "image_id", "uri", "key"),
    "label": ("y", "diagnosis", "species", "breed"),
}
"""Columns of other programs that may be meant, and may be something else."""


def _header_hint(names: Sequence[str]) -> str:
    """Say what to change in a header without a path."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(mark in one for one in names):
            return f"The cells seem to be separated by {name}: save the table with commas."
    if len(names) == 1 and posixpath.splitext(names[0])[1]:
        return "It looks like a list of files without a header: write the line `path` above it."
    meant = [
        (one, ours)
        for one in names
        for ours, theirs in _MEANT.items()
        if one.strip().lower() in theirs
    ]
    rule = "The first line names the columns: path, and optionally label, split, group."
    if not meant:
        return f"{rule} Or name the column of paths: --path-column NAME."
    renames = ", ".join(f"{one} to {ours}" for one, ours in meant)
    options = " ".join(f"--{ours}-column {one!r}" for one, ours in meant)
    return f"{rule} Rename {renames}. Or say {options}."
