"""What all streaming estimators share: how rows and labels come in, how scores come out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from bottleneck.errors import HeadError
from bottleneck.heads.passes import passes
from bottleneck.heads.rows import ArrayRows, FileRows, FloatArray, Rows, as_rows

_DTYPES = (np.float64, np.float32, np.float16)


def is_stream(X: Any) -> bool:
    """Whether rows are read as they are needed instead of being checked as one array."""
    return (
        isinstance(X, (ArrayRows, FileRows))
        or hasattr(X, "output_name")
        or type(X).__module__.partition(".")[0] == "h5py"
    )


class StreamingClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Base of the estimators: rows from arrays, HDF5 datasets and feature files.

    Arrays are checked as scikit-learn does and are not copied. Datasets and feature files are
    read block by block in every pass.
    """

    classes_: NDArray[Any]
    n_features_in_: int

    def _begin(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[Rows, NDArray[np.int64], NDArray[np.float64] | None]:
        """Check what :meth:`fit` was given; return rows, codes and weights."""
        if is_stream(X):
            rows = as_rows(X)
            labels = np.asarray(y)
            if labels.shape != (rows.shape[0],):
                raise HeadError(
                    f"expected a label for each of {rows.shape[0]} rows, got {labels.shape}"
                )
            self.n_features_in_ = rows.shape[1]
        else:
            X, labels = validate_data(self, X, y, dtype=_DTYPES, accept_sparse=False)
            rows = ArrayRows(X)
        check_classification_targets(labels)
        labels = column_or_1d(labels, warn=True)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"expected rows of two or more classes, got 1 class: {self.classes_[0]!r}"
            )
        weights = None
        if sample_weight is not None:
            shape_only = np.empty((rows.shape[0], 1), np.float64)
            weights = _check_sample_weight(
                sample_weight, shape_only, dtype=np.float64, ensure_non_negative=True
            )
        return rows, codes.astype(np.int64), weights

    def _class_weights(
        self,
        class_weight: Mapping[Any, float] | str | None,
        codes: NDArray[np.int64],
        weights: NDArray[np.float64] | None,
    ) -> NDArray[np.float64] | None:
        """Return the weight of each class, shape (1, classes); None for ones.

        "balanced" counts rows by ``weights`` where they are given.
        """
        if class_weight is None:
            return None
        with np.errstate(divide="ignore"):
            found = compute_class_weight(
                class_weight, classes=self.classes_, y=self.classes_[codes], sample_weight=weights
            )
        if not np.isfinite(found).all():
            raise ValueError("expected rows of weight above zero in every class to balance them")
        return np.asarray(found, np.float64)[None, :]

    def _check_rows(self, X: Any) -> Rows:
        """Check what a fitted estimator is asked about."""
        check_is_fitted(self)
        if not is_stream(X):
            return ArrayRows(validate_data(self, X, dtype=_DTYPES, reset=False))
        rows = as_rows(X)
        if rows.shape[1] != self.n_features_in_:
            raise HeadError(
                f"expected features of length {self.n_features_in_}, got {rows.shape[1]}"
            )
        return rows


class LinearClassifier(StreamingClassifier):
    """A classifier by the largest of some linear scores.

    Attributes
    ----------
    coef_ : ndarray of float64, shape (columns, d)
        One column for two classes, else one per class.
    intercept_ : ndarray of float64, shape (columns,)
    classes_ : ndarray, shape (classes,)
    """

    coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return scores: float64 of shape (n,) for two classes, else (n, classes).

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        """
        scores = linear_scores(self._check_rows(X), self.coef_, self.intercept_)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each row, shape (n,)."""
        scores = self.decision_function(X)
        codes = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[codes]
        return predicted


def linear_scores(
    rows: Rows, coef: NDArray[np.float64], intercept: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute linear scores in float64, block by block: shape (n, columns)."""
    scores = np.empty((rows.shape[0], len(coef)))

    def visit(_: None, start: int, stop: int, block: FloatArray, scratch: object) -> None:
        scores[start:stop] = block.astype(np.float64) @ coef.T

    with passes(rows) as run:
        run.run(lambda: None, visit)
    scores += intercept
    return scores
