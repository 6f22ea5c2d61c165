"""Losses of stacked problems, what a pass computes of them, and the NumPy way to do it.

Losses of linear heads over a stack of problems, with their derivatives.

All work on scores of shape (columns, problems, rows): rows lie last, so that every operation
runs along contiguous memory whatever the number of classes.

Any engine takes the same work and returns the same sums; solvers never see which one it was.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray, buffer
from bottleneck.heads.solver.question import SumOfArrays
from bottleneck.heads.solver.row_groups import Places, row_groups, runs
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Weighting, shifted

Kernel: TypeAlias = Callable[[FloatArray, NDArray[np.int64], FloatArray], NDArray[np.float64]]
"""From scores (columns, problems, rows), codes (rows,) or flags (rows, columns), and weights
(problems, rows) to the weighted loss of each problem; the scores are replaced by the weighted
derivatives. They have no gaps, and may lie problem by problem."""


@dataclass(frozen=True)
class Loss:
    """A loss of linear scores.

    Parameters
    ----------
    name : str
        Its name.
    kernel : callable
        See :data:`Kernel`.
    curvature : callable
        From scores (columns, rows) and codes to the second derivative of each column's loss
        by its own score, of the same shape.
    penalise_intercept : bool
        Whether the intercept is part of the penalty.
    coupled : bool
        Whether the second derivatives by two columns are ``- p q`` of their :func:`shares`,
        not zero.
    per_label : bool
        Whether every column stands for a label of its own, of which any may hold.
    """

    name: str
    kernel: Kernel
    curvature: Callable[[FloatArray, NDArray[np.int64]], FloatArray]
    penalise_intercept: bool = False
    coupled: bool = False
    per_label: bool = False

    def columns(self, n_classes: int) -> int:
        """Scores per row: one tells two classes apart, labels have one each."""
        return 1 if n_classes == 2 and not self.per_label else n_classes


def softmax(Z: FloatArray, y: NDArray[np.int64], weights: FloatArray) -> NDArray[np.float64]:
    """Multinomial logistic loss: log sum exp of the scores, less the score of the class."""
    flat = Z.ravel(order="K")  # as they lie: no copy
    column, problem = (step // Z.itemsize for step in Z.strides[:2])
    at = y * column + np.arange(weights.shape[1]) + problem * np.arange(len(weights))[:, None]
    Z -= Z.max(axis=0)
    own = flat.take(at)
    np.exp(Z, out=Z)
    flat[at] = 0
    others = Z.sum(axis=0)
    # 1 - p and log(1 + others) keep their digits where p is 1 but for rounding: the row's own
    # class is in neither. Where it has not the largest score, others is at least 1.
    mine = np.exp(own)
    share = weights / (others + mine)
    Z *= share
    share *= others
    flat[at] = -share
    mine -= 1
    others += mine
    np.log1p(others, out=others)
    others -= own
    return _weighted_sum(others, weights)


def logistic(Z: FloatArray, y: NDArray[np.int64], weights: FloatArray) -> NDArray[np.float64]:
    """Binary logistic loss of one column: log(1 + exp(z)) - [y = 1] z."""
    return _weighted_sum(_against(Z[0], y == 1, weights), weights)


def logistic_each(Z: FloatArray, y: NDArray[np.int64], weights: FloatArray) -> NDArray[np.float64]:
    """Binary logistic loss of every column by itself, summed over columns.

    ``y`` is of shape (rows, columns): 1 where a column's label holds, else 0.
    """
    losses = _against(Z, (y.T == 1)[:, None, :], weights)
    return _weighted_sum(losses.sum(axis=0), weights)


def _against(z: FloatArray, positive: NDArray[np.bool_], weights: FloatArray) -> FloatArray:
    """Return log(1 + exp(s)) of the scores s against the truth; z becomes the derivatives.

    Both are small numbers where the truth is all but certain, never differences from one.
    """
    sign = np.where(positive, -1, 1).astype(z.dtype)
    z *= sign
    tail = np.exp(-np.abs(z))
    losses: FloatArray = np.log1p(tail)
    losses += np.maximum(z, 0)
    z[...] = np.where(z >= 0, 1, tail) / (1 + tail)
    z *= sign
    z *= weights
    return losses


def squared_hinge(Z: FloatArray, y: NDArray[np.int64], weights: FloatArray) -> NDArray[np.float64]:
    """Squared hinge loss, each class against the rest: sum over columns of max(0, 1 - t z)^2.

    t is 1 in the column of the row's class, else -1. One column stands for class 1.
    """
    t = signs(len(Z), y, Z.dtype)[:, None, :]
    t *= -1
    Z *= t
    Z += 1
    np.maximum(Z, 0, out=Z)
    losses = np.einsum("kpr,kpr->pr", Z, Z)
    t *= 2
    Z *= t
    Z *= weights
    return _weighted_sum(losses, weights)


def _weighted_sum(losses: FloatArray, weights: FloatArray) -> NDArray[np.float64]:
    losses *= weights
    total: NDArray[np.float64] = losses.sum(axis=1, dtype=np.float64)
    return total


def signs(columns: int, y: NDArray[np.int64], dtype: Any) -> FloatArray:
    """Return 1 where a column stands for the row's class, -1 elsewhere: (columns, rows)."""
    names = np.array([1]) if columns == 1 else np.arange(columns)
    one = np.ones((), dtype)
    return np.where(names[:, None] == y, one, -one)


