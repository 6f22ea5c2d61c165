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
from bottleneck.heads.solver.question import PARTS, Columns, ListOfRows, SumOfArrays
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Weighting, require_range

Inverse: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Applies an inverse Hessian to a flat vector."""

Local: TypeAlias = Callable[[float], Inverse]
"""From a penalty to the inverse Hessian, near some weights."""

_SAMPLE = 8000
"""Rows looked at, at most. Three times as many saved no steps (Fashion-MNIST, 1280 features)."""

_SAMPLE_OF_FEW = 2000
"""And at least, where a quarter of the rows is fewer: it must stay cheap beside passes."""

_CENTRED = 0.3
"""Means, in deviations, up to which features count as centred."""

_LARGE = 30.0
"""Largest deviation at which rounding of float32 rows is small beside penalties: at 300 a softmax
took hundreds of passes, with its diagonal 20."""

_MAX_COUPLED = 32
"""Columns up to which blocks are kept; above, their diagonals."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Some rows, scaled.

    Parameters
    ----------
    taken : ndarray of int64, shape (m,)
        Which rows.
    pieces : list of ndarray, shape (m / 8, d)
        Their features, cut the same way whatever the number of threads.
    """

    taken: NDArray[np.int64]
    pieces: list[FloatArray]

    @classmethod
    def of(cls, run: Pass, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> "Sample":
        """Take every n-th row of a pass; features less ``mean``, divided by ``scale``."""
        n = run.rows.shape[0]
        most = min(n, max(_SAMPLE_OF_FEW, min(_SAMPLE, n // 4)))
        taken = np.unique(np.linspace(0, n - 1, most).astype(np.int64))
        mask = np.zeros(n, bool)
        mask[taken] = True
        rows = np.concatenate(run.ask(_Sample(), Columns({"taken": mask})))
        cut = np.array_split(rows, PARTS)
        return cls(taken, run.each(lambda part: _scaled(part, mean, scale), cut))

    def suits(self) -> bool:
        """Tell whether the estimate suits the features: centred, and not large.

        With means near zero the intercept is all but apart from weights, see also :data:`_LARGE`.
        """
        rows = np.concatenate(self.pieces)
        with np.errstate(over="ignore", invalid="ignore"):  # squares beyond numbers are not near
            mean = rows.mean(axis=0, dtype=np.float64)
            deviation = rows.std(axis=0, dtype=np.float64)
        near = (deviation <= _LARGE) & (np.abs(mean) <= _CENTRED * deviation)
        return bool(near.all())


def _scaled(rows: FloatArray, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> FloatArray:
    scaled: FloatArray = (rows - mean.astype(rows.dtype)) / scale.astype(rows.dtype)
    return scaled


class Curvature:
    """Hessians of one loss on a sample of rows.

    Parameters
    ----------
    run : Pass
        All rows.
    sample : Sample
        Some of them.
    y : ndarray of int64, shape (n,)
        Codes.
    loss : Loss
        The loss.
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
        sample: Sample,
        y: NDArray[np.int64],
        loss: Loss,
        *,
        fit_intercept: bool = True,
    ) -> None:
        first, *others = run.each(_products, sample.pieces)
        with np.errstate(invalid="ignore"):  # named below
            products = sum(others, first) / len(sample.taken)
        require_range(run.rows.shape[0] * float(products.diagonal().max()), run.rows.dtype)
        _, vectors = np.linalg.eigh(products)
        self.rotation: NDArray[np.float64] = vectors
        turn = vectors.astype(sample.pieces[0].dtype)
        self._turned = np.concatenate(run.each(lambda rows: rows @ turn, sample.pieces))
        self._squares = self._turned**2
        self._y = y[sample.taken]
        self._run, self._loss = run, loss
        self._fit_intercept = fit_intercept

    def at(self, weights: NDArray[np.float64]) -> Local:
        """Return a function from a penalty to the inverse Hessian near some weights.

        The threads of the pass share the work: not to be called from one of them.

        Parameters
        ----------
        weights : ndarray of float64, shape (columns, d + 1)
            Of the turned features; the intercept is the last column.
        """
        d = self._turned.shape[1]
        k = len(weights)
        coupled = self._loss.coupled and k <= _MAX_COUPLED
        blocks = self._coupled(weights) if coupled else self._apart(weights)
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

    def _scores(self, weights: NDArray[np.float64], rows: slice) -> FloatArray:
        """Return scores (columns, rows) of some rows of the sample."""
        narrow = weights.astype(self._turned.dtype)
        scores: FloatArray = narrow[:, :-1] @ self._turned[rows].T
        scores += narrow[:, -1:]
        return scores

    def _coupled(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a block of columns by columns for every feature: shape (d + 1, k, k)."""
        everyone = slice(None)
        Z = self._scores(weights, everyone)
        k, d = len(Z), self._turned.shape[1]
        diagonal, p = self._loss.curvature(Z, self._y), shares(Z)
        blocks = np.zeros((d + 1, k, k))

        def couple(a: int) -> None:
            pairs = -p[a] * p[a:]
            pairs[0] = diagonal[a]
            found = self._sums(pairs, everyone)
            blocks[:, a, a:] = found
            blocks[:, a:, a] = found

        self._run.each(couple, list(range(k)))
        return blocks / len(self._y)

    def _apart(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the blocks' diagonals, shape (d + 1, k); scores of few rows are held at a time."""
        cuts = np.linspace(0, len(self._y), PARTS + 1).astype(int)

        def look(part: int) -> NDArray[np.float64]:
            rows = slice(cuts[part], cuts[part + 1])
            return self._sums(
                self._loss.curvature(self._scores(weights, rows), self._y[rows]), rows
            )

        first, *others = self._run.each(look, list(range(PARTS)))
        return np.asarray(sum(others, first) / len(self._y))

    def _sums(self, curvature: FloatArray, rows: slice) -> NDArray[np.float64]:
        """Sum over rows of curvatures times squared features: (d + 1, columns)."""
        by_feature = (curvature.astype(self._squares.dtype) @ self._squares[rows]).T
        return np.concatenate([by_feature, curvature.sum(axis=1)[None]]).astype(np.float64)


def _products(rows: FloatArray) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):  # named by require_range; of each thread
        return (rows.T @ rows).astype(np.float64)


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
