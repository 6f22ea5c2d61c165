"""An estimate of the Hessian that is cheap to invert, from some thousand rows.

The Hessian of a row's loss is the outer product of the row with a small matrix over the
columns: ``diag(p) - p p'`` for the softmax. In the eigenvectors of the features' covariance
the sum over rows is nearly diagonal in the features, so that one (columns x columns) block per
eigenvector is kept: it couples the classes and carries the penalty exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.engine import Loss, shares
from bottleneck.heads.solver.question import Columns, ListOfRows, SumOfArrays
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Weighting, require_range

Inverse: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Applies an inverse Hessian to a flat vector."""

Local: TypeAlias = Callable[[float], Inverse]
"""From a penalty to the inverse Hessian, near some weights."""

SAMPLE = 8000
"""Rows looked at. Three times as many saved no steps (Fashion-MNIST, 1280 features)."""

CURVATURE_MIN_ROWS = 16000
"""With fewer rows, passes are too cheap for an eigendecomposition to pay."""

_MAX_COUPLED = 32
"""Columns up to which blocks are kept; above, their diagonals."""


class Curvature:
    """Hessians of one loss on a sample of rows.

    Parameters
    ----------
    run : Pass
        All rows; every n-th is taken.
    y : ndarray of int64, shape (n,)
        Codes.
    loss : Loss
        The loss.
    mean, scale : ndarray of float64, shape (d,)
        Standardisation.
    fit_intercept : bool
        Whether there is an intercept.

    Attributes
    ----------
    rotation : ndarray of float64, shape (d, d)
        The eigenvectors, in columns. Weights are of features turned by it.
    """

    def __init__(
        self,
        run: Pass,
        y: NDArray[np.int64],
        loss: Loss,
        *,
        mean: NDArray[np.float64],
        scale: NDArray[np.float64],
        fit_intercept: bool = True,
    ) -> None:
        n = run.rows.shape[0]
        taken = np.unique(np.linspace(0, n - 1, SAMPLE).astype(np.int64))
        mask = np.zeros(n, bool)
        mask[taken] = True
        sample = np.concatenate(run.ask(_Sample(), Columns({"taken": mask})))
        sample = (sample - mean.astype(sample.dtype)) / scale.astype(sample.dtype)
        _, vectors = np.linalg.eigh((sample.T @ sample).astype(np.float64) / len(sample))
        self.rotation: NDArray[np.float64] = vectors
        self._turned = sample @ vectors.astype(sample.dtype)
        self._squares = self._turned**2
        self._y = y[taken]
        self._loss = loss
        self._fit_intercept = fit_intercept

    def at(self, weights: NDArray[np.float64]) -> Local:
        """Return a function from a penalty to the inverse Hessian near some weights.

        Parameters
        ----------
        weights : ndarray of float64, shape (columns, d + 1)
            Of the turned features; the intercept is the last column.
        """
        d = self._turned.shape[1]
        k = len(weights)
        Z = (weights[:, :-1].astype(self._turned.dtype) @ self._turned.T) + weights[:, -1:]
        coupled = self._loss.coupled and k <= _MAX_COUPLED
        diagonal = self._loss.curvature(Z, self._y)
        blocks = np.zeros((d + 1, k, k) if coupled else (d + 1, k))
        if coupled:
            p = shares(Z)
            for a in range(k):
                pairs = -p[a] * p[a:]
                pairs[0] = diagonal[a]
                found = self._sums(pairs)
                blocks[:, a, a:] = found
                blocks[:, a:, a] = found
        else:
            blocks[:] = self._sums(diagonal)
        small = 1e-6 * float(blocks[d].max(initial=1e-12))  # the intercepts' common shift is free

        def inverse(penalty: float) -> Inverse:
            added = np.full(d + 1, penalty)
            added[d] = penalty if self._loss.penalise_intercept else small
            if coupled:
                inverses = np.linalg.inv(blocks + added[:, None, None] * np.eye(k))
            else:
                inverses = 1 / (blocks + added[:, None])
            if not self._fit_intercept:
                inverses[d] = 0

            def apply(q: NDArray[np.float64]) -> NDArray[np.float64]:
                by_feature = q.reshape(k, d + 1).T
                if coupled:
                    found = np.matmul(inverses, by_feature[:, :, None])[:, :, 0]
                else:
                    found = inverses * by_feature
                flat: NDArray[np.float64] = found.T.ravel()
                return flat

            return apply

        return inverse

    def _sums(self, curvature: FloatArray) -> NDArray[np.float64]:
        """Mean over rows of curvatures times squared features: (d + 1, columns)."""
        m = len(self._turned)
        by_feature = (curvature.astype(self._squares.dtype) @ self._squares).T / m
        return np.concatenate([by_feature, curvature.mean(axis=1)[None]]).astype(np.float64)


def diagonal(run: Pass, weighting: Weighting, loss: Loss, columns: int) -> Local:
    """Estimate the Hessian at zero weights by its diagonal, in one pass.

    Features of any size, and the intercept beside them, then take steps that fit each of
    them (the Jacobi preconditioner).

    Parameters
    ----------
    run : Pass
        The rows, not scaled.
    weighting : Weighting
        Weights of a single subset.
    loss : Loss
        The loss.
    columns : int
        Scores per row.
    """
    question = _ZeroCurvature(loss, columns, run.rows.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        found = run.ask(question, weighting) / weighting.totals[0]
    require_range(float(found.max()) * run.rows.shape[0], run.rows.dtype)

    def at(penalty: float) -> Inverse:
        inverse = 1 / (found + penalty)
        return lambda q: (q.reshape(columns, -1) * inverse).ravel()

    return at


@dataclass(frozen=True)
class _ZeroCurvature(SumOfArrays):
    """Asks for the sum of second derivatives at zero weights, shape (columns, d + 1)."""

    loss: Loss
    columns: int
    d: int

    def new(self) -> NDArray[np.float64]:
        return np.zeros((self.columns, self.d + 1))

    def visit(
        self,
        total: NDArray[np.float64],
        data: Weighting,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        wide = block.astype(np.float64)
        curvature = self.loss.curvature(np.zeros((self.columns, len(block))), data.y[here])
        curvature = curvature * data.block(here, wide.dtype)
        total[:, :-1] += curvature @ wide**2
        total[:, -1] += curvature.sum(axis=1)


class _Sample(ListOfRows):
    """Asks for the rows that are marked."""

    block_rows = 4096

    def visit(
        self,
        total: list[FloatArray],
        data: Columns,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        total.append(block[data["taken"][here]])