def shares(Z: FloatArray) -> FloatArray:
    """Return softmax probabilities of scores (columns, rows)."""
    p: FloatArray = np.exp(Z - Z.max(axis=0))
    p /= p.sum(axis=0)
    return p


def _softmax_curvature(Z: FloatArray, y: NDArray[np.int64]) -> FloatArray:
    p = shares(Z)
    curvature: FloatArray = p * (1 - p)
    return curvature


def _logistic_curvature(Z: FloatArray, y: NDArray[np.int64]) -> FloatArray:
    tail = np.exp(-np.abs(Z))
    curvature: FloatArray = tail / (1 + tail) ** 2
    return curvature


def _hinge_curvature(Z: FloatArray, y: NDArray[np.int64]) -> FloatArray:
    inside: FloatArray = np.where(signs(len(Z), y, Z.dtype) * Z < 1, 2, 0).astype(Z.dtype)
    return inside


SOFTMAX = Loss("softmax", softmax, _softmax_curvature, coupled=True)
LOGISTIC = Loss("logistic", logistic, _logistic_curvature)
LOGISTIC_EACH = Loss("logistic_each", logistic_each, _logistic_curvature, per_label=True)
SQUARED_HINGE = Loss("squared_hinge", squared_hinge, _hinge_curvature, penalise_intercept=True)


EngineName: TypeAlias = Literal["numpy", "keras"]

