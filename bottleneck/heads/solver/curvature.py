"""An estimate of the Hessian that is cheap to invert, from some thousand rows.

The Hessian of a row's loss is the outer product of the row with a small matrix over the
columns: ``diag(p) - p p'`` for the softmax. In the eigenvectors of the features' covariance
the sum over rows is nearly diagonal in the features, so that one (columns x columns) block per
eigenvector is kept: it couples the classes and carries the penalty exactly. Of few rows only the
largest eigenvectors have blocks of their own; the directions beside them share one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.engine import Loss, shares
from bottleneck.heads.solver.pairs import Inverse
from bottleneck.heads.solver.question import PARTS, SumOfArrays, fold
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.sample import Sample
from bottleneck.heads.solver.scaling import Weighting, require_range

Local: TypeAlias = Callable[[float], Inverse]
"""From a penalty to the inverse Hessian, near some weights."""

_ROWS_PER_VECTOR = 32
"""Rows per eigenvector that has a block of its own: applying the estimate then costs a sixteenth of
the products of a pass. 64 of 512 took 6% more passes than all at 2,000 rows, 16% at 20,000."""

_FEWEST_VECTORS = 64

_NEARLY_ALL = 3
"""With every third eigenvector or more, all of them at once are faster."""

_ITERATIONS, _MORE = 1, 8
"""Of subspaces, with so many vectors more than are wanted."""

_SAME_PENALTY = 0.05
"""Difference of log penalties up to which one inverse serves: folds differ by a few rows."""

_DIGITS = 1e-2
"""Relative error of the smallest inverse, by rounding, that does no harm."""

_AT_ONCE = 1 << 16
"""Components of blocks that are inverted at once: they fit a core's cache."""

