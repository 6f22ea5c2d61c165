"""The linear support vector machine, streamed and exact."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.kind import Params, Task
from bottleneck.heads.kinds.descent import DescentClassifier
from bottleneck.heads.kinds.linear_kind import LinearKind
from bottleneck.heads.solver.engine import SQUARED_HINGE, Loss
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.sweep import sweep
from bottleneck.heads.solver.swept import Swept


class LinearSVC(DescentClassifier):
    """Linear support vector machine, squared hinge, one class against the rest.

    Minimises ``C * sum of s max(0, 1 - t z)^2 + |w|^2 / 2`` for each class; as in
    scikit-learn (liblinear) the intercept is the weight of a constant feature and penalised
    like the others.

    Parameters
    ----------
    C : float
        Inverse strength of the penalty.
    tol : float
        Largest component of the gradient (of the objective over ``C * sum of s``) to end at.
    gap : float
        And share of the objective that may still be expected to be gained.
    fit_intercept : bool
        Whether scores have a constant.
    class_weight : mapping, "balanced" or None
        Weights of rows by their class, in the problem of every class. (liblinear weights only
        the class against the rest, not the rows of the rest.)
    standardize : bool
        As in :class:`LogisticRegression`.
    max_iter : int
        Steps at most.
    threads : int, optional
        Threads of a pass; one per core by default.
    block_rows : int, optional
        Rows multiplied at once.

    Attributes
    ----------
    coef_, intercept_, classes_
        See :class:`~bottleneck.heads.kinds.estimator.LinearClassifier`.
    objective_, gradient_norm_, gap_, duality_gap_, n_iter_, n_passes_, converged_
        See :class:`~bottleneck.heads.solver.objective.Solution`; the objective is the sum over
        classes.
    """

    def _loss(self, n_classes: int) -> Loss:
        return SQUARED_HINGE


def _build(task: Task, params: Params) -> Any:
    return LinearSVC(C=params["C"], standardize=True)


def _sweep(
    run: Pass, y: NDArray[Any], n_classes: int, members: NDArray[np.bool_], **options: Any
) -> Swept:
    return sweep(run, y, n_classes, members, loss=SQUARED_HINGE, **options)


KIND = LinearKind(
    name="svm",
    description="linear support vector machine, squared hinge, one against the rest",
    tasks=("classes",),
    grid=(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    sweep=_sweep,
    build=_build,
    engines=("numpy", "keras"),
)
