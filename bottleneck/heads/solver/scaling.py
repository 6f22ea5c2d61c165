"""Which rows each subset holds, what they count, and its standardisation."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError
from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.question import PARTS, RowData
from bottleneck.heads.solver.row_pass import Pass

_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Weighting(RowData):
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

    def block(
        self,
        here: slice,
        dtype: np.dtype[np.floating],
        subsets: NDArray[np.int64] | slice = _ALL,
    ) -> FloatArray:
        """Return the weights of a run of rows, shape (subsets, rows); by default in all subsets."""
        weights = self.members[subsets, here].astype(dtype)
        if self.row_weights is not None:
            weights *= self.row_weights[here].astype(dtype)
        if self.class_weights is not None:
            weights *= self.class_weights[subsets][:, self.y[here]].astype(dtype)
        return weights

    def cut(self, start: int, stop: int) -> "Weighting":
        """Return the same of rows ``start`` to ``stop``."""
        return Weighting(
            self.y[start:stop],
            self.members[:, start:stop],
            None if self.row_weights is None else self.row_weights[start:stop],
            self.class_weights,
        )

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

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what some rows count in the first subset, were they all members of it."""
        weights = self.weights_of_rows()[rows]
        if self.class_weights is not None:
            weights = weights * self.class_weights[0, self.y[rows]]
        return weights

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


# With a mean this many deviations away from zero, products are of differences from it.
_MAX_OFFSET = 30.0


_LEAST = {"float32": 1e-30, "float64": 1e-150}
"""Deviations that count, by the rows' type: squares of smaller ones, or weights over them, have no
digits. A feature below that is a constant; where all are, there is nothing to learn from."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """Standardisation folded into the products: blocks stay as they are.

    With z = (x - mean) / scale, scores are ``x @ (w / scale) - mean @ (w / scale)``, so only
    weights and gradients are rescaled.

    Parameters
    ----------
    mean, scale : ndarray of float64, shape (subsets, d)
        Zero and one where nothing is standardised.
    shift : ndarray of float64, shape (d,), or None
        Subtracted from every block first, where means are so far from zero that float32
        products would cancel; ``mean`` is that of the features as they are.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    shift: NDArray[np.float64] | None = None

    @property
    def offset(self) -> NDArray[np.float64]:
        """Means of the prepared blocks, shape (subsets, d)."""
        return self.mean if self.shift is None else self.mean - self.shift


def shifted(block: FloatArray, shift: NDArray[np.float64] | None) -> FloatArray:
    """Return the block that products are made of."""
    return block if shift is None else block - shift.astype(block.dtype)


def no_scaling(subsets: int, d: int) -> Scaling:
    """Return the scaling that leaves features as they are."""
    return Scaling(np.zeros((subsets, d)), np.ones((subsets, d)))


def standardise(run: Pass, weighting: Weighting) -> Scaling:
    """Find each subset's means and standard deviations in one pass.

    A constant feature has scale 1, as in scikit-learn's ``StandardScaler``. Each block is
    summed up in float64 about a row of its own, the median of three, so that a feature that is
    constant is exactly so and no single row spoils the sums of others; blocks are merged by
    their means (T. F. Chan, G. H. Golub and R. J. LeVeque, The American Statistician 37, 1983).

    Parameters
    ----------
    run : Pass
        The rows.
    weighting : Weighting
        Weights; those of classes are to be left out (:meth:`Weighting.unbalanced`).
    """
    (n, d), dtype = run.rows.shape, run.rows.dtype
    k = len(weighting.members)
    with np.errstate(over="ignore", invalid="ignore"):  # named below
        whole = run.ask(_Spreads(k, d), weighting)
        mean = whole.mean
        variance = whole.squares / np.maximum(whole.weight, np.finfo(float).tiny)
        require_range(n * (variance + mean**2).max(), dtype)
        # Rounding leaves so much of a constant feature, as scikit-learn has it.
        eps = np.finfo(np.float64).eps
        noise = n * eps * variance + (n * eps * mean) ** 2
    least = _LEAST[dtype.name]
    deviation = np.sqrt(variance)
    if 0 < np.abs(mean).max() < least and deviation.max() < least:
        raise HeadError(
            f"expected features of {least:g} or more for {dtype}, got means of at most"
            f" {np.abs(mean).max():.1g}",
            hint="Multiply the features by a constant, or look for broken rows.",
        )
    scale = np.where((variance > noise) & (deviation >= least), deviation, 1.0)
    far = np.abs(mean).max(axis=0) > _MAX_OFFSET * scale.min(axis=0)
    return Scaling(mean, scale, mean.mean(axis=0) if far.any() else None)


@dataclass(eq=False)
class _Spread:
    """Weight, means and sums of squared differences from them, of each subset."""

    weight: NDArray[np.float64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    def add(self, other: "_Spread") -> None:
        """Take in the rows of another one."""
        weight = self.weight + other.weight
        share = other.weight / np.where(weight > 0, weight, 1)
        apart = other.mean - self.mean
        self.squares = self.squares + other.squares + apart**2 * (self.weight * share)
        self.mean = self.mean + apart * share
        self.weight = weight


@dataclass(frozen=True)
class _Spreads:
    """Asks for the spread of ``k`` subsets' rows of ``d`` features."""

    k: int
    d: int
    block_rows: int | None = None
    parts: int = PARTS

    def new(self) -> _Spread:
        return _Spread(
            np.zeros((self.k, 1)), np.zeros((self.k, self.d)), np.zeros((self.k, self.d))
        )

    def visit(
        self,
        total: _Spread,
        data: Weighting,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        weights = data.block(here, np.dtype(np.float64))
        base = np.median(block[[0, len(block) // 2, -1]], axis=0).astype(np.float64)
        difference = block - base
        weight = weights.sum(axis=1, keepdims=True)
        safe = np.where(weight > 0, weight, 1)
        shift = weights @ difference / safe
        difference *= difference
        squares = np.maximum(weights @ difference - weight * shift**2, 0)
        total.add(_Spread(weight, base + shift, squares))

    def merge(self, total: _Spread, other: _Spread) -> _Spread:
        total.add(other)
        return total


def require_range(largest: float, dtype: np.dtype[Any]) -> None:
    """Refuse features whose sums of squares are beyond a number type.

    Raises
    ------
    HeadError
        When ``largest`` is.
    """
    if not float(largest) <= float(np.finfo(dtype).max):  # in float32 the product is infinite
        raise HeadError(
            f"expected features whose squares can be summed up in {dtype}, got sums of about"
            f" {largest:.1g}",
            hint="Divide the features by a constant, or look for broken rows.",
        )


def scaled_targets(
    numbers: NDArray[np.float64], *, centre: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Bring targets to deviations of one, so that products in float32 keep their digits.

    The solution for a target scales with it, so nothing else changes.

    Returns
    -------
    scaled : ndarray of float64, shape (n, targets)
    mean, scale : ndarray of float64, shape (targets,)
        ``numbers = scaled * scale + mean``; the mean is zero without ``centre``.
    """
    mean = numbers.mean(axis=0) if centre else np.zeros(numbers.shape[1])
    deviation = np.sqrt(np.mean((numbers - mean) ** 2, axis=0))
    scale = np.where(deviation > 0, deviation, 1.0)
    return (numbers - mean) / scale, mean, scale