Sums: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Of p problems with k columns: weighted losses (p,), weighted derivatives by the scores summed
over rows (k, p), and their products with the features (k * p, d)."""


BLOCK_ROWS = 2048
"""Rows multiplied at once, where there are as many for every part of them: 10 MiB of 1280 float32
features. With 512 a pass took 3 to 20% longer, the more the fewer features there were."""


@dataclass(frozen=True, eq=False)
class Work(SumOfArrays):
    """Linear scores of all rows under stacked weights, to be turned into losses and gradients.

    As a question (:class:`~bottleneck.heads.solver.question.Question`) it is asked with the
    :class:`~bottleneck.heads.solver.scaling.Weighting` of the rows, and answered with NumPy:
    blocks that fit a core's cache, sums in float64.

    Parameters
    ----------
    loss : Loss
        The loss.
    weights : ndarray of the rows' type, shape (k, p, d)
        Weights of k columns of p problems, on prepared blocks.
    intercepts : ndarray of the rows' type, shape (k, p)
        Intercepts.
    used : ndarray of int64, shape (u,)
        Subsets of the weighting that some problem is of.
    place : ndarray of int64, shape (p,)
        Each problem's among them.
    shift : ndarray of float64, shape (d,), or None
        Subtracted from every block first.
    block_rows : int or None
        Rows per block, at most; by default as the rows were opened.
    """

    loss: Loss
    weights: FloatArray
    intercepts: FloatArray
    used: NDArray[np.int64]
    place: NDArray[np.int64]
    shift: NDArray[np.float64] | None
    block_rows: int | None = None

    def row_weights(self, weighting: Weighting, here: slice) -> FloatArray:
        """Return the weights of a run of rows in each problem, shape (p, rows)."""
        found = weighting.block(here, self.weights.dtype, self.used)
        return found[self.place] if len(self.place) > 1 else found

    def new(self) -> Sums:
        """Return sums of no rows."""
        k, p, d = self.weights.shape
        return np.zeros(p), np.zeros((k, p)), np.zeros((k * p, d))

    def visit(
        self,
        total: Sums,
        data: Weighting,
        here: slice,
        block: FloatArray,
        scratch: dict[str, FloatArray],
    ) -> None:
        """Add the losses and derivatives of a block."""
        k, p, d = self.weights.shape
        dtype = self.weights.dtype
        block, y = shifted(block, self.shift), data.y[here]
        weights = data.block(here, dtype, self.used)

        def cut(rows: Places, problems: Places) -> _Piece:
            if (np.diff(rows) == 1).all():  # side by side: no copy
                own = block[rows[0] : rows[-1] + 1]
            else:
                own = buffer(scratch, "own", (len(rows), d), dtype)
                np.take(block, rows, axis=0, out=own, mode="clip")  # the mode that makes no other
            return _Piece(problems, own, y[rows], weights[:, rows][self.place[problems]])

        product = buffer(scratch, "product", (p, k, d), dtype)
        groups = row_groups(weights != 0, self.place, columns=k, features=d)
        if groups is None:
            piece = _Piece(np.arange(p), block, y, weights[self.place])
            self._multiply(total, piece, product, scratch)
        elif [len(problems) for _, problems in groups] == [p]:
            self._multiply(total, cut(*groups[0]), product, scratch)
        else:
            product[:] = 0
            for rows, problems in groups:
                part = buffer(scratch, "part", (len(problems), k, d), dtype)
                self._multiply(total, cut(rows, problems), part, scratch)
                at = 0
                for run in runs(problems):
                    end = at + run.stop - run.start
                    product[run] += part[at:end]
                    at = end
        total[2].reshape(k, p, d)[...] += product.transpose(1, 0, 2)

    def _multiply(
        self, total: Sums, piece: "_Piece", product: FloatArray, scratch: dict[str, FloatArray]
    ) -> None:
        """Add losses and derivatives; write the products, of shape (problems, k, d)."""
        p, k, d = product.shape
        n = len(piece.block)
        scores = buffer(scratch, "scores", (p * k, n), product.dtype)
        at = 0
        for run in runs(piece.problems):
            stack = self._by_problem[run].reshape(-1, d)
            np.matmul(stack, piece.block.T, out=scores[at : at + len(stack)])
            at += len(stack)
        Z = scores.reshape(p, k, n).transpose(1, 0, 2)
        Z += self.intercepts[:, piece.problems, None]
        total[0][piece.problems] += self.loss.kernel(Z, piece.y, piece.weights)
        total[1][:, piece.problems] += Z.sum(axis=2, dtype=np.float64)
        np.matmul(scores, piece.block, out=product.reshape(p * k, d))

    @cached_property
    def _by_problem(self) -> FloatArray:
        """Return the weights in the order of the problems, shape (p, k, d)."""
        return np.ascontiguousarray(self.weights.transpose(1, 0, 2))


@dataclass(frozen=True, eq=False)
class _Piece:
    """Rows of a block, multiplied with the weights of some problems.

    Parameters
    ----------
    problems : ndarray of int64, shape (p,)
        Which ones, ascending.
    block : ndarray, shape (rows, d)
        The rows.
    y : ndarray
        Their codes or flags.
    weights : ndarray, shape (p, rows)
        What they count in each problem.
    """

    problems: NDArray[np.int64]
    block: FloatArray
    y: NDArray[Any]
    weights: FloatArray


class Engine(Protocol):
    """A way to do the work of a pass."""

    def __call__(self, run: Pass, work: Work, weighting: Weighting) -> Sums:
        """Go through all rows once."""
        ...


def numpy_engine(run: Pass, work: Work, weighting: Weighting) -> Sums:
    """Multiply blocks in the threads of the pass, or wherever the rows are held."""
    sums: Sums = run.ask(replace(work, block_rows=run.block_rows or BLOCK_ROWS), weighting)
    return sums