_MAX_COUPLED = 32
"""Columns up to which blocks are kept; above, their diagonals."""


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
        self._rows = sample.rows
        n, d = run.rows.shape
        # Cut the same way whatever the number of threads.
        pieces = np.array_split(sample.rows * np.sqrt(sample.weights)[:, None], PARTS)
        with np.errstate(over="ignore"):  # named
            largest = max(float(np.einsum("ij,ij->j", rows, rows).max()) for rows in pieces)
        require_range(largest * PARTS / len(sample.rows) * n, run.rows.dtype)
        rank = min(d, len(sample.rows), max(_FEWEST_VECTORS, n // _ROWS_PER_VECTOR))
        self._basis, turned = _eigenvectors(run, pieces, rank)
        lengths = np.concatenate([np.einsum("ij,ij->i", rows, rows) for rows in pieces])
        self._squares = np.empty((len(turned), rank + 2), turned.dtype)
        inside = np.square(turned, out=self._squares[:, :rank]).sum(axis=1)
        self._squares[:, rank] = np.maximum(lengths - inside, 0) / max(d - rank, 1)
        self._squares[:, rank + 1] = sample.weights
        self._y = y[sample.taken]
        self._run, self._loss = run, loss
        self._fit_intercept = fit_intercept

    def at(self, weights: NDArray[np.float64]) -> Local:
        """Return a function from a penalty to the inverse Hessian near some weights.

        The threads of the pass share the work: not to be called from one of them.

        Parameters
        ----------
        weights : ndarray of float64, shape (columns, d + 1)
            The intercept is the last column.
        """
        k, rank = len(weights), self._basis.shape[1]
        coupled = self._loss.coupled and k <= _MAX_COUPLED
        blocks = self._coupled(weights) if coupled else self._apart(weights)
        diagonals = np.einsum("iif->if", blocks) if coupled else blocks
        # The intercepts' common shift is free. And what is left of the features is subtracted from
        # those inside again, which takes digits.
        small = 1e-6 * float(diagonals[:, -1].max(initial=1e-12))
        least = float(np.finfo(self._basis.dtype).eps) / _DIGITS * float(diagonals[:, :rank].max())
        known: dict[float, Inverse] = {}

        def inverse(penalty: float) -> Inverse:
            about = float(np.exp(round(np.log(penalty) / _SAME_PENALTY) * _SAME_PENALTY))
            if about not in known:
                added = np.full(rank + 2, about)
                added[-2] = max(about, least)
                added[-1] = about if self._loss.penalise_intercept else small
                if coupled:
                    inverses = _inverted(blocks + np.eye(k)[:, :, None] * added)
                else:
                    inverses = 1 / (blocks + added)
                if not self._fit_intercept:
                    inverses[..., -1] = 0
                known[about] = self._applied(inverses, coupled)
            return known[about]

        return inverse

    def _applied(self, inverses: NDArray[np.float64], coupled: bool) -> Inverse:
        """Return what applies inverses of blocks (columns, columns, rank + 2), or of diagonals."""
        basis, dtype = self._basis, self._basis.dtype
        (d, rank), k = basis.shape, len(inverses)
        inside, rest, free = (
            np.ascontiguousarray(part, dtype)
            for part in (inverses[..., :rank], inverses[..., rank], inverses[..., rank + 1])
        )
        if d > rank:
            inside -= rest[..., None]
        else:
            rest[...] = 0
        sums = "ijf,mjf->mif" if coupled else "jf,mjf->mjf"

        def mix(by: FloatArray, of: FloatArray) -> FloatArray:
            mixed: FloatArray = by @ of if coupled else by[:, None] * of
            return mixed

        def apply(vectors: FloatArray) -> FloatArray:
            given = vectors.astype(dtype).reshape(-1, k, d + 1)
            weights = np.ascontiguousarray(given[:, :, :d])
            turned = (weights.reshape(-1, d) @ basis).reshape(-1, k, rank)
            turned = np.einsum(sums, inside, turned)
            found = np.empty_like(given)
            found[:, :, :d] = (turned.reshape(-1, rank) @ basis.T).reshape(-1, k, d)
            if d > rank:
                found[:, :, :d] += mix(rest, weights)
            found[:, :, d:] = mix(free, given[:, :, d:])
            return found.reshape(vectors.shape)

        return apply

    def _scores(self, weights: NDArray[np.float64], rows: slice) -> FloatArray:
        """Return scores (columns, rows) of some rows of the sample."""
        narrow = weights.astype(self._rows.dtype)
        scores: FloatArray = np.ascontiguousarray(narrow[:, :-1]) @ self._rows[rows].T
        scores += narrow[:, -1:]
        return scores

    def _coupled(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a block of columns by columns for every feature: shape (k, k, rank + 2)."""
        everyone = slice(None)
        Z = self._scores(weights, everyone)
        k = len(Z)
        diagonal, p = self._loss.curvature(Z, self._y), shares(Z)
        blocks = np.zeros((k, k, self._squares.shape[1]))

        def couple(a: int) -> None:
            pairs = -p[a] * p[a:]
            pairs[0] = diagonal[a]
            blocks[a, a:] = blocks[a:, a] = self._sums(pairs, everyone)

        self._run.each(couple, list(range(k)))
        # What all columns have in common changes no share and has no gradient. Without curvature
        # there the inverse would be large, and its other digits lost.
        blocks += np.einsum("iif->f", blocks) / k**2
        return blocks / len(self._y)

    def _apart(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the diagonals of those, shape (k, rank + 2); scores of few rows are held."""
        cuts = np.linspace(0, len(self._y), PARTS + 1).astype(int)

        def look(part: int) -> NDArray[np.float64]:
            rows = slice(cuts[part], cuts[part + 1])
            return self._sums(
                self._loss.curvature(self._scores(weights, rows), self._y[rows]), rows
            )

        first, *others = self._run.each(look, list(range(PARTS)))
        return np.asarray(sum(others, first) / len(self._y))

    def _sums(self, curvature: FloatArray, rows: slice) -> NDArray[np.float64]:
        """Sum over rows of curvatures times squared features: (columns, rank + 2)."""
        return (curvature.astype(self._squares.dtype) @ self._squares[rows]).astype(np.float64)


def _inverted(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Invert positive definite matrices (k, k, count) by Gauss-Jordan elimination, many at once."""
    k, _, count = blocks.shape
    found, step = np.empty_like(blocks), max(1, _AT_ONCE // k**2)
    for start in range(0, count, step):
        some = blocks[:, :, start : start + step].copy()
        for i in range(k):
            pivot, row, column = some[i, i].copy(), some[i].copy(), some[:, i].copy()
            row /= pivot
            some -= column[:, None] * row
            some[i] = row
            some[:, i] = -column / pivot
            some[i, i] = 1 / pivot
        found[:, :, start : start + step] = some
    return found


def _eigenvectors(
    run: Pass, pieces: Sequence[FloatArray], count: int
) -> tuple[FloatArray, FloatArray]:
    """Return eigenvectors (d, count) of the rows' products, and the rows' products with those.

    They are those of the largest values: few of them nearly, by subspace iteration (N. Halko, P. G.
    Martinsson and J. A. Tropp, SIAM Review 53, 2011, algorithms 4.4 and 5.3) from some of the rows.
    Products and sums are in the rows' type.
    """

    def summed(product: Callable[[FloatArray], FloatArray]) -> FloatArray:
        return fold(run.each(product, list(pieces)), np.add)

    def products(with_these: FloatArray) -> FloatArray:
        return np.concatenate(run.each(lambda rows: rows @ with_these, list(pieces)))

    d, m = pieces[0].shape[1], sum(map(len, pieces))
    if count * _NEARLY_ALL >= d:
        _, vectors = eigh(summed(lambda rows: rows.T @ rows), driver="evd", check_finite=False)
        vectors = np.ascontiguousarray(vectors[:, d - count :])
        return vectors, products(vectors)
    every = np.linspace(0, m - 1, min(count + _MORE, m)).astype(int)
    spanned, _ = np.linalg.qr(np.concatenate(pieces)[every].T)
    for _ in range(_ITERATIONS):
        spanned, _ = np.linalg.qr(summed(lambda rows: rows.T @ (rows @ spanned)))  # noqa: B023
    turned = products(spanned)
    _, vectors = eigh(turned.T @ turned, driver="evd", check_finite=False)
    vectors = vectors[:, len(vectors) - count :]
    return spanned @ vectors, turned @ vectors


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
        inverse = (1 / (found + penalty)).ravel()
        return lambda vectors: vectors * inverse

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
