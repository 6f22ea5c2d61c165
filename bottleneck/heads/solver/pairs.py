"""What L-BFGS remembers: its last steps and how the gradient changed on them, as two matrices.

The two-loop recursion (J. Nocedal and S. J. Wright, Numerical Optimization, 2nd ed., algorithm
7.4) goes through the pairs one by one, twice. In matrices (R. H. Byrd, J. Nocedal and R. B.
Schnabel, Mathematical Programming 63, 1994) it is four products and two small triangular solves:
with steps ``S`` and changes ``Y`` as rows, oldest first, and ``R`` the upper triangle of ``S Y'``,

    R a = S g,    r = H0 (g - Y' a),    R' c = diag(R) a - Y r,    H g = r + S' c.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtrtrs

Vector: TypeAlias = NDArray[np.float64]

Inverse: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
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

    def __init__(self, capacity: int, width: int, dtype: Any) -> None:
        self._steps = np.empty((capacity, width), dtype)
        self._changes = np.empty((capacity, width), dtype)
        self._products = np.zeros((capacity, capacity))  # of step i with change j, j not before i
        self._order: list[int] = []  # rows of the matrices, oldest first

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
        return Pairs(*self._steps.shape, self._steps.dtype)

    def add(self, step: Vector, change: Vector) -> None:
        """Remember a pair in place of the oldest one, unless there is no curvature along it."""
        product = float(step @ change)
        if not product > _FLAT * float(np.sqrt((step @ step) * (change @ change))):
            return
        at = self._order.pop(0) if len(self) == len(self._steps) else len(self)
        self._order.append(at)
        used = len(self)
        self._steps[at], self._changes[at] = step, change
        self._products[:used, at] = self._steps[:used] @ self._changes[at]
        self._products[at, at] = product

    def bend(self, curvature: Vector) -> None:
        """Add a curvature, of each component, to the function that was stepped on."""
        used = len(self)
        steps, changes = self._steps[:used], self._changes[:used]
        changes += curvature.astype(steps.dtype) * steps
        self._products[:used, :used] = steps @ changes.T
        sizes = np.einsum("ij,ij->i", steps, steps) * np.einsum("ij,ij->i", changes, changes)
        curved = self._products.diagonal()[:used] > _FLAT * np.sqrt(sizes.astype(np.float64))
        if not curved.all():
            kept = [at for at in self._order if curved[at]]
            self._steps[: len(kept)] = steps[kept]
            self._changes[: len(kept)] = changes[kept]
            self._products[: len(kept), : len(kept)] = self._products[np.ix_(kept, kept)]
            self._order = list(range(len(kept)))

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
        order, used = self._order, len(self)
        steps, changes = self._steps[:used], self._changes[:used]
        upper = self._products[np.ix_(order, order)].T  # LAPACK has columns first
        spread = np.empty(used, steps.dtype)

        along, _ = dtrtrs(upper, (steps @ gradient.astype(steps.dtype))[order], lower=1, trans=1)
        spread[order] = along
        rest = gradient - spread @ changes
        last = changes[order[-1]]
        if scale is None:
            bent = float(last @ last)
        else:
            rest, of_last = scale(np.stack([rest, last]))
            bent = float(last @ of_last)
        rest = rest * (upper[-1, -1] / bent)
        narrow = rest.astype(steps.dtype)
        against = upper.diagonal() * along - (changes @ narrow)[order]
        spread[order], _ = dtrtrs(upper, against, lower=1, trans=0)
        found: Vector = rest + (spread @ steps)
        return found.astype(np.float64, copy=False)
