"""Logistic regression and the linear support vector machine, streamed and exact."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.heads.descent import Descent
from bottleneck.heads.estimators import LinearClassifier
from bottleneck.heads.lockstep import GAP
from bottleneck.heads.losses import LOGISTIC, SOFTMAX, SQUARED_HINGE, Loss
from bottleneck.heads.portions import Weighting


class _Descended(Descent, LinearClassifier):
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


class LogisticRegression(_Descended):
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
        See :class:`~bottleneck.heads.estimators.LinearClassifier`.
    objective_, gradient_norm_, gap_, duality_gap_, n_iter_, n_passes_, converged_
        See :class:`~bottleneck.heads.stack.Solution`.
    """

    def _loss(self, n_classes: int) -> Loss:
        return LOGISTIC if n_classes == 2 else SOFTMAX

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities, float64 of shape (n, classes), rows summing to one."""
        return probabilities(self.decision_function(X))

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the logarithms of :meth:`predict_proba`."""
        return np.log(self.predict_proba(X))


class LinearSVC(_Descended):
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
        See :class:`~bottleneck.heads.estimators.LinearClassifier`.
    objective_, gradient_norm_, gap_, duality_gap_, n_iter_, n_passes_, converged_
        See :class:`~bottleneck.heads.stack.Solution`; the objective is the sum over classes.
    """

    def _loss(self, n_classes: int) -> Loss:
        return SQUARED_HINGE


def probabilities(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logistic probabilities of scores of shape (n,) or (n, classes)."""
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    found: NDArray[np.float64] = np.exp(scores - scores.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    return found
