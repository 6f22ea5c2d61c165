"""A CSV table of images: ``path`` and, optionally, ``label``, ``split``, ``group`` and targets."""

import csv
import io
import itertools
import posixpath
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from bottleneck.errors import ManifestError, SourceError
from bottleneck.location import is_url
from bottleneck.manifest import Manifest
from bottleneck.sources.base import Source
from bottleneck.sources.blob import listing
from bottleneck.sources.remote import fetch
from bottleneck.sources.rules import label_of
from bottleneck.sources.target_columns import TargetColumns
from bottleneck.sources.urls import located

_COLUMNS = ("path", "label", "split", "group")


def open_csv(path: str, targets: Sequence[str] = ()) -> Source:
    """Read a table of images; paths are relative to the table's folder, or URLs.

    The first line names the columns. ``path`` must be there; ``label``, ``split`` and
    ``group`` may be; others are ignored. Rows keep the table's order.

    Parameters
    ----------
    path : str
        A CSV file in UTF-8, or its URL.
    targets : sequence of str
        Columns that are targets, see :class:`~bottleneck.sources.target_columns.TargetColumns`.

    Raises
    ------
    ManifestError
        For a missing column, an empty path, a line too short, an unknown split or a key twice.
    SourceError
        When the file cannot be read as UTF-8 text.
    """
    columns: dict[str, list[str]] = {}
    try:
        with _open_text(path) as stream:
            first = [line for line in (stream.readline(), stream.readline()) if line]
            lines = itertools.chain(first, stream)
            separator = _separator(first)
            reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
            header = next(reader, [])
            where = _header(path, header)
            columns = {name: [] for name in where}
            known: dict[str, str] = {}  # one string per name, not one per row
            titles = [name.strip() for name in header]
            asked = TargetColumns(targets, titles, path)
            places = [titles.index(name) for name in asked.names]
            widest = max(*where.values(), *places, 0)
            for raw in reader:
                cells = [cell.strip() for cell in raw]
                if not cells:
                    continue
                if any(cells[len(titles) :]):
                    raise ManifestError(
                        f"{path}, line {reader.line_num}: expected {len(titles)} cells as the "
                        f"first line has, got {len(cells)}: {raw!r}",
                        hint=f"Put texts that hold {separator!r} in double quotes.",
                    )
                if len(cells) <= widest or not cells[where["path"]]:
                    raise ManifestError(
                        f"{path}, line {reader.line_num}: expected a path and {widest + 1} cells "
                        f"or more, got {cells!r}"
                    )
                for name, position in where.items():
                    cell = cells[position]
                    columns[name].append(
                        _plain(cell) if name == "path" else known.setdefault(cell, cell)
                    )
                for column, position in enumerate(places):
                    asked.append(column, cells[position])
    except csv.Error as error:
        raise ManifestError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text: {error}", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    if not columns["path"]:
        raise ManifestError(f"expected a line per image in {path}, found only the header")
    try:
        manifest = Manifest.build(
            columns["path"],
            (label_of(cell, f"{path}, column 'label'") for cell in columns["label"])
            if "label" in columns
            else None,
            columns.get("split"),
            columns.get("group"),
        )
    except ManifestError as error:
        raise ManifestError(f"{path}: {error.message}", hint=error.hint) from error
    manifest = replace(manifest, targets=asked.finish())
    return located(path, posixpath.dirname(path), manifest)


def _open_text(path: str) -> IO[str]:
    if not is_url(path):
        return Path(path).open(newline="", encoding="utf-8-sig")
    with listing():
        return io.TextIOWrapper(io.BytesIO(fetch(path)), newline="", encoding="utf-8-sig")


def _separator(first: list[str]) -> str:
    """Return what separates the cells of the header and of the line below; a comma at a tie."""
    return max(",;\t|", key=lambda mark: min((line.count(mark) for line in first), default=0))


def _plain(path: str) -> str:
    """Drop what a path does without: ``./a//b`` is ``a/b``."""
    if is_url(path) or not ("./" in path or "//" in path):
        return path
    return PurePosixPath(path).as_posix()


def _header(path: str, names: list[str]) -> dict[str, int]:
    cleaned = [name.strip().lower() for name in names]
    for name in _COLUMNS:
        if cleaned.count(name) > 1:
            raise ManifestError(f"{path}: the column {name!r} appears twice")
    if "path" not in cleaned:
        raise ManifestError(
            f"{path}: expected a column named 'path', got {', '.join(names) or 'an empty file'}",
            hint=_header_hint(names),
        )
    return {name: cleaned.index(name) for name in _COLUMNS if name in cleaned}


_MEANT = {
    "path": (
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "img",
        "url",
        "name",
    ),
    "label": ("class", "category", "target", "y"),
}
"""How other programs call the columns."""


def _header_hint(names: list[str]) -> str:
    """Say what to change in a header without a path."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(mark in one for one in names):
            return f"The cells seem to be separated by {name}: save the table with commas."
    renames = [
        f"{one.strip()} to {ours}"
        for one in names
        for ours, theirs in _MEANT.items()
        if one.strip().lower() in theirs
    ]
    rule = "The first line names the columns: path, and optionally label, split, group."
    return f"{rule} Rename {', '.join(renames)}." if renames else rule
