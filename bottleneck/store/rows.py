"""Finished, labelled rows in memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Rows:
    """Finished, labelled rows of a store, ready for a head.

    Parameters
    ----------
    X : ndarray of float32 or float16, shape (n, dim)
        Features.
    y : ndarray of int32, shape (n,)
        Index into the store's classes.
    rows : ndarray of int64, shape (n,)
        Row numbers.
    keys : list of str
        Keys, as in the manifest.
    groups : ndarray of int32, shape (n,)
        Group codes, -1 for none.
    failed, unlabelled, pending : int
        Rows of the split that are left out, and why.
    """

    X: NDArray[np.floating[Any]]
    y: NDArray[np.int32]
    rows: NDArray[np.int64]
    keys: list[str]
    groups: NDArray[np.int32]
    failed: int
    unlabelled: int
    pending: int

    def take(self, mask: NDArray[np.bool_]) -> "Rows":
        """Keep the rows where ``mask`` (bool, shape (n,)) holds; the counts stay."""
        kept = np.flatnonzero(mask)
        return Rows(
            X=self.X[kept],
            y=self.y[kept],
            rows=self.rows[kept],
            keys=[self.keys[i] for i in kept],
            groups=self.groups[kept],
            failed=self.failed,
            unlabelled=self.unlabelled,
            pending=self.pending,
        )
