"""Ridge classifier: closed form, from one pass."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from bottleneck.heads.estimators import LinearClassifier
from bottleneck.heads.gram import gram_moments
from bottleneck.heads.passes import passes
from bottleneck.heads.portions import Weighting, standardise
from bottleneck.heads.ridge_path import LeaveOneOut, RidgePath


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
        See :class:`~bottleneck.heads.estimators.LinearClassifier`.
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
        candidates = [self.alpha] if self.alphas is None else list(self.alphas)
        if not candidates or not all(np.isfinite(a) and a >= 0 for a in candidates):
            raise ValueError(f"expected alphas of zero or more, got {candidates!r}")
        rows, codes, weights = self._begin(X, y, sample_weight)
        weighting = Weighting(
            codes,
            np.ones((1, len(codes)), bool),
            weights,
            self._class_weights(self.class_weight, codes, None),
        )
        with passes(rows, block_rows=self.block_rows, threads=self.threads) as run:
            centre = np.zeros(rows.shape[1])
            if self.fit_intercept or self.standardize:
                centre = standardise(run, weighting).mean[0]
            (moments,) = gram_moments(run, weighting, len(self.classes_), centre)
            if not np.isfinite(moments.gram).all():
                raise ValueError("expected finite features, their sums became NaN or infinite")
            self.path_ = RidgePath.of(
                moments, standardize=self.standardize, fit_intercept=self.fit_intercept
            )
            self.leave_one_out_ = None
            self.alpha_ = float(candidates[0])
            if self.alphas is not None:
                self.leave_one_out_ = self.path_.leave_one_out(run, weighting, candidates)
                scores = self.leave_one_out_.accuracy
                self.alpha_ = max(zip(scores, self.leave_one_out_.alphas, strict=True))[1]
        self.coef_, self.intercept_ = self.path_.solve(self.alpha_)
        return self
