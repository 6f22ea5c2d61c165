"""Ridge regression: every strength from one eigendecomposition.

With standardised features Z, weights S and targets T (numbers; or 1 for the row's class, else
-1), the
head minimises ``sum of s |t - z w - b|^2 + alpha |w|^2``. With ``Z'SZ = Q diag(l) Q'`` (Z and T
centred) the solution is ``w = Q diag(1 / (l + alpha)) Q' Z'ST`` for every alpha. A row's
leave-one-out prediction is ``(p - h t) / (1 - h)`` where p is its fitted value and
``h = s (1 / sum(s) + z' Q diag(1 / (l + alpha)) Q' z)`` (R. D. Cook and S. Weisberg, Residuals
and Influence in Regression, 1982; R. M. Rifkin and R. A. Lippert, Notes on Regularized Least
Squares, MIT-CSAIL-TR-2007-025).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.moments import Moments
from bottleneck.heads.solver.question import SumOfArrays
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Weighting

_ENOUGH = 0.9
"""Share of the rows whose leave-one-out prediction must be known for a score of it."""


@dataclass(frozen=True, eq=False)
class RidgePath:
    """A decomposed ridge problem, ready to be solved for any alpha.

    Parameters
    ----------
    mean, scale : ndarray of float64, shape (d,)
        Standardisation.
    values : ndarray of float64, shape (d,)
        Eigenvalues of the standardised scatter.
    vectors : ndarray of float64, shape (d, d)
        Its eigenvectors, in columns.
    projected : ndarray of float64, shape (d, columns)
        Targets' products with the features, in the eigenvectors' basis.
    target_mean : ndarray of float64, shape (columns,)
        Mean targets.
    numeric : bool
        Whether targets are numbers, not classes.
    total : float
        Sum of weights.
    fit_intercept : bool
        Whether features and targets were centred.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    values: NDArray[np.float64]
    vectors: NDArray[np.float64]
    projected: NDArray[np.float64]
    target_mean: NDArray[np.float64]
    total: float
    fit_intercept: bool
    numeric: bool = False

    @classmethod
    def of(
        cls,
        moments: Moments,
        *,
        standardize: bool,
        fit_intercept: bool = True,
        numeric: bool = False,
    ) -> "RidgePath":
        """Decompose the problem of some rows.

        Parameters
        ----------
        moments : Moments
            Of the rows; about a centre of zero when features are not centred.
        standardize : bool
            Whether features are centred and divided by their standard deviations, as by a
            scaler before the head.
        fit_intercept : bool
            Whether features and targets are centred.
        numeric : bool
            Whether the moments are of targets that are numbers, not of classes.
        """
        mean = moments.mean
        centred = fit_intercept or standardize
        scatter = moments.scatter() if centred else moments.gram
        scale = moments.deviation() if standardize else np.ones_like(mean)
        values, vectors = np.linalg.eigh(scatter / np.outer(scale, scale))
        if numeric:
            target_sum, products = moments.weight, moments.sums
        else:
            # Targets: 2 [class] - 1; two classes need one column, of the second.
            chosen = slice(1, 2) if len(moments.weight) == 2 else slice(None)
            target_sum = 2 * moments.weight[chosen] - moments.total
            products = 2 * moments.sums[chosen] - moments.first
        target_mean = target_sum / moments.total
        if centred:
            products = products - np.outer(target_mean, moments.first)
        return cls(
            mean=mean if centred else np.zeros_like(mean),
            scale=scale,
            values=np.maximum(values, 0),
            vectors=vectors,
            projected=vectors.T @ (products / scale).T,
            target_mean=target_mean if fit_intercept else np.zeros_like(target_mean),
            total=moments.total,
            fit_intercept=fit_intercept,
            numeric=numeric,
        )

    def _inverse(self, alpha: float) -> NDArray[np.float64]:
        floor = len(self.values) * np.finfo(float).eps * self.values[-1]
        shifted = self.values + alpha
        return np.where(shifted > floor, 1 / np.maximum(shifted, np.finfo(float).tiny), 0.0)

    def solve(self, alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return coef (columns, d) and intercept (columns,) on the features as they are."""
        weights = self.vectors @ (self._inverse(alpha)[:, None] * self.projected)
        coef = weights.T / self.scale
        return coef, self.target_mean - coef @ self.mean

    def leave_one_out(
        self, run: Pass, weighting: Weighting, alphas: Sequence[float]
    ) -> "LeaveOneOut":
        """Predict every row by the head fitted on all others, for every alpha, in one pass.

        Parameters
        ----------
        run : Pass
            The rows this problem was made of.
        weighting : Weighting
            Their weights; one subset.
        alphas : sequence of float
            Strengths.
        """
        (n, d), dtype = run.rows.shape, run.rows.dtype
        if n < 2:
            raise ValueError("expected rows to leave one out of, got one sample")
        inverses = np.stack([self._inverse(alpha) for alpha in alphas])  # (a, d)
        heads = (inverses[:, :, None] * self.projected).transpose(1, 0, 2).reshape(d, -1)
        question = _LeftOut(
            base=self.mean.astype(dtype),
            basis=(self.vectors / self.scale[:, None]).astype(dtype),
            heads=heads.astype(dtype),
            spread=inverses.T.astype(dtype),
            target_mean=self.target_mean,
            intercept_share=1 / self.total if self.fit_intercept else 0.0,
            numeric=self.numeric,
        )
        total = run.ask(question, weighting)
        enough = total[2] >= _ENOUGH * total[3]
        accuracy, mse = (
            np.where(enough, part / np.where(enough, total[2], 1), np.nan) for part in total[:2]
        )
        return LeaveOneOut(tuple(map(float, alphas)), tuple(accuracy.tolist()), tuple(mse.tolist()))


@dataclass(frozen=True, eq=False)
class _LeftOut(SumOfArrays):
    """Asks for weighted right rows, squared errors and weights of every strength, (4, a).

    Weights of the rows whose prediction is known come first, those of all rows after them.
    """

    base: FloatArray
    basis: FloatArray
    heads: FloatArray
    spread: FloatArray
    target_mean: NDArray[np.float64]
    intercept_share: float
    numeric: bool

    def new(self) -> NDArray[np.float64]:
        return np.zeros((4, self.spread.shape[1]))

    def visit(
        self,
        total: NDArray[np.float64],
        data: Weighting,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        columns = len(self.target_mean)
        weight = data.block(here, np.dtype(np.float64))[0]
        y = data.y[here]
        rotated = (block - self.base) @ self.basis
        fitted = (rotated @ self.heads).astype(np.float64).reshape(len(y), -1, columns)
        fitted += self.target_mean
        rotated *= rotated
        share = (rotated @ self.spread).astype(np.float64) + self.intercept_share
        leverage = weight[:, None] * share
        # Nearer to 1, what is left of 1 - h is rounding: nothing is known of the row's prediction.
        most = 1 - 256 * np.finfo(self.base.dtype).eps
        known = weight[:, None] * (leverage <= most)
        leverage = np.minimum(leverage, most)[:, :, None]
        if self.numeric:
            target = y.astype(np.float64)[:, None, :]
        else:
            names = np.array([1]) if columns == 1 else np.arange(columns)
            target = np.where(y[:, None] == names, 1.0, -1.0)[:, None, :]
        left_out = (fitted - leverage * target) / (1 - leverage)
        if self.numeric:
            right = np.full(left_out.shape[:2], np.nan)
        elif columns == 1:
            right = (left_out[:, :, 0] > 0) == (y == 1)[:, None]
        else:
            right = left_out.argmax(axis=2) == y[:, None]
        total[0] += np.einsum("ra,ra->a", known, right)
        total[1] += np.einsum("ra,rak->a", known, (left_out - target) ** 2) / columns
        total[2] += known.sum(axis=0)
        total[3] += weight.sum()


@dataclass(frozen=True)
class LeaveOneOut:
    """Scores of leave-one-out predictions.

    Parameters
    ----------
    alphas : tuple of float
        Strengths.
    accuracy, mse : tuple of float
        Weighted share of right rows (NaN for targets that are numbers), and mean squared error
        of the targets, for each. Both are NaN where rows are fitted so closely that nothing is
        known of how they would be predicted: next to no penalty, and as many features as rows.
    """

    alphas: tuple[float, ...]
    accuracy: tuple[float, ...]
    mse: tuple[float, ...]

    def best(self, scores: Sequence[float]) -> float:
        """Return the strength of the highest score, the largest of equals.

        Raises
        ------
        ValueError
            Where no score is known.
        """
        known = [pair for pair in zip(scores, self.alphas, strict=True) if pair[0] == pair[0]]
        if not known:
            raise ValueError(
                "expected an alpha that leaves something to predict, got none of "
                f"{list(self.alphas)}: the head fits every row whatever its target"
            )
        return max(known)[1]
