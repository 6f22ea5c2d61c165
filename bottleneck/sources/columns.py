"""Which columns of a table name the images, their classes, splits, groups and targets.

Columns of a table as targets: numbers, flags, or lists of labels.

What a column is follows from its cells. All numbers: a target to predict. Only 0 and 1 (or true
and false): a label that holds or does not. Otherwise text: every cell is a list of labels.
"""

import math
import os
import posixpath
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError, OptionError
from bottleneck.location import is_url
from bottleneck.sources.layout import Choice
from bottleneck.sources.rules import label_of
from bottleneck.targets import MISSING, Targets, collect

_PATHS = (
    *("path", "file_name", "filename", "filepath", "file_path", "image_path", "image_name"),
    *("image", "img", "audio_path", "audio", "song", "track"),
)
LABELS = ("label", "labels", "class", "class_name", "category", "target", "fine_label")
"""How programs call the columns, in any case: the first that is there counts."""

_DRIVE = re.compile(r"[A-Za-z]:[/\\]|\\\\")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what, by their names; empty for none.

    Parameters
    ----------
    path, label, split, group : str
        Names as the table has them.
    path_note, label_note : str
        What to tell where a column was taken that is not called so; else empty.
    """

    path: str
    label: str
    split: str
    group: str
    path_note: str = ""
    label_note: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken for something without being called so."""
        return tuple(filter(None, (self.path_note, self.label_note)))


def find_columns(
    names: Sequence[str],
    where: str,
    choice: Choice,
    *,
    targets: Sequence[str] = (),
    also_labels: Sequence[str] = (),
) -> Columns:
    """Find the columns of a table by what they are called, or by what was said.

    Parameters
    ----------
    names : sequence of str
        The columns.
    where : str
        The table, for messages.
    choice : Choice
        Which column names the images, and which their classes, where that was said.
    targets : sequence of str
        Columns that are targets, so that only what is called ``label`` is the class as well.
    also_labels : sequence of str
        More columns that may be the class.

    Raises
    ------
    OptionError
        When a column that was said is not there.
    ManifestError
        When a column that counts appears twice.
    """
    cleaned = [name.strip().lower() for name in names]

    def find(wanted: Sequence[str], taken: str) -> list[str]:
        return [
            names[cleaned.index(one)]
            for one in wanted
            if one in cleaned and names[cleaned.index(one)] != taken
        ]

    paths = find(_PATHS, "")
    path = _chosen(choice.path_column, names, where, "--path-column") or next(iter(paths), "")
    labels = [
        name
        for name in dict.fromkeys([*find(LABELS, path), *also_labels])
        if name != path and (name.strip().lower() == "label" or name not in targets)
    ]
    label = _chosen(choice.label_column, names, where, "--label-column")
    if label and label == path:
        raise OptionError(
            f"{where}: expected paths and labels in different columns, got {path!r} for both"
        )
    path_note = label_note = ""
    if not choice.path_column and path and path.strip().lower() != "path":
        path_note = f"the images are named by the column {path!r}{_others(paths[1:], 'path')}"
    if choice.decides:
        label = ""
    elif not label and labels:
        label = labels[0]
        if label.strip().lower() != "label" or labels[1:]:
            label_note = f"the class is the column {label!r}{_others(labels[1:], 'label')}"
    split, group = (next(iter(find([one], path)), "") for one in ("split", "group"))
    found = Columns(path, label, split, group, path_note, label_note)
    for name in (found.path, found.label, found.split, found.group):
        if name and cleaned.count(name.strip().lower()) > 1:
            raise ManifestError(
                f"{where}: the column {name.strip()!r} appears twice", hint="Rename one of them."
            )
    return found


def _chosen(wanted: str | None, names: Sequence[str], where: str, option: str) -> str:
    if not wanted:
        return ""
    found = [name for name in names if name.strip() == wanted.strip()] or [
        name for name in names if name.strip().lower() == wanted.strip().lower()
    ]
    if not found:
        raise OptionError(
            f"{where} has no column {wanted!r} for {option}", hint=f"It has: {', '.join(names)}"
        )
    return found[0]


def _others(names: Sequence[str], what: str) -> str:
    return f" (not {', '.join(names)}: --{what}-column names another)" if names else ""


