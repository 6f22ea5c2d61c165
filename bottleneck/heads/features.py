"""Feature matrices as heads take them: float32, finite, of the right length, in blocks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError
from bottleneck.heads.rows import ROWS, ArrayRows, FloatArray, Rows

BLOCK_ROWS = 4096
"""Rows looked at or predicted at once: 20 MiB of 1280 float32 features."""


def as_float32(X: Any) -> NDArray[np.float32]:
    """Return features as float32, without a copy when they are.

    float16 is widened, since its sums overflow; float64 is narrowed, so that no head doubles
    the memory.

    Parameters
    ----------
    X : array-like of numbers, shape (n, d)

    Raises
    ------
    HeadError
        When it is not a matrix of numbers with at least one column.
    """
    array = np.asarray(X)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiub":
        raise HeadError(
            f"expected features of shape (rows, length) and a number type,"
            f" got shape {array.shape}, {array.dtype}"
        )
    with np.errstate(over="ignore"):  # becomes infinite, which require_finite names
        return array.astype(np.float32, copy=False)


def as_feature_rows(X: Any) -> Rows:
    """Return rows in float32: of arrays as :func:`as_float32` does, of files as they are read.

    Raises
    ------
    HeadError
        When it is not a matrix of numbers with at least one column.
    """
    return X if isinstance(X, ROWS) else ArrayRows(as_float32(X))


def require_finite(rows: Rows, keys: Sequence[str] | None = None) -> None:
    """Refuse NaN and infinity, naming the first row.

    Raises
    ------
    HeadError
        With the row's key, or its number when there are no keys.
    """
    scratch: dict[str, FloatArray] = {}
    n = rows.shape[0]
    for start in range(0, n, BLOCK_ROWS):
        block = rows.read(start, min(start + BLOCK_ROWS, n), scratch)
        # A sum is finite unless a term is not (or it overflows: then the terms decide).
        if np.isfinite(block.sum(dtype=np.float64)):
            continue
        good = np.isfinite(block).all(axis=1)
        if not good.all():
            row = start + int(good.argmin())
            name = f"row {row}" if keys is None else f"row {row} ({keys[row]!r})"
            raise HeadError(
                f"expected finite features, got NaN or infinity in {name}",
                hint="Run `bottleneck verify --fix` on the feature file, then extract again.",
            )
