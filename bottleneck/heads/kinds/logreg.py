"""Logistic regression, of classes or of labels of which any may hold, streamed and exact."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.heads.kind import Params, Task
from bottleneck.heads.kinds.descent import Descent, DescentClassifier
from bottleneck.heads.kinds.estimator import (
    StreamingEstimator,
    linear_scores,
    probabilities,
    probability_of_each,
)
from bottleneck.heads.kinds.linear_kind import LinearKind
from bottleneck.heads.solver.engine import LOGISTIC, LOGISTIC_EACH, SOFTMAX, Loss
from bottleneck.heads.solver.lockstep import GAP
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Weighting
from bottleneck.heads.solver.sweep import sweep
from bottleneck.heads.solver.swept import Swept


class LogisticRegression(DescentClassifier):
    """Multinomial logistic regression with an L2 penalty, streamed over the rows.

    Minimises scikit-learn's objective ``C * sum of s log loss + |w|^2 / 2`` (two classes: one
    vector of weights), the intercept unpenalised. Reported values are divided by ``C * sum of
    s``, as scikit-learn's solver does.

    Parameters
    ----------
    C : float
        Inverse strength of the penalty.
    tol : float
        Largest component of the gradient to end at.
    gap : float
        And share of the objective that may still be expected to be gained.
    fit_intercept : bool
        Whether scores have a constant.
    class_weight : mapping, "balanced" or None
        As in scikit-learn.
    standardize : bool
        Fit on features less their mean, divided by their deviation. ``coef_`` is of the
        features as they are.
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
        See :class:`~bottleneck.heads.solver.objective.Solution`.
    """

    def _loss(self, n_classes: int) -> Loss:
        return LOGISTIC if n_classes == 2 else SOFTMAX

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities, float64 of shape (n, classes), rows summing to one."""
        return probabilities(self.decision_function(X))

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the logarithms of :meth:`predict_proba`."""
        return np.log(self.predict_proba(X))


class MultiLabelLogisticRegression(Descent, StreamingEstimator):
    """A logistic regression per label, one against the rest, all from the same passes.

    Minimises ``C * sum over rows and labels of s log loss + |w|^2 / 2``: for every label what
    scikit-learn's ``OneVsRestClassifier(LogisticRegression(C))`` minimises. Reported values are
    sums over labels, divided by ``C * sum of s``.

    Parameters
    ----------
    C : float
        Inverse strength of the penalty.
    tol : float
        Largest component of the gradient to end at.
    gap : float
        And share of the objective that may still be expected to be gained.
    fit_intercept : bool
        Whether scores have a constant.
    standardize : bool
        Fit on features less their mean, divided by their deviation. ``coef_`` is of the
        features as they are.
    max_iter : int
        Steps at most.
    threads : int, optional
        Threads of a pass; one per core by default.
    block_rows : int, optional
        Rows multiplied at once.

    Attributes
    ----------
    coef_ : ndarray of float64, shape (labels, d)
    intercept_ : ndarray of float64, shape (labels,)
    objective_, gradient_norm_, gap_, duality_gap_, n_iter_, n_passes_, converged_
        See :class:`~bottleneck.heads.solver.objective.Solution`.
    """

    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]

    def __init__(
        self,
        C: float = 1.0,
        *,
        tol: float = 1e-4,
        gap: float = GAP,
        fit_intercept: bool = True,
        standardize: bool = False,
        max_iter: int = 5000,
        threads: int | None = None,
        block_rows: int | None = None,
    ) -> None:
        self.C = C
        self.tol = tol
        self.gap = gap
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.max_iter = max_iter
        self.threads = threads
        self.block_rows = block_rows

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Find the minimum.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        y : array-like, shape (n, labels)
            1 where a label holds, else 0. Each must hold in some rows, and not in others.
        sample_weight : array-like, shape (n,), optional
            Weights of rows, zero or more.

        Raises
        ------
        ValueError
            For options out of range, other values than 0 and 1, or a label that always (or
            never) holds.
        """
        self._check_options()
        rows, given = self._rows_and_targets(X, y, several=True)
        flags = np.asarray(given)
        if flags.ndim != 2 or not np.isin(flags, (0, 1)).all():
            raise ValueError("expected labels of 0 and 1, of shape (rows, labels)")
        held = flags.sum(axis=0)
        if not ((held > 0) & (held < len(flags))).all():
            raise ValueError("expected labels that hold in some rows and not in others")
        weighting = Weighting(
            flags.astype(np.uint8),
            np.ones((1, len(flags)), bool),
            self._row_weights(rows, sample_weight),
        )
        self.take(self._descend(rows, weighting, LOGISTIC_EACH, flags.shape[1]))
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return scores: float64 of shape (n, labels); above zero where a label holds."""
        return linear_scores(self._check_rows(X), self.coef_, self.intercept_)

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return 1 where a label holds, else 0: shape (n, labels)."""
        return (self.decision_function(X) > 0).astype(np.int64)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of every label by itself, float64 of shape (n, labels)."""
        return probability_of_each(self.decision_function(X))


def _build(task: Task, params: Params) -> Any:
    made = MultiLabelLogisticRegression if task == "labels" else LogisticRegression
    return made(C=params["C"], standardize=True)


def _sweep(
    run: Pass, y: NDArray[Any], n_classes: int, members: NDArray[np.bool_], **options: Any
) -> Swept:
    loss = LOGISTIC_EACH if y.ndim == 2 else LOGISTIC if n_classes == 2 else SOFTMAX
    return sweep(run, y, n_classes, members, loss=loss, **options)


KIND = LinearKind(
    name="logreg",
    description="multinomial logistic regression, L2; gives probabilities",
    tasks=("classes", "labels"),
    grid=(1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
    sweep=_sweep,
    build=_build,
    engines=("numpy", "keras"),
)
