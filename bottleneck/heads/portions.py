"""Portions of the rows that problems are fitted on: who belongs, how they are scaled."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.passes import Pass
from bottleneck.heads.rows import FloatArray

# With a mean this many deviations away from zero, products are of differences from it.
_FAR = 30.0


@dataclass(frozen=True, eq=False)
class Weighting:
    """How much every row counts in every portion: member x row weight x class weight.

    Parameters
    ----------
    y : ndarray of int64, shape (n,); or of numbers, shape (n, targets)
        Codes, or several targets per row.
    members : ndarray of bool, shape (portions, n)
        Which rows belong.
    row_weights : ndarray of float64, shape (n,), or None
        None stands for ones.
    class_weights : ndarray of float64, shape (portions, classes), or None
        None stands for ones.
    """

    y: NDArray[Any]
    members: NDArray[np.bool_]
    row_weights: NDArray[np.float64] | None = None
    class_weights: NDArray[np.float64] | None = None

    def block(self, start: int, stop: int, dtype: np.dtype[np.floating]) -> FloatArray:
        """Return the weights of a run of rows, shape (portions, rows)."""
        weights = self.members[:, start:stop].astype(dtype)
        if self.row_weights is not None:
            weights *= self.row_weights[start:stop].astype(dtype)
        if self.class_weights is not None:
            weights *= self.class_weights[:, self.y[start:stop]].astype(dtype)
        return weights

    def unbalanced(self) -> "Weighting":
        """Return the same without class weights: what features are scaled by."""
        return Weighting(self.y, self.members, self.row_weights)

    def weights_of_rows(self) -> NDArray[np.float64]:
        """Return the weight of each row alone, shape (n,)."""
        return np.ones(len(self.y)) if self.row_weights is None else self.row_weights

    @cached_property
    def totals(self) -> NDArray[np.float64]:
        """Sum of the weights of each portion."""
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


@dataclass(frozen=True, eq=False)
class Scaling:
    """Standardisation folded into the products: blocks stay as they are.

    With z = (x - mean) / scale, scores are ``x @ (w / scale) - mean @ (w / scale)``, so only
    weights and gradients are rescaled.

    Parameters
    ----------
    mean, scale : ndarray of float64, shape (portions, d)
        Zero and one where nothing is standardised.
    shift : ndarray of float64, shape (d,), or None
        Subtracted from every block first, where means are so far from zero that float32
        products would cancel; ``mean`` is that of the features as they are.
    rotation : ndarray of float64, shape (d, d), or None
        Orthogonal; solvers work with ``w @ rotation``. The penalty does not see it.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    shift: NDArray[np.float64] | None = None
    rotation: NDArray[np.float64] | None = None

    def prepare(self, block: FloatArray) -> FloatArray:
        """Return the block that products are made of."""
        return block if self.shift is None else block - self.shift.astype(block.dtype)

    def turn(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return solvers' weights or gradients (..., d) of weights of scaled features."""
        return weights if self.rotation is None else weights @ self.rotation

    def turn_back(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return weights of scaled features (..., d) of solvers' weights."""
        return weights if self.rotation is None else weights @ self.rotation.T

    @property
    def offset(self) -> NDArray[np.float64]:
        """Means of the prepared blocks, shape (portions, d)."""
        return self.mean if self.shift is None else self.mean - self.shift


def no_scaling(portions: int, d: int) -> Scaling:
    """Return the scaling that leaves features as they are."""
    return Scaling(np.zeros((portions, d)), np.ones((portions, d)))


def standardise(run: Pass, weighting: Weighting) -> Scaling:
    """Find each portion's means and standard deviations in one pass.

    A constant feature has scale 1, as in scikit-learn's ``StandardScaler``. Sums are of
    differences from the first row, so that a feature that is constant is exactly so.

    Parameters
    ----------
    run : Pass
        The rows.
    weighting : Weighting
        Weights; those of classes are to be left out (:meth:`Weighting.unbalanced`).
    """
    d, dtype = run.rows.shape[1], run.rows.dtype
    first = np.array(run.rows.read(0, 1, {})[0])
    k = len(weighting.members)

    def new() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.zeros((k, d)), np.zeros((k, d))

    def visit(
        total: tuple[NDArray[np.float64], NDArray[np.float64]],
        start: int,
        stop: int,
        block: FloatArray,
        scratch: object,
    ) -> None:
        weights = weighting.block(start, stop, dtype)
        difference = block - first
        total[0][...] += weights @ difference
        difference *= difference
        total[1][...] += weights @ difference

    parts = run.run(new, visit)
    weight = np.maximum(weighting.totals, np.finfo(float).tiny)[:, None]
    mean = sum_of(part[0] for part in parts) / weight
    variance = np.maximum(sum_of(part[1] for part in parts) / weight - mean**2, 0)
    # Rounding leaves so much of a constant feature.
    noise = 10 * np.finfo(dtype).eps * mean**2
    scale = np.where(variance > noise, np.sqrt(variance), 1.0)
    mean += first
    far = np.abs(mean).max(axis=0) > _FAR * scale.min(axis=0)
    return Scaling(mean, scale, mean.mean(axis=0) if far.any() else None)


def sum_of(parts: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Add one or more arrays in the order given."""
    total, *others = parts
    for part in others:
        total = total + part
    return total
