"""NaN and infinity are refused before anything is fitted, wherever the rows are held."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottleneck.errors import HeadError
from bottleneck.heads.rows import BLOCK_ROWS, FloatArray, Rows, block_rows
from bottleneck.heads.solver.row_pass import passes


def require_finite(rows: Rows, keys: Sequence[str] | None = None) -> None:
    """Refuse NaN and infinity, naming the first row.

    Raises
    ------
    HeadError
        With the row's key, or its number when there are no keys.
    """
    row = _first_broken(rows)
    if row is not None:
        name = f"row {row}" if keys is None else f"row {row} ({keys[row]!r})"
        raise HeadError(
            f"expected finite features, got NaN or infinity in {name}",
            hint="Run `bottleneck verify --fix` on the feature file, then extract again; rows of "
            "other programs' files are left out with --exclude TABLE.csv.",
        )


def _first_broken(rows: Rows) -> int | None:
    if rows.layout is not None and rows.layout.workers is not None:
        with passes(rows) as run:
            return run.ask(_Broken()).first
    scratch: dict[str, FloatArray] = {}
    n, step = rows.shape[0], block_rows(rows.shape[1])
    for start in range(0, n, step):
        found = _broken_in(rows.read(start, min(start + step, n), scratch))
        if found is not None:
            return start + found
    return None


def _broken_in(block: FloatArray) -> int | None:
    """Return the first row of a block that is not finite."""
    # A sum is finite unless a term is not (or it overflows: then the terms decide).
    if np.isfinite(block.sum(dtype=np.float64)):
        return None
    good = np.isfinite(block).all(axis=1)
    return None if good.all() else int(good.argmin())


@dataclass
class _Seen:
    """Rows that were looked at, and the first of them that is not finite."""

    rows: int = 0
    first: int | None = None


@dataclass(frozen=True)
class _Broken:
    """Asks for the first row that is not finite."""

    block_rows: int | None = BLOCK_ROWS
    parts: int = 1

    def new(self) -> _Seen:
        return _Seen()

    def visit(
        self, total: _Seen, data: None, here: slice, block: FloatArray, scratch: object
    ) -> None:
        self.merge(total, _Seen(len(block), _broken_in(block)))

    def merge(self, total: _Seen, other: _Seen) -> _Seen:
        if total.first is None and other.first is not None:
            total.first = total.rows + other.first
        total.rows += other.rows
        return total