def path_text(value: object, where: str) -> str:
    """Return the path that a cell holds, empty for none.

    Raises
    ------
    ManifestError
        When it holds something else.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ManifestError(
        f"{where}: expected a path, got {type(value).__name__} {value!r}",
        hint="Save the column as texts.",
    )


def plain_paths(paths: Sequence[str], base: str, where: str) -> tuple[Sequence[str], str]:
    r"""Return paths without what they can do without, and a note of what was changed.

    ``./a//b`` is ``a/b``. Backslashes separate folders where no file is called so: ``img\1.png``
    is ``img/1.png``.

    Parameters
    ----------
    paths : sequence of str
        As the table has them.
    base : str
        The folder that they are relative to.
    where : str
        The table, for messages.

    Raises
    ------
    ManifestError
        For a path on a drive of Windows, which is nowhere here.
    """
    drive = next((path for path in (*paths[:1], _backslashed(paths)) if _DRIVE.match(path)), "")
    if drive and not _is_here(base, drive):
        raise ManifestError(
            f"{where}: expected paths that exist here, got {drive!r}, which is on another machine",
            hint="Write paths relative to the table, with / between the folders.",
        )
    first = _backslashed(paths)
    convert = bool(first) and not _is_here(base, first)
    if not convert and not any("./" in path or "//" in path for path in paths):
        return paths, ""
    plain = []
    for path in paths:
        text = path.replace("\\", "/") if convert and not is_url(path) else path
        untidy = ("./" in text or "//" in text) and not is_url(text)
        plain.append(PurePosixPath(text).as_posix() if untidy else text)
    return plain, "backslashes in paths are read as /" if convert else ""


def _backslashed(paths: Sequence[str]) -> str:
    return next((path for path in paths if "\\" in path and not is_url(path)), "")


def _is_here(base: str, path: str) -> bool:
    return not is_url(base) and os.path.lexists(posixpath.join(base, path))


SEPARATORS = "|;,"
"""What separates the labels of a list: the first of these that occurs in the column."""

ITEM = "\x1f"
"""Separates the items of lists that come as lists, as in Parquet; an empty list is one of it."""

_NO_VALUE = frozenset({"", "nan", "na", "n/a", "null", "none"})
_TRUTH = {"true": 1, "false": 0}
_MOST_LABELS = 10_000


class TargetColumns:
    """The cells of the columns that targets are made of, taken up row by row.

    Parameters
    ----------
    wanted : sequence of str
        Names of columns; ``tags= `` says that a column holds lists whose labels are separated
        by what is behind the ``=``, here blanks.
    names : sequence of str
        All columns of the table.
    where : str
        The table, for messages.

    Raises
    ------
    OptionError
        For a column that is not there, or is named twice.
    """

    def __init__(self, wanted: Sequence[str], names: Sequence[str], where: str) -> None:
        self._where = where
        chosen = [_choose(text, names, where) for text in wanted]
        self.names = tuple(name for name, _ in chosen)
        if len(set(self.names)) < len(self.names):
            raise OptionError(f"expected different columns, got --target {', '.join(wanted)}")
        self._separators = [separator for _, separator in chosen]
        self._cells = [array("q") for _ in chosen]
        # A column repeats its values, or is of numbers: each text is kept once.
        self._texts: list[dict[str, int]] = [{} for _ in chosen]

    def append(self, column: int, cell: str) -> None:
        """Take up the next cell of a column."""
        texts = self._texts[column]
        self._cells[column].append(texts.setdefault(cell, len(texts)))

    def finish(self) -> Targets:
        """Make targets of all cells.

        Raises
        ------
        ManifestError
            For a column of which there is no telling what it is; names a cell.
        """
        columns: list[tuple[str, NDArray[Any]]] = []
        rows = 0
        for name, separator, cells, texts in zip(
            self.names, self._separators, self._cells, self._texts, strict=True
        ):
            codes = np.frombuffer(cells, np.int64)
            rows = len(codes)
            columns += [
                (column, values[codes]) for column, values in self._read(name, separator, [*texts])
            ]
        names = [name for name, _ in columns]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ManifestError(f"{self._where}: two targets would have the name {twice!r}")
        return collect(columns, rows)

    def _read(
        self, name: str, separator: str | None, texts: list[str]
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield names and values (one per distinct text) of the columns one column becomes."""
        where = f"{self._where}, column {name!r}"
        if separator is None and not any(ITEM in text for text in texts):
            plain = [text.strip().lower() for text in texts]
            numbers = [math.nan if text in _NO_VALUE else _number(text) for text in plain]
            present = [
                (text, number)
                for text, low, number in zip(texts, plain, numbers, strict=True)
                if low not in _NO_VALUE
            ]
            if not present:
                raise ManifestError(f"{where}: expected values, found none")
            odd = [text for text, number in present if number is None]
            if not odd:
                yield name, _as_numbers([math.nan if n is None else n for n in numbers], where)
                return
            if all(text.strip().lower() in _TRUTH for text, _ in present):
                flags = [_TRUTH.get(text, MISSING) for text in plain]
                yield name, np.array(flags, np.uint8)
                return
            if len(odd) < len(present):
                raise ManifestError(
                    f"{where}: expected a number in every cell, as {_first_number(present)!r}, "
                    f"got {odd[0]!r}",
                    hint="Leave cells without a value empty. A list of labels needs its "
                    f"separator: --target '{name}=,'",
                )
            separator = next((one for one in SEPARATORS if any(one in t for t in texts)), "")
            if any(_number(label) is not None for t in texts for label in _labels(t, separator)):
                raise ManifestError(
                    f"{where}: cannot tell whether {odd[0]!r} is a number or a list of labels",
                    hint="Write numbers with a decimal point, or name the separator of the "
                    f"list: --target '{name}={separator or ';'}'",
                )
        yield from _as_flags(name, texts, ITEM if separator is None else separator, where)


