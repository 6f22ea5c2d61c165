"""Losses of stacked problems, what a pass computes of them, and the NumPy way to do it.

Losses of linear heads over a stack of problems, with their derivatives.

All work on scores of shape (columns, problems, rows): rows lie last, so that every operation
runs along contiguous memory whatever the number of classes.

Any engine takes the same work and returns the same sums; solvers never see which one it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray, buffer
from bottleneck.heads.solver.question import SumOfArrays
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Weighting, shifted

Kernel: TypeAlias = Callable[[FloatArray, NDArray[np.int64], FloatArray], NDArray[np.float64]]
"""From scores (columns, problems, rows), codes (rows,) or flags (rows, columns), and weights
(problems, rows) to the
weighted loss of each problem; the scores are replaced by the weighted derivatives."""


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
    at = np.arange(len(y))
    Z -= Z.max(axis=0)
    own = Z[y, :, at].T  # (problems, rows)
    np.exp(Z, out=Z)
    Z[y, :, at] = 0
    others = Z.sum(axis=0)
    # 1 - p and log(1 + others) keep their digits where p is 1 but for rounding: the row's own
    # class is in neither. Where it has not the largest score, others is at least 1.
    mine = np.exp(own)
    share = weights / (others + mine)
    Z *= share
    Z[y, :, at] = -(others * share).T
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
    Z *= -t
    Z += 1
    np.maximum(Z, 0, out=Z)
    losses = np.einsum("kpr,kpr->pr", Z, Z)
    Z *= t * -2
    Z *= weights
    return _weighted_sum(losses, weights)


def _weighted_sum(losses: FloatArray, weights: FloatArray) -> NDArray[np.float64]:
    losses *= weights
    total: NDArray[np.float64] = losses.sum(axis=1, dtype=np.float64)
    return total


def signs(columns: int, y: NDArray[np.int64], dtype: Any) -> FloatArray:
    """Return 1 where a column stands for the row's class, -1 elsewhere: (columns, rows)."""
    names = np.array([1]) if columns == 1 else np.arange(columns)
    return np.where(names[:, None] == y, 1, -1).astype(dtype)


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


_MOST_USED = 0.75
"""Share of a block's rows with a weight in some problem, below which those are copied out first."""


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
    """

    loss: Loss
    weights: FloatArray
    intercepts: FloatArray
    used: NDArray[np.int64]
    place: NDArray[np.int64]
    shift: NDArray[np.float64] | None

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
        weights = self.row_weights(data, here)
        used = weights.any(axis=0)
        if used.mean() < _MOST_USED:  # products with other rows would come to nothing
            block, y, weights = block[used], y[used], weights[:, used]
            if not len(block):
                return
        scores = buffer(scratch, "scores", (k * p, len(block)), dtype)
        product = buffer(scratch, "product", (k * p, d), dtype)
        np.matmul(self.weights.reshape(k * p, d), block.T, out=scores)
        Z = scores.reshape(k, p, len(block))
        Z += self.intercepts[:, :, None]
        total[0][...] += self.loss.kernel(Z, y, weights)
        total[1][...] += Z.sum(axis=2, dtype=np.float64)
        np.matmul(scores, block, out=product)
        total[2][...] += product


class Engine(Protocol):
    """A way to do the work of a pass."""

    def __call__(self, run: Pass, work: Work, weighting: Weighting) -> Sums:
        """Go through all rows once."""
        ...


def numpy_engine(run: Pass, work: Work, weighting: Weighting) -> Sums:
    """Multiply blocks in the threads of the pass, or wherever the rows are held."""
    sums: Sums = run.ask(work, weighting)
    return sums
