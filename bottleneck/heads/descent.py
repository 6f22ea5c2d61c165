"""What estimators share that are found by descent on a penalised loss."""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from bottleneck.heads.curvature import diagonal
from bottleneck.heads.lockstep import solve, with_curvature
from bottleneck.heads.losses import Loss
from bottleneck.heads.passes import passes
from bottleneck.heads.portions import Weighting, no_scaling, standardise
from bottleneck.heads.rows import Rows
from bottleneck.heads.stack import Problem, Solution, Stack


class Descent:
    """A linear head that :func:`~bottleneck.heads.lockstep.solve` finds, as one problem.

    Attributes
    ----------
    objective_, gradient_norm_, gap_, duality_gap_, n_iter_, n_passes_, converged_
        See :class:`~bottleneck.heads.stack.Solution`.
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
        if not (np.isfinite(self.C) and self.C > 0):
            raise ValueError(f"expected C above zero, got {self.C!r}")
        if not (self.tol > 0 and self.max_iter >= 1):
            raise ValueError(
                f"expected tol and max_iter above zero, got {self.tol!r} and {self.max_iter!r}"
            )

    def _descend(self, rows: Rows, weighting: Weighting, loss: Loss, n_classes: int) -> Solution:
        """Minimise a loss over all rows; warn where that was given up."""
        with passes(rows, block_rows=self.block_rows, threads=self.threads) as run:
            stack = Stack(
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
            stack, curvature = with_curvature(stack)
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
        self.coef_, self.intercept_ = found.coef, found.intercept
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