def cell_text(
    value: object,
    where: str,
    name: Callable[[object, str], str] = lambda v, w: label_of(v, w) or "",
) -> str:
    """Write a value as a CSV table has it; a list with :data:`ITEM` behind every item.

    Parameters
    ----------
    value : object
        As it was read.
    where : str
        What holds it, for messages.
    name : callable
        Returns the label that an item of a list is, empty for none.

    Raises
    ------
    ManifestError
        For what is neither a number, a flag, a text nor a list.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        items = (name(item, where) for item in value if item is not None)
        return ITEM + "".join(f"{item}{ITEM}" for item in items)
    if isinstance(value, float):
        return repr(value)
    if value is None or isinstance(value, bool | int | Decimal):
        return "" if value is None else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise ManifestError(
        f"{where}: expected a number, a flag or labels, got {type(value).__name__} {value!r}",
        hint="Save the column as numbers, texts or lists of texts.",
    )


def _choose(text: str, names: Sequence[str], where: str) -> tuple[str, str | None]:
    """Split what was asked for into a column's name and the separator, if one was given."""
    name, equals, separator = text.rpartition("=")
    if text in names or not equals:
        name, equals = text, ""
    if name not in names:
        raise OptionError(
            f"{where} has no column {name!r} for --target", hint=f"It has: {', '.join(names)}"
        )
    if equals and not separator:
        raise OptionError(
            f"expected a separator behind {name}=, got none", hint=f"For example '{name}=;'"
        )
    return name, separator if equals else None


def _number(text: str) -> float | None:
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


def _first_number(present: Sequence[tuple[str, float | None]]) -> str:
    return next(text for text, number in present if number is not None)


def _as_numbers(values: Sequence[float], where: str) -> NDArray[Any]:
    found = np.array(values, np.float64)
    if np.isinf(found).any():
        raise ManifestError(f"{where}: expected finite numbers, got an infinite one")
    known = found[~np.isnan(found)]
    if np.isin(known, (0, 1)).all():
        return np.where(np.isnan(found), MISSING, found).astype(np.uint8)
    return found


def _labels(text: str, separator: str) -> list[str]:
    parts = text.split(separator) if separator else [text]
    return [part.strip() for part in parts if part.strip()]


def _as_flags(
    name: str, texts: Sequence[str], separator: str, where: str
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield a flag for every label; a cell that is empty says nothing of any of them."""
    lists = [_labels(text, separator) for text in texts]
    labels = sorted({label for found in lists for label in found})
    if not labels:
        raise ManifestError(f"{where}: expected lists of labels, found none")
    if len(labels) > _MOST_LABELS:
        raise ManifestError(
            f"{where}: expected at most {_MOST_LABELS} labels, got {len(labels)}",
            hint="Is it a column of texts?",
        )
    flags = np.zeros((len(labels), len(texts)), np.uint8)
    position = {label: i for i, label in enumerate(labels)}
    for i, (text, found) in enumerate(zip(texts, lists, strict=True)):
        if not text.strip(" \t"):
            flags[:, i] = MISSING
        for label in found:
            flags[position[label], i] = 1
    for label, row in zip(labels, flags, strict=True):
        yield f"{name}/{label}", row
