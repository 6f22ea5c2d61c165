"""Rows of a feature file that a head can learn from or be judged on."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class RowChoice:
    """Finished, labelled rows of a store, without their features.

    Parameters
    ----------
    y : ndarray of int32, shape (n,); or of uint8 or float64, shape (n, targets)
        Index into the store's classes, or the targets that were asked for.
    rows : ndarray of int64, shape (n,)
        Row numbers, ascending.
    keys : list of str
        Keys, as in the manifest.
    groups : ndarray of int32, shape (n,)
        Group codes, -1 for none.
    failed, unlabelled, pending : int
        Rows of the split that are left out, and why.
    """

    y: NDArray[Any]
    rows: NDArray[np.int64]
    keys: list[str]
    groups: NDArray[np.int32]
    failed: int
    unlabelled: int
    pending: int

    def take(self, mask: NDArray[np.bool_]) -> Self:
        """Keep the rows where ``mask`` (bool, shape (n,)) holds; the counts stay."""
        kept = np.flatnonzero(mask)
        return replace(
            self,
            y=self.y[kept],
            rows=self.rows[kept],
            keys=[self.keys[i] for i in kept],
            groups=self.groups[kept],
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedRows(RowChoice):
    """Finished, labelled rows of a store in memory.

    Parameters
    ----------
    X : ndarray of float32 or float16, shape (n, dim)
        Features.
    """

    X: NDArray[np.floating[Any]]

    def take(self, mask: NDArray[np.bool_]) -> Self:
        """Keep the rows where ``mask`` (bool, shape (n,)) holds; the counts stay."""
        return replace(super().take(mask), X=self.X[np.flatnonzero(mask)])
