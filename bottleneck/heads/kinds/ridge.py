"""Ridge regression, of classes and of numbers: closed form, from one pass."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import MultiOutputMixin, RegressorMixin

from bottleneck.heads.kind import Params, Task
from bottleneck.heads.kinds.estimator import LinearClassifier, StreamingEstimator, linear_scores
from bottleneck.heads.kinds.linear_kind import LinearKind
from bottleneck.heads.solver.moments import gram_moments
from bottleneck.heads.solver.ridge_path import LeaveOneOut, RidgePath
from bottleneck.heads.solver.row_pass import Pass, passes
from bottleneck.heads.solver.scaling import Weighting, scaled_targets, standardise
from bottleneck.heads.solver.screening import Rule
from bottleneck.heads.solver.sweep import sweep_ridge
from bottleneck.heads.solver.swept import Swept


class RidgeClassifier(LinearClassifier):
    """Ridge regression on class targets of 1 and -1, streamed over the rows.

    Minimises scikit-learn's objective ``sum of s |t - w x - b|^2 + alpha |w|^2``. With several
    ``alphas``, the one of the best leave-one-out accuracy is taken, the largest of equals.

    Parameters
    ----------
    alpha : float
        Strength of the penalty, zero or more.
    alphas : sequence of float, optional
        Strengths to choose from; ``alpha`` is not used then.
    fit_intercept : bool
        Whether scores have a constant.
    class_weight : mapping, "balanced" or None
        As in scikit-learn; "balanced" counts rows, whatever their weights.
    standardize : bool
        Fit on features less their mean, divided by their deviation. ``coef_`` is of the
        features as they are.
    threads : int, optional
        Threads of a pass; one per core by default.
    block_rows : int, optional
        Rows read at once where rows are only summed up.

    Attributes
    ----------
    coef_, intercept_, classes_
        See :class:`~bottleneck.heads.kinds.estimator.LinearClassifier`.
    alpha_ : float
        The strength used.
    path_ : RidgePath
        The decomposed problem: solves for any other alpha at once.
    leave_one_out_ : LeaveOneOut or None
        Scores of all ``alphas``.
    """

    alpha_: float
    path_: RidgePath
    leave_one_out_: LeaveOneOut | None

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        alphas: Sequence[float] | None = None,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        standardize: bool = False,
        threads: int | None = None,
        block_rows: int | None = None,
    ) -> None:
        self.alpha = alpha
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.standardize = standardize
        self.threads = threads
        self.block_rows = block_rows

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Solve; two passes, a third one for several ``alphas``.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        y : array-like, shape (n,)
        sample_weight : array-like, shape (n,), optional
        """
        candidates = _candidates(self)
        rows, codes, weights = self._begin(X, y, sample_weight)
        weighting = Weighting(
            codes,
            np.ones((1, len(codes)), bool),
            weights,
            self._class_weights(self.class_weight, codes, None),
        )
        with passes(rows, block_rows=self.block_rows, threads=self.threads) as run:
            self.path_ = _decomposed(self, run, weighting, len(self.classes_))
            self.leave_one_out_ = None
            self.alpha_ = float(candidates[0])
            if self.alphas is not None:
                self.leave_one_out_ = self.path_.leave_one_out(run, weighting, candidates)
                self.alpha_ = self.leave_one_out_.best(self.leave_one_out_.accuracy)
        self.coef_, self.intercept_ = self.path_.solve(self.alpha_)
        return self


