"""Regularised linear problems whose losses and gradients come out of one pass over the rows.

A problem minimises the mean weighted loss of a subset of the rows plus
``penalty / 2 * |w|^2``; with ``penalty = 1 / (C * sum of weights)`` that is scikit-learn's
objective ``C * sum of losses + |w|^2 / 2``, divided by ``C * sum of weights``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.engine import Engine, Loss, Work, numpy_engine
from bottleneck.heads.solver.pairs import Vector
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Scaling, Weighting

Coefficients: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Of features as they are: weights (columns, d) and intercepts (columns,)."""


@dataclass(frozen=True)
class Problem:
    """One problem of the stack.

    Parameters
    ----------
    subset : int
        Which rows, scaled how.
    penalty : float
        Factor of ``|w|^2 / 2`` beside the mean loss.
    """

    subset: int
    penalty: float


@dataclass(frozen=True, eq=False)
class Solution:
    """Where a problem's solver ended.

    Parameters
    ----------
    weights : ndarray of float64, shape (columns, d + 1)
        Of the scaled features; the intercept is the last column.
    mean, scale : ndarray of float64, shape (d,)
        How features are scaled.
    intercept_scale : float
        What the intercept's weight is multiplied by.
    objective : float
        Mean loss plus penalty.
    gradient_norm : float
        Largest component of the objective's gradient.
    gap : float
        Estimated distance of ``objective`` from the minimum, by the solver's quadratic model.
    duality_gap : float
        Upper bound of that distance (with the intercept's gradient at zero):
        ``|gradient|^2 / (2 penalty)``.
    iterations, passes : int
        Steps of the solver, and passes over the rows.
    converged : bool
        Whether the tolerance was reached.
    ahead : ndarray of float64, shape (columns, d + 1), optional
        How far away the solver's model expects the minimum; kept where that is asked for.
    """

    weights: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    intercept_scale: float
    objective: float
    gradient_norm: float
    gap: float
    duality_gap: float
    iterations: int
    passes: int
    converged: bool
    ahead: NDArray[np.float64] | None = None

    def head(self, beyond: float = 0.0) -> Coefficients:
        """Return the same head on the features as they are.

        Made when it is asked for: a sweep over folds and strengths holds many solutions, and
        weights of a thousand classes are large.

        Parameters
        ----------
        beyond : float
            Go on so many times the way that is :attr:`ahead`.
        """
        weights = self.weights if self.ahead is None else self.weights + beyond * self.ahead
        coef = weights[:, :-1] / self.scale
        return coef, weights[:, -1] * self.intercept_scale - coef @ self.mean


class Ended(Protocol):
    """Where a solver ended, and what that took."""

    x: Vector
    value: float
    gradient: Vector
    direction: Vector
    expected: float
    iterations: int
    evaluations: int


@dataclass(frozen=True, eq=False)
class StackedObjective:
    """Everything that problems of one stack share.

    Parameters
    ----------
    run : Pass
        The rows.
    loss : Loss
        The loss.
    columns : int
        Scores per row.
    weighting : Weighting
        Weights per subset.
    scaling : Scaling
        Standardisation per subset.
    fit_intercept : bool
        Whether there is an intercept.
    intercept_scale : float
        What the intercept's weight is multiplied by, as a feature of that constant value.
    """

    run: Pass
    loss: Loss
    columns: int
    weighting: Weighting
    scaling: Scaling
    fit_intercept: bool = True
    intercept_scale: float = 1.0

    def evaluate(
        self, problems: Sequence[Problem], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute objectives and gradients of all problems in one pass.

        Parameters
        ----------
        problems : sequence of Problem, length p
            The problems.
        weights : ndarray of float64, shape (p, columns, d + 1)
            A point for each; the intercept is the last column.

        Returns
        -------
        values : ndarray of float64, shape (p,)
        gradients : ndarray of float64, shape (p, columns, d + 1)
        """
        subset = np.array([problem.subset for problem in problems])
        penalty = np.array([problem.penalty for problem in problems])
        used, place = np.unique(subset, return_inverse=True)
        total = self.weighting.totals[subset]
        scale, offset = self.scaling.scale[subset], self.scaling.offset[subset]
        d = weights.shape[2] - 1
        stacked, intercepts = self._fold(weights, scale, offset)
        k, p, _ = stacked.shape
        work = Work(
            loss=self.loss,
            weights=stacked,
            intercepts=intercepts,
            used=used,
            place=place,
            shift=self.scaling.shift,
        )
        engine: Engine = self.run.engine or numpy_engine
        loss, residual, raw = engine(self.run, work, self.weighting)
        gradients = np.zeros((p, k, d + 1))
        # Gradients by the weights of the scaled features, from sums over rows as they are.
        for i in range(p):
            by_weight = raw.reshape(k, p, d)[:, i] - residual[:, i, None] * offset[i]
            gradients[i, :, :d] = by_weight / (scale[i] * total[i])
            if self.fit_intercept:
                gradients[i, :, d] = residual[:, i] * self.intercept_scale / total[i]
        penalised = weights if self.loss.penalise_intercept else weights[:, :, :d]
        values = loss / total + 0.5 * penalty * np.einsum("pkd,pkd->p", penalised, penalised)
        free = weights[:, :, d:] * (penalty[:, None, None] if self.loss.penalise_intercept else 0)
        gradients[:, :, d:] += free
        gradients[:, :, :d] += penalty[:, None, None] * weights[:, :, :d]
        return values, gradients

    def _fold(
        self,
        weights: NDArray[np.float64],
        scale: NDArray[np.float64],
        offset: NDArray[np.float64],
    ) -> tuple[FloatArray, FloatArray]:
        """Return weights (columns, p, d) and intercepts (columns, p) for prepared blocks."""
        dtype = self.run.rows.dtype
        raw = weights[:, :, :-1] / scale[:, None, :]
        intercepts = weights[:, :, -1] * self.intercept_scale - np.einsum("pkd,pd->pk", raw, offset)
        return np.ascontiguousarray(raw.transpose(1, 0, 2), dtype), intercepts.astype(dtype).T

    @property
    def penalised(self) -> Vector:
        """Ones at the flat weights that the penalty sees, zeros at the others."""
        seen = np.ones((self.columns, self.run.rows.shape[1] + 1))
        if not self.loss.penalise_intercept:
            seen[:, -1] = 0
        return seen.ravel()

    def solution(
        self, problem: Problem, solver: Ended, converged: bool, *, look_ahead: bool = False
    ) -> Solution:
        """Describe where a solver ended."""
        weights = solver.x.reshape(self.columns, -1)
        if self.loss.coupled:  # adding a constant to all intercepts changes nothing
            weights = weights.copy()
            weights[:, -1] -= weights[:, -1].mean()
        gradient = solver.gradient
        return Solution(
            weights=weights,
            mean=self.scaling.mean[problem.subset],
            scale=self.scaling.scale[problem.subset],
            intercept_scale=self.intercept_scale,
            objective=solver.value,
            gradient_norm=float(np.abs(gradient).max()),
            gap=max(solver.expected, 0.0),
            duality_gap=float((gradient**2).sum()) / (2 * problem.penalty),
            iterations=solver.iterations,
            passes=solver.evaluations,
            converged=converged,
            ahead=solver.direction.reshape(self.columns, -1) if look_ahead else None,
        )
