"""What estimators share that are found by descent on a penalised loss."""

import warnings
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from bottleneck.heads.kinds.estimator import LinearClassifier
from bottleneck.heads.rows import Rows
from bottleneck.heads.solver.curvature import diagonal
from bottleneck.heads.solver.engine import Loss
from bottleneck.heads.solver.lockstep import GAP, estimated_curvature, solve
from bottleneck.heads.solver.objective import Problem, Solution, StackedObjective
from bottleneck.heads.solver.row_pass import passes
from bottleneck.heads.solver.scaling import Weighting, no_scaling, standardise


class Descent:
    """A linear head that :func:`~bottleneck.heads.solver.lockstep.solve` finds, as one problem.

    Attributes
    ----------
    objective_, gradient_norm_, gap_, duality_gap_, n_iter_, n_passes_, converged_
        See :class:`~bottleneck.heads.solver.objective.Solution`.
    """

    C: float
    tol: float
    gap: float
    fit_intercept: bool
    standardize: bool
    max_iter: int
    threads: int | None
    block_rows: int | None

    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]
    objective_: float
    gradient_norm_: float
    gap_: float
    duality_gap_: float
    n_iter_: int
    n_passes_: int
    converged_: bool

    def _check_options(self) -> None:
        if not (isinstance(self.C, (int, float, np.number)) and np.isfinite(self.C) and self.C > 0):
            raise ValueError(f"expected C above zero, got {self.C!r}")
        if not (self.tol > 0 and self.max_iter >= 1):
            raise ValueError(
                f"expected tol and max_iter above zero, got {self.tol!r} and {self.max_iter!r}"
            )

    def _descend(self, rows: Rows, weighting: Weighting, loss: Loss, n_classes: int) -> Solution:
        """Minimise a loss over all rows; warn where that was given up."""
        with passes(rows, block_rows=self.block_rows, threads=self.threads) as run:
            stack = StackedObjective(
                run=run,
                loss=loss,
                columns=loss.columns(n_classes),
                weighting=weighting,
                scaling=standardise(run, weighting.unbalanced())
                if self.standardize
                else no_scaling(1, rows.shape[1]),
                fit_intercept=self.fit_intercept,
            )
            problem = Problem(0, 1 / (self.C * float(weighting.totals[0])))
            curvature = estimated_curvature(stack)
            ((found,),) = solve(
                stack,
                [[problem]],
                tolerance=self.tol,
                gap=self.gap,
                max_iter=self.max_iter,
                curvature=curvature,
                nearby=diagonal(run, weighting, loss, stack.columns)
                if curvature is None and not self.standardize
                else None,
            )
        if not np.isfinite(found.objective):
            raise ValueError("expected finite features, the objective became NaN or infinite")
        self._warn(found)
        return found

    def take(self, found: Solution) -> None:
        """Become the head of a solution."""
        self.coef_, self.intercept_ = found.head()
        self.objective_ = found.objective
        self.gradient_norm_ = found.gradient_norm
        self.gap_, self.duality_gap_ = found.gap, found.duality_gap
        self.n_iter_, self.n_passes_ = max(found.iterations, 1), found.passes
        self.converged_ = found.converged

    def _warn(self, found: Solution) -> None:
        if not found.converged:
            warnings.warn(
                f"stopped after {found.iterations} steps: gradient {found.gradient_norm:.2e} "
                f"(tol {self.tol:g}), objective {found.objective:.8g}, at most "
                f"{found.duality_gap:.1e} above the minimum; raise max_iter or standardize the "
                f"features",
                ConvergenceWarning,
                stacklevel=4,
            )


class DescentClassifier(Descent, LinearClassifier):
    """A linear head found by descent on a penalised loss."""

    def __init__(
        self,
        C: float = 1.0,
        *,
        tol: float = 1e-4,
        gap: float = GAP,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        standardize: bool = False,
        max_iter: int = 5000,
        threads: int | None = None,
        block_rows: int | None = None,
    ) -> None:
        self.C = C
        self.tol = tol
        self.gap = gap
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.standardize = standardize
        self.max_iter = max_iter
        self.threads = threads
        self.block_rows = block_rows

    def _loss(self, n_classes: int) -> Loss:
        raise NotImplementedError

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Find the minimum.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
            Float16 and float32 are multiplied in float32 and summed up in float64; all else
            is float64 throughout.
        y : array-like, shape (n,)
            Classes.
        sample_weight : array-like, shape (n,), optional
            Weights of rows, zero or more.

        Raises
        ------
        ValueError
            For options out of range or a single class.
        """
        self._check_options()
        rows, codes, weights = self._begin(X, y, sample_weight)
        n_classes = len(self.classes_)
        weighting = Weighting(
            codes,
            np.ones((1, len(codes)), bool),
            weights,
            self._class_weights(self.class_weight, codes, weights),
        )
        self.take(self._descend(rows, weighting, self._loss(n_classes), n_classes))
        return self
