"""Which rows belong to each subset that problems are fitted on, and how much each counts."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray


@dataclass(frozen=True, eq=False)
class Weighting:
    """How much every row counts in every subset: member x row weight x class weight.

    Parameters
    ----------
    y : ndarray of int64, shape (n,); or of numbers, shape (n, targets)
        Codes, or several targets per row.
    members : ndarray of bool, shape (subsets, n)
        Which rows belong.
    row_weights : ndarray of float64, shape (n,), or None
        None stands for ones.
    class_weights : ndarray of float64, shape (subsets, classes), or None
        None stands for ones.
    """

    y: NDArray[Any]
    members: NDArray[np.bool_]
    row_weights: NDArray[np.float64] | None = None
    class_weights: NDArray[np.float64] | None = None

    def block(self, start: int, stop: int, dtype: np.dtype[np.floating]) -> FloatArray:
        """Return the weights of a run of rows, shape (subsets, rows)."""
        weights = self.members[:, start:stop].astype(dtype)
        if self.row_weights is not None:
            weights *= self.row_weights[start:stop].astype(dtype)
        if self.class_weights is not None:
            weights *= self.class_weights[:, self.y[start:stop]].astype(dtype)
        return weights

    def unbalanced(self) -> "Weighting":
        """Return the same without class weights: what features are scaled by."""
        return Weighting(self.y, self.members, self.row_weights)

    def only(self, subset: int) -> "Weighting":
        """Return the weighting of a single subset."""
        one = slice(subset, subset + 1)
        return Weighting(
            self.y,
            self.members[one],
            self.row_weights,
            None if self.class_weights is None else self.class_weights[one],
        )

    def weights_of_rows(self) -> NDArray[np.float64]:
        """Return the weight of each row alone, shape (n,)."""
        return np.ones(len(self.y)) if self.row_weights is None else self.row_weights

    @cached_property
    def totals(self) -> NDArray[np.float64]:
        """Sum of the weights of each subset."""
        rows = self.weights_of_rows()
        if self.y.ndim == 2:
            return np.array([rows[member].sum() for member in self.members])
        per_class: NDArray[np.float64] = np.stack(
            [
                np.bincount(self.y[m], rows[m], minlength=int(self.y.max(initial=0)) + 1)
                for m in self.members
            ]
        )
        if self.class_weights is not None:
            per_class = per_class * self.class_weights[:, : per_class.shape[1]]
        totals: NDArray[np.float64] = per_class.sum(axis=1)
        return totals