class Ridge(MultiOutputMixin, RegressorMixin, StreamingEstimator):  # type: ignore[misc]
    """Ridge regression, streamed over the rows; several targets at once.

    Minimises scikit-learn's objective ``sum of s (t - w x - b)^2 + alpha |w|^2``. With several
    ``alphas``, the one of the least leave-one-out error is taken (mean over targets, each
    divided by its variance), the largest of equals.

    Parameters
    ----------
    alpha : float
        Strength of the penalty, zero or more.
    alphas : sequence of float, optional
        Strengths to choose from; ``alpha`` is not used then.
    fit_intercept : bool
        Whether predictions have a constant.
    standardize : bool
        Fit on features less their mean, divided by their deviation. ``coef_`` is of the
        features as they are.
    threads : int, optional
        Threads of a pass; one per core by default.
    block_rows : int, optional
        Rows read at once where rows are only summed up.

    Attributes
    ----------
    coef_ : ndarray of float64, shape (d,) or (targets, d)
    intercept_ : float, or ndarray of float64, shape (targets,)
        As in scikit-learn: without the second axis where ``y`` had none.
    alpha_ : float
        The strength used.
    leave_one_out_ : LeaveOneOut or None
        Scores of all ``alphas``; ``mse`` is of targets divided by their deviations.
    """

    coef_: NDArray[np.float64]
    intercept_: Any
    alpha_: float
    leave_one_out_: LeaveOneOut | None

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        alphas: Sequence[float] | None = None,
        fit_intercept: bool = True,
        standardize: bool = False,
        threads: int | None = None,
        block_rows: int | None = None,
    ) -> None:
        self.alpha = alpha
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.threads = threads
        self.block_rows = block_rows

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Solve; two passes, a third one for several ``alphas``.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        y : array-like of numbers, shape (n,) or (n, targets)
        sample_weight : array-like, shape (n,), optional
        """
        candidates = _candidates(self)
        rows, given = self._rows_and_targets(X, y, several=True, numeric=True)
        numbers = np.asarray(given, np.float64)
        single = numbers.ndim == 1
        if single:
            numbers = numbers[:, None]
        if not np.isfinite(numbers).all():
            raise ValueError("expected finite targets, got NaN or infinity")
        weights = self._row_weights(rows, sample_weight)
        scaled, mean, scale = scaled_targets(numbers, centre=self.fit_intercept)
        weighting = Weighting(scaled, np.ones((1, len(scaled)), bool), weights)
        with passes(rows, block_rows=self.block_rows, threads=self.threads) as run:
            path = _decomposed(self, run, weighting, scaled.shape[1], numeric=True)
            self.leave_one_out_ = None
            self.alpha_ = float(candidates[0])
            if self.alphas is not None:
                self.leave_one_out_ = path.leave_one_out(run, weighting, candidates)
                errors = self.leave_one_out_.mse
                self.alpha_ = self.leave_one_out_.best([-error for error in errors])
        coef, intercept = path.solve(self.alpha_)
        self.coef_ = coef * scale[:, None]
        self.intercept_ = intercept * scale + mean
        if single:
            self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return predictions: float64 of shape (n,) or (n, targets), as ``y`` was."""
        rows = self._check_rows(X)
        coef, intercept = np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)
        found = linear_scores(rows, coef, intercept)
        return found[:, 0] if self.coef_.ndim == 1 else found


def _candidates(head: RidgeClassifier | Ridge) -> list[float]:
    """Return the strengths to choose from, one or several."""
    found = [head.alpha] if head.alphas is None else list(head.alphas)
    if not found or not all(np.isfinite(a) and a >= 0 for a in found):
        raise ValueError(f"expected alphas of zero or more, got {found!r}")
    return found


def _decomposed(
    head: RidgeClassifier | Ridge,
    run: Pass,
    weighting: Weighting,
    outputs: int,
    *,
    numeric: bool = False,
) -> RidgePath:
    """Sum the rows up and decompose the problem, so that any strength is solved at once."""
    centre = np.zeros(run.rows.shape[1])
    if head.fit_intercept or head.standardize:
        centre = standardise(run, weighting).mean[0]
    (moments,) = gram_moments(run, weighting, outputs, centre)
    if not np.isfinite(moments.gram).all():
        raise ValueError("expected finite features, their sums became NaN or infinite")
    return RidgePath.of(
        moments,
        standardize=head.standardize,
        fit_intercept=head.fit_intercept,
        numeric=numeric,
    )


def c_and_alpha(C: float) -> dict[str, Any]:
    """Return C and alpha: ``sum of squares + alpha * |w|^2`` has an alpha of ``1 / (2 C)``.

    scikit-learn's user guide states the same relation; both values are recorded.
    """
    return {"C": C, "alpha": float(f"{1 / (2 * C):.12g}")}  # 50000, not 49999.99999999999


def _build(task: Task, params: Params) -> Any:
    made = Ridge if task == "numbers" else RidgeClassifier
    return made(alpha=params["alpha"], standardize=True)


def _sweep(
    run: Pass,
    y: NDArray[Any],
    n_classes: int,
    members: NDArray[np.bool_],
    *,
    values: Sequence[float],
    gap: float | None = None,
    parts: NDArray[np.int32] | None = None,
    start: Sequence[NDArray[np.float64]] | None = None,
    screen: Rule | None = None,
) -> Swept:
    alphas = [c_and_alpha(value)["alpha"] for value in values]
    return sweep_ridge(run, y, n_classes, members, alphas=alphas, parts=parts)


KIND = LinearKind(
    name="ridge",
    description="ridge regression on one-hot targets, or of numbers; the fastest",
    tasks=("classes", "numbers"),
    grid=(1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    sweep=_sweep,
    build=_build,
    parameters=c_and_alpha,
)
