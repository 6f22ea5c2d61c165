"""Which columns of a table name the images, their classes, splits and groups: for every table."""

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from bottleneck.errors import ManifestError, OptionError
from bottleneck.location import is_url
from bottleneck.sources.choice import Choice

_PATHS = (
    *("path", "file_name", "filename", "filepath", "file_path", "image_path", "image_name"),
    *("image", "img"),
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
