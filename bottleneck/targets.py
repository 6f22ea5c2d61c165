"""Targets beside the class label: numbers to predict, and labels of which several may hold.

A target is a column over the manifest's rows. Columns of numbers and of flags (0 or 1) are kept
apart, because a flag takes one byte. The labels of one list, of which any may hold, are flags
with a common beginning: ``tags/cat``, ``tags/dog``.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError
from bottleneck.fingerprint import canonical_json, fingerprint_parts

MISSING = 255
"""What stands for a flag that is not known; a number that is not known is NaN."""


OWN_COLUMNS = frozenset(
    ("key", "path", "label", "split", "group", "probability", "error", "features")
)
"""Columns that tables of features and of predictions have anyway."""


@dataclass(frozen=True, eq=False, repr=False)
class Targets:
    """Columns of targets, row by row as the manifest.

    Parameters
    ----------
    number_names, flag_names : tuple of str
        All different.
    numbers : ndarray of float64, shape (len(number_names), n)
        NaN where there is no value.
    flags : ndarray of uint8, shape (len(flag_names), n)
        0, 1, or :data:`MISSING`.
    """

    number_names: tuple[str, ...] = ()
    flag_names: tuple[str, ...] = ()
    numbers: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    flags: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))

    def __repr__(self) -> str:
        return f"<Targets {len(self.number_names)} numbers, {len(self.flag_names)} flags>"

    def __bool__(self) -> bool:
        return bool(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, numbers first."""
        return self.number_names + self.flag_names

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of everything in it, 64 hex digits; empty where there are no targets."""
        if not self:
            return ""
        arrays = (self.numbers.astype("<f8"), self.flags)
        parts: list[bytes | memoryview] = [np.ascontiguousarray(a).tobytes() for a in arrays]
        parts.append(canonical_json([self.number_names, self.flag_names]).encode())
        return fingerprint_parts(parts)

    def find(self, wanted: Sequence[str], where: str) -> tuple[str, ...]:
        """Return the columns that names stand for: a column, or all labels of a list.

        Parameters
        ----------
        wanted : sequence of str
            ``price``; ``tags`` for ``tags/cat`` and ``tags/dog``.
        where : str
            What has these targets, for messages.

        Raises
        ------
        OptionError
            For a name that stands for none, or a column named twice.
        """
        found: list[str] = []
        for name in wanted:
            columns = [one for one in self.names if one.startswith(f"{name}/")]
            columns = [name] if name in self.names else columns
            if not columns:
                known = list(dict.fromkeys([one.partition("/")[0] for one in self.names]))
                near = difflib.get_close_matches(name, known) or known
                raise OptionError(
                    f"{where} has no target {name!r}",
                    hint=f"It has: {', '.join(near)}."
                    if self
                    else "Name the table's columns when features are extracted: --target COLUMN.",
                )
            found += columns
        if len(set(found)) < len(found):
            raise OptionError(f"expected different targets, got {', '.join(wanted)}")
        return tuple(found)

    def columns(self, names: Sequence[str]) -> NDArray[Any]:
        """Return some columns side by side.

        A label of a list that this table never names holds in none of its rows.

        Returns
        -------
        ndarray of shape (n, len(names))
            uint8 where all are flags, else float64; what is missing is :data:`MISSING` or NaN.

        Raises
        ------
        OptionError
            For a name that is neither here nor one of a list that is.
        """
        self.find([name for name in names if not self.siblings(name)], "this list of images")
        found = [self._column(name) for name in names]
        if any(column.dtype != np.uint8 for column in found):
            found = [_as_number(column) for column in found]
        return np.stack(found, axis=1)

    def _column(self, name: str) -> NDArray[Any]:
        if name in self.number_names:
            numbers: NDArray[np.float64] = self.numbers[self.number_names.index(name)]
            return numbers
        if name in self.flag_names:
            flags: NDArray[np.uint8] = self.flags[self.flag_names.index(name)]
            return flags
        return self._absent(name, self.flags.shape[1])

    def _absent(self, name: str, n: int) -> NDArray[np.uint8]:
        """Return the values of a column that is not here, for n rows."""
        siblings = self.siblings(name)
        if not siblings:
            return np.full(n, MISSING, np.uint8)
        return np.where(self._column(siblings[0]) == MISSING, MISSING, 0).astype(np.uint8)

    def siblings(self, name: str) -> list[str]:
        """Return the labels that are here of the list that a label belongs to."""
        prefix, slash, _ = name.partition("/")
        return [one for one in self.flag_names if slash and one.startswith(f"{prefix}/")]

    def take(self, rows: NDArray[np.int64]) -> "Targets":
        """Return the targets of some rows, in the order given."""
        if not self:
            return self
        return Targets(
            self.number_names, self.flag_names, self.numbers[:, rows], self.flags[:, rows]
        )


def column_names(targets: Iterable[str]) -> list[str]:
    """Name targets as columns of a table beside :data:`OWN_COLUMNS`: ``target/label``."""
    return [f"target/{name}" if name in OWN_COLUMNS else name for name in targets]


def missing_rows(columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which rows of :meth:`Targets.columns` lack a value in any column, shape (n,)."""
    lacking = columns == MISSING if columns.dtype == np.uint8 else np.isnan(columns)
    rows: NDArray[np.bool_] = lacking.any(axis=1)
    return rows


def collect(columns: Iterable[tuple[str, NDArray[Any]]], n: int) -> Targets:
    """Make targets of named columns: uint8 arrays are flags, float64 arrays numbers.

    Parameters
    ----------
    columns : iterable of (str, ndarray of shape (n,))
        Names must differ.
    n : int
        Rows.
    """
    listed = list(columns)
    numbers = {name: values for name, values in listed if values.dtype != np.uint8}
    flags = {name: values for name, values in listed if values.dtype == np.uint8}
    return Targets(
        tuple(numbers),
        tuple(flags),
        np.stack([*numbers.values()]) if numbers else np.zeros((0, n)),
        np.stack([*flags.values()]) if flags else np.zeros((0, n), np.uint8),
    )


def join(parts: Sequence[Targets], lengths: Sequence[int]) -> Targets:
    """Put targets behind one another; a part without a column has no values there.

    A label of a list that a part never names holds in none of its rows. A column of flags in one
    part and of numbers in another is numbers.
    """
    names = list(dict.fromkeys(name for part in parts for name in part.names))
    numeric = {name for part in parts for name in part.number_names}
    joined: list[tuple[str, NDArray[Any]]] = []
    for name in names:
        pieces: list[NDArray[Any]] = []
        for part, n in zip(parts, lengths, strict=True):
            piece = part._column(name) if name in part.names else part._absent(name, n)
            pieces.append(_as_number(piece) if name in numeric else piece)
        joined.append((name, np.concatenate(pieces)))
    return collect(joined, sum(lengths))


def _as_number(column: NDArray[Any]) -> NDArray[np.float64]:
    if column.dtype != np.uint8:
        return column
    return np.where(column == MISSING, np.nan, column)
