"""Nearest class mean, one pass."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.heads.kind import Params, Task
from bottleneck.heads.kinds.estimator import EstimatorKind, LinearClassifier, linear_layer
from bottleneck.heads.solver.moments import class_means
from bottleneck.heads.solver.row_pass import passes
from bottleneck.heads.solver.scaling import Weighting, standardise


class NearestMean(LinearClassifier):
    """The class whose mean is nearest, by Euclidean distance.

    A linear classifier: the nearest mean has the largest ``x'm - |m|^2 / 2``.

    Parameters
    ----------
    standardize : bool
        Measure distances in standard deviations of each feature.
    threads : int, optional
        Threads of a pass; one per core by default.

    Attributes
    ----------
    coef_, intercept_, classes_
        See :class:`~bottleneck.heads.kinds.estimator.LinearClassifier`.
    means_ : ndarray of float64, shape (classes, d)
    """

    means_: NDArray[np.float64]

    def __init__(self, *, standardize: bool = False, threads: int | None = None) -> None:
        self.standardize = standardize
        self.threads = threads

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Compute the means.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        y : array-like, shape (n,)
        sample_weight : array-like, shape (n,), optional
        """
        rows, codes, weights = self._begin(X, y, sample_weight)
        weighting = Weighting(codes, np.ones((1, len(codes)), bool), weights)
        with passes(rows, threads=self.threads) as run:
            scaling = standardise(run, weighting)
            self.means_ = class_means(run, weighting, len(self.classes_), scaling.mean[0])
        scale = scaling.scale[0] if self.standardize else np.ones(rows.shape[1])
        # About the centre of all rows, where squares do not cancel.
        centred = (self.means_ - scaling.mean[0]) / scale
        coef = centred / scale
        intercept = -0.5 * np.einsum("kd,kd->k", centred, centred) - coef @ scaling.mean[0]
        if len(self.classes_) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_ = coef, intercept
        return self


def _build(task: Task, params: Params) -> Any:
    return NearestMean(standardize=True)


KIND = EstimatorKind(
    name="nearest_mean",
    description="the class whose mean is nearest, in standard deviations; nothing to choose",
    build=_build,
    by_shards=True,
    dense=linear_layer,
)
