"""An estimate of the Hessian that is cheap to invert, from some thousand rows.

The Hessian of a row's loss is the outer product of the row with a small matrix over the
columns: ``diag(p) - p p'`` for the softmax. In the eigenvectors of the features' covariance
the sum over rows is nearly diagonal in the features, so that one (columns x columns) block per
eigenvector is kept: it couples the classes and carries the penalty exactly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.engine import Loss, shares
from bottleneck.heads.solver.pairs import Inverse
from bottleneck.heads.solver.question import PARTS, Columns, ListOfRows, SumOfArrays
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Weighting, require_range

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

_SAME_PENALTY = 0.05
"""Difference of log penalties that counts as none: folds differ by a few rows."""

_ROWS_PER_VECTOR = 32
"""Rows for each eigenvector of its own: applying the estimate then costs a sixteenth of the products
of a pass at most. At 2,000 x 512 that is 62 of 512, and 6% more passes than with all."""

_FEWEST_VECTORS = 16

_ALL_AT_ONCE = 3
"""Share, as a divisor, of all eigenvectors from which a whole decomposition is faster."""

_ITERATIONS = 2
_MORE = 8
"""Vectors beyond those wanted, in a subspace iteration."""

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
        self._rows = np.concatenate(sample.pieces)
        n, d = run.rows.shape
        with np.errstate(over="ignore"):  # named
            squares = np.einsum("ij,ij->j", self._rows, self._rows) / len(self._rows)
        require_range(n * float(squares.max()), run.rows.dtype)
        rank = min(d, max(_FEWEST_VECTORS, n // _ROWS_PER_VECTOR))
        self._basis = _eigenvectors(run, sample.pieces, rank)
        turned = np.concatenate(run.each(lambda rows: rows @ self._basis, sample.pieces))
        self._squares = np.ones((len(turned), rank + 2), turned.dtype)
        np.square(turned, out=self._squares[:, :rank])
        rest = np.einsum("ij,ij->i", self._rows, self._rows) - self._squares[:, :rank].sum(axis=1)
        self._squares[:, rank] = np.maximum(rest, 0) / max(d - rank, 1)
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
        small = 1e-6 * float(blocks[..., -1].max(initial=1e-12))  # the intercepts' common shift is free
        known: dict[float, Inverse] = {}

        def inverse(penalty: float) -> Inverse:
            # Penalties within some percent share one: folds differ by a few rows.
            about = float(np.exp(round(np.log(penalty) / _SAME_PENALTY) * _SAME_PENALTY))
            if about not in known:
                added = np.full(rank + 2, about)
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
        """Return what applies inverses of blocks (columns, columns, rank + 2), or diagonals."""
        basis, dtype = self._basis, self._basis.dtype
        (d, rank), k = basis.shape, inverses.shape[0]
        inverses = inverses.astype(dtype)
        inside, rest, free = inverses[..., :rank], inverses[..., rank], inverses[..., rank + 1]
        inside = np.ascontiguousarray(inside)
        sums = "ijf,mjf->mif" if coupled else "jf,mjf->mjf"
        if d == rank:
            rest = np.zeros_like(rest)
        else:
            inside = inside - rest[..., None]

        def mix(by: NDArray[Any], of: NDArray[Any]) -> NDArray[Any]:
            return by @ of if coupled else by[:, None] * of

        def apply(vectors: NDArray[Any]) -> NDArray[Any]:
            given = vectors.astype(dtype).reshape(-1, k, d + 1)
            weights = np.ascontiguousarray(given[:, :, :d])
            turned = (weights.reshape(-1, d) @ basis).reshape(-1, k, rank)
            turned = np.einsum(sums, inside, turned)
            found = np.empty_like(given)
            found[:, :, :d] = (turned.reshape(-1, rank) @ basis.T).reshape(-1, k, d)
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
        return blocks / len(self._y)

    def _apart(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the blocks' diagonals, shape (k, rank + 2), holding scores of few rows at a time."""
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
    """Invert positive definite matrices (k, k, count), all at once, by Gauss-Jordan elimination."""
    inverse = blocks.copy()
    for i in range(len(inverse)):
        pivot, row, column = inverse[i, i].copy(), inverse[i].copy(), inverse[:, i].copy()
        row /= pivot
        inverse -= column[:, None] * row
        inverse[i] = row
        inverse[:, i] = -column / pivot
        inverse[i, i] = 1 / pivot
    return inverse


def _eigenvectors(run: Pass, pieces: Sequence[FloatArray], count: int) -> FloatArray:
    """Return eigenvectors (d, count) of the rows' products, those of the largest values.

    Few of them by subspace iteration (N. Halko, P. G. Martinsson and J. A. Tropp, SIAM Review 53,
    2011, algorithm 4.4), nearly: enough for an estimate. Products and sums are in the rows' type.
    """

    def summed(product: Callable[[FloatArray], FloatArray]) -> FloatArray:
        first, *others = run.each(product, list(pieces))
        return sum(others, first)

    d = pieces[0].shape[1]
    if count * _ALL_AT_ONCE >= d:
        _, vectors = eigh(summed(lambda rows: rows.T @ rows), driver="evd", check_finite=False)
        return np.ascontiguousarray(vectors[:, d - count :])
    drawn = np.random.default_rng(0).standard_normal((d, min(count + _MORE, d)))
    spanned: FloatArray = drawn.astype(pieces[0].dtype)
    for _ in range(_ITERATIONS):
        spanned, _ = np.linalg.qr(summed(lambda rows: rows.T @ (rows @ spanned)))  # noqa: B023
    inside = summed(lambda rows: (turned := rows @ spanned).T @ turned)
    _, vectors = eigh(inside, driver="evd", check_finite=False)
    return spanned @ vectors[:, len(inside) - count :]


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
