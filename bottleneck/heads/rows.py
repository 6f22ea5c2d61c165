"""Feature rows as heads take them, from arrays, datasets and feature files."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError
from bottleneck.heads.matrix import (
    ArrayRows,
    FileRows,
    FloatArray,
    Layout,
    Rows,
    Shard,
    ShardedRows,
    SubsetRows,
    WatchedRows,
    buffer,
)
from bottleneck.heads.set_rows import rows_of_set
from bottleneck.heads.stored import rows_of_file
from bottleneck.sets.view import SetRows

if TYPE_CHECKING:
    from bottleneck.store import FeatureStore

__all__ = [
    "BLOCK_ROWS",
    "ROWS",
    "ArrayRows",
    "FileRows",
    "FloatArray",
    "Layout",
    "Rows",
    "Shard",
    "ShardedRows",
    "SubsetRows",
    "WatchedRows",
    "as_feature_rows",
    "as_float32",
    "as_rows",
    "block_rows",
    "buffer",
    "rows_of",
]

ROWS = (ArrayRows, FileRows, ShardedRows, SubsetRows, WatchedRows)
"""What is read as rows, not taken for an array."""


def as_rows(X: Any) -> Rows:
    """Take rows from whatever holds them.

    Parameters
    ----------
    X : Rows, FeatureStore, h5py.Dataset or array-like, shape (n, d)
        A feature file must be complete and have one output.

    Raises
    ------
    HeadError
        For a feature file with rows that are not done, or what is no matrix of numbers.
    """
    if isinstance(X, ROWS):
        return X
    if hasattr(X, "outputs") and hasattr(X, "output_name"):
        return _all_rows_of(X)
    if not hasattr(X, "shape") or not hasattr(X, "dtype"):
        X = np.asarray(X)
    if len(X.shape) != 2 or X.shape[1] == 0 or np.dtype(X.dtype).kind not in "fiub":
        raise HeadError(
            f"expected features of shape (rows, length) and a number type,"
            f" got shape {tuple(X.shape)}, {X.dtype}"
        )
    return ArrayRows(X)


def rows_of(store: "FeatureStore", output: str, rows: NDArray[np.int64] | None = None) -> Rows:
    """Read an output of a feature file or of a set; by default all its rows."""
    features = store.features(output)
    if not isinstance(features, SetRows):
        return rows_of_file(store, output, rows)
    if rows is None:
        return rows_of_set(features)
    if np.any(np.diff(rows) <= 0):  # shards are gone through in their order
        return rows_of_file(store, output, rows)
    return SubsetRows(rows_of_set(features), rows)


def _all_rows_of(store: "FeatureStore") -> Rows:
    missing = len(store) - int(np.count_nonzero(store.done))
    if missing:
        raise HeadError(
            f"expected features in every row of {store.location}, {missing} of {len(store)} have "
            "none",
            hint="Take the rows that are done: rows_of(store, output, rows).",
        )
    return rows_of(store, store.output_name())


BLOCK_ROWS = 4096
"""Rows looked at or predicted at once: 20 MiB of 1280 float32 features."""

_BLOCK_BYTES = 128 << 20
"""What they take at most, of float32: maps have fewer rows."""


def block_rows(dim: int) -> int:
    """Return how many rows of so many features are looked at or predicted at once."""
    return max(1, min(BLOCK_ROWS, _BLOCK_BYTES // (4 * dim)))


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
