"""Linear discriminant analysis, from passes for the means and the products about them."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.heads.kind import Params, Task
from bottleneck.heads.kinds.estimator import (
    EstimatorKind,
    LinearClassifier,
    linear_layer,
    number_of,
    probabilities,
)
from bottleneck.heads.rows import BLOCK_ROWS, FloatArray
from bottleneck.heads.solver.moments import add_products, class_means, weights_of_classes
from bottleneck.heads.solver.question import SumOfArrays
from bottleneck.heads.solver.row_pass import Pass, passes
from bottleneck.heads.solver.scaling import Weighting, require_range, standardise


class LinearDiscriminant(LinearClassifier):
    """Linear discriminant analysis with one covariance for all classes.

    As scikit-learn's ``LinearDiscriminantAnalysis(solver="lsqr")``: scores are
    ``x' S^-1 m - m' S^-1 m / 2 + log prior`` with the (shrunk) covariance S within classes
    (T. Hastie, R. Tibshirani and J. Friedman, The Elements of Statistical Learning, 2nd ed.,
    section 4.3).

    Parameters
    ----------
    shrinkage : float
        Share, 0 to 1, by which the covariance is drawn to a multiple of the identity.
    threads : int, optional
        Threads of a pass; one per core by default.

    Attributes
    ----------
    coef_, intercept_, classes_
        See :class:`~bottleneck.heads.kinds.estimator.LinearClassifier`.
    means_ : ndarray of float64, shape (classes, d)
    priors_ : ndarray of float64, shape (classes,)
        Share of each class in the weights of the rows.
    """

    means_: NDArray[np.float64]
    priors_: NDArray[np.float64]

    def __init__(
        self,
        shrinkage: float = 0.0,
        *,
        threads: int | None = None,
    ) -> None:
        self.shrinkage = shrinkage
        self.threads = threads

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Solve, from passes for the centre, the class means and the products about those.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        y : array-like, shape (n,)
        sample_weight : array-like, shape (n,), optional
        """
        if not 0 <= self.shrinkage <= 1:
            raise ValueError(f"expected a shrinkage of 0 to 1, got {self.shrinkage!r}")
        rows, codes, weights = self._begin(X, y, sample_weight)
        k = len(self.classes_)
        if len(codes) <= k:
            raise ValueError(f"expected more rows than the {k} classes, got {len(codes)} rows")
        weighting = Weighting(codes, np.ones((1, len(codes)), bool), weights)
        with passes(rows, threads=self.threads) as run:
            centre = standardise(run, weighting).mean[0]
            means = class_means(run, weighting, k, centre)
            shift, covariance = _within(run, weighting, means)
        require_range(float(np.abs(covariance).max()), rows.dtype)
        weight = weights_of_classes(weighting, k)
        self.priors_ = weight / weight.sum()
        d = len(covariance)
        spread = float(np.trace(covariance)) / d
        covariance *= 1 - self.shrinkage
        covariance[np.diag_indices(d)] += self.shrinkage * spread
        self.means_ = means + shift
        coef = _solved(covariance, self.means_.T, definite=self.shrinkage > 0).T
        intercept = -0.5 * np.einsum("kd,kd->k", coef, self.means_) + np.log(self.priors_)
        if k == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_ = coef, intercept
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities, float64 of shape (n, classes), rows summing to one."""
        return probabilities(self.decision_function(X))

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the logarithms of :meth:`predict_proba`."""
        return np.log(self.predict_proba(X))


def _solved(
    covariance: NDArray[np.float64], means: NDArray[np.float64], *, definite: bool
) -> NDArray[np.float64]:
    """Solve for the coefficients, by least squares where the covariance may be singular.

    A shrunk one is positive definite: its Cholesky factors take a hundredth of the time.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    if definite:
        try:
            return np.asarray(cho_solve(cho_factor(covariance), means), np.float64)
        except LinAlgError:  # features that are all constant within their classes
            pass
    return np.asarray(np.linalg.lstsq(covariance, means, rcond=None)[0], np.float64)


def _within(
    run: Pass, weighting: Weighting, means: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the class means are off by, and the covariance within classes.

    Products are of differences from the row's own class mean, so that a class far from the
    others costs no digits.
    """
    bases = means.astype(run.rows.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        sums, products = run.ask(_Within(bases), weighting)
    weight = weights_of_classes(weighting, len(means))
    shift = sums / weight[:, None]
    scatter = products - (shift.T * weight) @ shift
    return shift + bases - means, scatter / weight.sum()


@dataclass(frozen=True, eq=False)
class _Within(SumOfArrays):
    """Asks for sums by class and products of rows, less the base of their class."""

    bases: FloatArray
    block_rows: int | None = BLOCK_ROWS
    parts: int = 1

    def new(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        k, d = self.bases.shape
        return np.zeros((k, d)), np.zeros((d, d))

    def visit(
        self,
        total: tuple[NDArray[np.float64], NDArray[np.float64]],
        data: Weighting,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        dtype = self.bases.dtype
        codes = data.y[here]
        weights = data.block(here, dtype)[0]
        with np.errstate(over="ignore", invalid="ignore"):  # named by require_range
            picked = np.zeros((len(self.bases), len(block)), dtype)
            picked[codes, np.arange(len(block))] = weights
            add_products(*total, picked, block, weights, bases=self.bases, codes=codes)


def _build(task: Task, params: Params) -> Any:
    return LinearDiscriminant(shrinkage=params["shrinkage"])


@dataclass(frozen=True)
class DiscriminantKind(EstimatorKind):
    """Linear discriminant analysis, whose shrinkage is chosen."""

    def check(self, params: Params) -> None:
        """Refuse a shrinkage that is no share."""
        number_of(params, "shrinkage", 0, 1, self.name)


KIND = DiscriminantKind(
    name="lda",
    description="linear discriminant analysis, one shrunk covariance; gives probabilities",
    build=_build,
    settings={"shrinkage": (0.01, 0.1, 0.5)},
    parameter="shrinkage",
    prefers="largest",
    few_rows=2,  # a covariance takes more rows than there are classes
    by_shards=True,
    dense=linear_layer,
)
