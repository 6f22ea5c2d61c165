"""Tables of corrected labels, as the page of a comparison exports them.

The columns are ``path`` and ``label`` (empty: the image has no label any more). ``was`` may say
which label the correction is of, so that one which was made of other labels is found out.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError
from bottleneck.location import readable
from bottleneck.manifest import UNLABELLED, Manifest
from bottleneck.sources.layout import Choice
from bottleneck.sources.opening import open_source

_SHOWN_KEYS = 3
_WAS = "was"


@dataclass(frozen=True, eq=False)
class Corrections:
    """What a table says of the images of a file.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Row of each image in the file.
    labels : list of str or None, length n
        Its label now, None for none; empty where the table has no labels.
    before : list of str or None, length n
        Its label in the file.
    """

    rows: NDArray[np.int64]
    labels: list[str | None]
    before: list[str | None]

    def doubted(self) -> NDArray[np.int64]:
        """Return the rows to leave out: whose label it changes, or all where it has no labels."""
        if not self.labels:
            return self.rows
        pairs = zip(self.labels, self.before, strict=True)
        changed = np.array([new != old for new, old in pairs], np.bool_)
        return self.rows[np.flatnonzero(changed)]


def label_names(manifest: Manifest) -> list[str | None]:
    """Return the name of every row's class, None for rows without a label."""
    codes = manifest.labels.tolist()
    return [None if code == UNLABELLED else manifest.classes[code] for code in codes]


def read_corrections(table: str, manifest: Manifest, file: str, *, labels: bool) -> Corrections:
    """Read a table of images of a file.

    Parameters
    ----------
    table : str
        The path of a CSV, JSON lines or Parquet table.
    manifest : Manifest
        The images of the file.
    file : str
        Its path, for messages.
    labels : bool
        Whether the column ``label`` has to be there.

    Raises
    ------
    ManifestError
        When the table names an image that the file does not have, says more than labels, or
        corrects labels that the file does not have.
    """
    # Named, the column has to be there: without it every correction would take a label away.
    columns = _columns(table)
    labelled = labels or "label" in columns
    fixes = open_source([table], choice=Choice(label_column="label" if labelled else None)).manifest
    if fixes.splits.any() or len(fixes.group_names):
        raise ManifestError(
            f"{table}: expected the columns path and label, got splits or groups too",
            hint="Labels only are corrected: leave those columns out.",
        )
    rows = _rows_of(manifest, fixes, table, file)
    codes = manifest.labels[rows].tolist()
    before = [None if code == UNLABELLED else manifest.classes[code] for code in codes]
    if _WAS in columns:
        _require_before(table, file, fixes, before)
    return Corrections(rows, label_names(fixes) if labelled else [], before)


def excluded_rows(tables: Sequence[str], manifest: Manifest, file: str) -> NDArray[np.bool_]:
    """Mark the rows that tables take out of training and judgement, shape (rows,).

    Of a table with labels those whose label it changes, of another one all it names.

    Raises
    ------
    ManifestError
        As :func:`read_corrections`.
    """
    mask = np.zeros(len(manifest), np.bool_)
    for table in tables:
        mask[read_corrections(table, manifest, file, labels=False).doubted()] = True
    return mask


def _columns(table: str) -> list[str]:
    """Return the names of the columns of a CSV table; of others those that are needed."""
    if not table.lower().endswith(".csv"):
        return ["path", "label"]
    try:
        with Path(table).open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            return next(csv.reader(stream), [])
    except OSError:
        return []  # opening it as a source says what is wrong


def _rows_of(ours: Manifest, fixes: Manifest, table: str, file: str) -> NDArray[np.int64]:
    keys = [*fixes.keys]
    places = {key: row for row, key in enumerate(ours.keys)}
    # A page shows bytes that are no text as \xff, and so they come back.
    shown = {readable(key): row for key, row in places.items() if not key.isascii()}
    found = [places.get(key, shown.get(key, -1)) for key in keys]
    unknown = [key for key, row in zip(keys, found, strict=True) if row < 0]
    if unknown:
        first = ", ".join(map(repr, unknown[:_SHOWN_KEYS]))
        raise ManifestError(
            f"{table} names {len(unknown)} images that {file} does not have: {first}"
            f"{', ...' if len(unknown) > _SHOWN_KEYS else ''}",
            hint=f"Keys are written as in the file: {ours.keys[0]!r}.",
        )
    return np.array(found, np.int64)


def _require_before(table: str, file: str, fixes: Manifest, before: list[str | None]) -> None:
    was = open_source([table], choice=Choice(label_column=_WAS)).manifest
    other = [
        (key, said, now)
        for key, said, now in zip(fixes.keys, label_names(was), before, strict=True)
        if said != now
    ]
    if other:
        key, said, now = other[0]
        raise ManifestError(
            f"{table} corrects labels that {file} does not have: {key!r} was {said!r} when it was "
            f"corrected, and is {now!r} there ({len(other)} such)",
            hint="Apply corrections to the file they were made of, or take the column "
            f"{_WAS!r} out of the table.",
        )
