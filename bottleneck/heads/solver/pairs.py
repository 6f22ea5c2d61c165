"""What L-BFGS remembers: its last steps and how the gradient changed on them, as two matrices.

The two-loop recursion (J. Nocedal and S. J. Wright, Numerical Optimization, 2nd ed., algorithm
7.4) goes through the pairs one by one, twice. In matrices (R. H. Byrd, J. Nocedal and R. B.
Schnabel, Mathematical Programming 63, 1994) it is four products and two small triangular solves:
with steps ``S`` and changes ``Y`` as rows, oldest first, and ``R`` the upper triangle of ``S Y'``,

    R a = S g,    r = H0 (g - Y' a),    R' c = diag(R) a - Y r,    H g = r + S' c.

A pair stands for its multiples too, so each is kept with a product ``s y`` of one: ``diag(R)`` is
ones, and of neither vector the square leaves the range of float32.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtrtrs

from bottleneck.heads.rows import FloatArray

Vector: TypeAlias = NDArray[np.float64]

Inverse: TypeAlias = Callable[[FloatArray], FloatArray]
"""Applies an inverse Hessian to vectors (m, width)."""

_FLAT = 1e-14
"""Least cosine between a step and its change: with less curvature the inverse has no digits."""


class Pairs:
    """The last of a solver's steps and gradient changes.

    Parameters
    ----------
    capacity : int
        How many are kept.
    width : int
        Components of each.
    dtype : numpy dtype
        Of the matrices: gradients that are summed up from float32 rows have no more digits.
    """

    def __init__(self, capacity: int, width: int, dtype: np.dtype[np.floating]) -> None:
        self._steps = np.empty((capacity, width), dtype)
        self._changes = np.empty((capacity, width), dtype)
        self._order: list[int] = []  # rows of the matrices, oldest first
        # In that order: of step i with change j, for j not before i.
        self._products = np.zeros((capacity, capacity))

    def __len__(self) -> int:
        return len(self._order)

    def copy(self) -> "Pairs":
        """Return the same, to be added to apart."""
        other = self.none()
        used = len(self)
        other._steps[:used] = self._steps[:used]
        other._changes[:used] = self._changes[:used]
        other._products[:] = self._products
        other._order = list(self._order)
        return other

    def none(self) -> "Pairs":
        """Return no pairs, with the same room."""
        capacity, width = self._steps.shape
        return Pairs(capacity, width, self._steps.dtype)

    def add(self, step: Vector, change: Vector) -> None:
        """Remember a pair in place of the oldest one, unless there is no curvature along it."""
        product = float(step @ change)
        if not product > _FLAT * float(np.sqrt((step @ step) * (change @ change))):
            return
        if len(self) < len(self._steps):
            self._order.append(len(self))
        else:
            self._order.append(self._order.pop(0))
            self._products[:-1, :-1] = self._products[1:, 1:].copy()
        used, at = len(self), self._order[-1]
        self._steps[at], self._changes[at] = step / product**0.5, change / product**0.5
        self._products[:used, used - 1] = (self._steps[:used] @ self._changes[at])[self._order]
        self._products[used - 1, used - 1] = 1

    def bend(self, curvature: Vector) -> None:
        """Add a curvature, of each component, to the function that was stepped on."""
        used = len(self)
        steps, changes = self._steps[:used], self._changes[:used]
        changes += curvature.astype(steps.dtype) * steps
        products = (steps @ changes.T).astype(np.float64)
        own = products.diagonal()
        sizes = np.einsum("ij,ij->i", steps, steps) * np.einsum("ij,ij->i", changes, changes)
        curved = own > _FLAT * np.sqrt(sizes.astype(np.float64))
        roots = np.sqrt(np.where(curved, own, 1))
        steps /= roots[:, None].astype(steps.dtype)
        changes /= roots[:, None].astype(steps.dtype)
        order = [at for at in self._order if curved[at]]
        products = (products / np.outer(roots, roots))[np.ix_(order, order)]
        if len(order) < used:
            used = len(order)
            self._steps[:used], self._changes[:used] = steps[order], changes[order]
            self._order = list(range(used))
        self._products[:used, :used] = products
        np.fill_diagonal(self._products[:used, :used], 1)

    def inverse(self, gradient: Vector, scale: Inverse | None) -> Vector:
        """Apply the inverse Hessian that the pairs make of an estimate of it.

        Parameters
        ----------
        gradient : ndarray of float64, shape (width,)
        scale : callable, optional
            The estimate; by default the identity. It is scaled by the last pair.
        """
        if not self._order:
            return gradient if scale is None else scale(gradient[None])[0].astype(np.float64)
        order, used, dtype = self._order, len(self), self._steps.dtype
        steps, changes = self._steps[:used], self._changes[:used]
        upper = self._products[:used, :used].T  # LAPACK has columns first
        spread = np.empty(used, dtype)
        size = float(np.abs(gradient).max())
        whole = (gradient / (size or 1)).astype(dtype)

        along, _ = dtrtrs(upper, (steps @ whole)[order], lower=1, trans=1)
        spread[order] = along
        rest, last = whole - spread @ changes, changes[order[-1]]
        if scale is None:
            rest = rest / float(last @ last)
        else:
            rest, of_last = scale(np.stack([rest, last]))
            rest = rest / float(last @ of_last)
        spread[order], _ = dtrtrs(upper, along - (changes @ rest)[order], lower=1, trans=0)
        found: Vector = (rest + spread @ steps).astype(np.float64)
        return size * found
