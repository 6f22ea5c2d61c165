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
from bottleneck.heads.features import require_finite
from bottleneck.heads.rows import ROWS, ArrayRows, FloatArray, Rows, as_rows
from bottleneck.heads.solver.row_pass import passes

_DTYPES = (np.float64, np.float32, np.float16)


def is_stream(X: Any) -> bool:
    """Whether rows are read as they are needed instead of being checked as one array."""
    return (
        isinstance(X, ROWS)
        or hasattr(X, "output_name")
        or type(X).__module__.partition(".")[0] == "h5py"
    )


class StreamingEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators: rows from arrays, HDF5 datasets and feature files.

    Arrays are checked as scikit-learn does and are not copied. Datasets and feature files are
    read block by block in every pass.
    """

    n_features_in_: int

    def _rows_and_targets(
        self, X: Any, y: ArrayLike, *, several: bool = False, numeric: bool = False
    ) -> tuple[Rows, NDArray[Any]]:
        """Check what :meth:`fit` was given, with one target per row or ``several``."""
        if is_stream(X):
            rows = as_rows(X)
            require_finite(rows)
            targets = np.asarray(y)
            if targets.shape[:1] != (rows.shape[0],) or targets.ndim > 1 + several:
                raise HeadError(
                    f"expected a label for each of {rows.shape[0]} rows, got {targets.shape}"
                )
            self.n_features_in_ = rows.shape[1]
            return rows, targets
        X, targets = validate_data(
            self, X, y, dtype=_DTYPES, accept_sparse=False, multi_output=several, y_numeric=numeric
        )
        return ArrayRows(X), targets

    def _row_weights(
        self, rows: Rows, sample_weight: ArrayLike | None
    ) -> NDArray[np.float64] | None:
        """Check weights of rows; None stands for ones."""
        if sample_weight is None:
            return None
        shape_only = np.empty((rows.shape[0], 1), np.float64)
        weights: NDArray[np.float64] = _check_sample_weight(
            sample_weight, shape_only, dtype=np.float64, ensure_non_negative=True
        )
        return weights

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
        require_finite(rows)
        return rows


def _require_labels(X: Any, labels: NDArray[Any]) -> None:
    """Refuse missing labels: None, NaN, and the -1 that a feature file has for them.

    Raises
    ------
    HeadError
        With how many rows have none, and how to leave them out.
    """
    if labels.dtype.kind == "O":
        missing = np.array(
            [
                label is None or (isinstance(label, float) and np.isnan(label))
                for label in labels.ravel()
            ],
            bool,
        )
    elif labels.dtype.kind == "f":
        missing = np.isnan(labels.ravel())
    else:
        missing = np.zeros(labels.size, bool)
    if getattr(X, "labels", None) is not None and np.array_equal(labels, X.labels):
        missing = labels < 0
    if missing.any():
        raise HeadError(
            f"expected a label in every row, {int(missing.sum())} of {len(labels)} have none",
            hint="Leave them out: rows = np.flatnonzero(store.labels >= 0), then"
            " fit(rows_of(store, store.output_name(), rows), store.labels[rows]), rows_of from"
            " bottleneck.heads.rows.",
        )


class StreamingClassifier(ClassifierMixin, StreamingEstimator):  # type: ignore[misc]
    """Base of the classifiers."""

    classes_: NDArray[Any]

    def _begin(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[Rows, NDArray[np.int64], NDArray[np.float64] | None]:
        """Check what :meth:`fit` was given; return rows, codes and weights."""
        rows, labels = self._rows_and_targets(X, y)
        _require_labels(X, labels)
        check_classification_targets(labels)
        labels = column_or_1d(labels, warn=True)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"expected rows of two or more classes, got 1 class: {self.classes_[0]!r}"
            )
        return rows, codes.astype(np.int64), self._row_weights(rows, sample_weight)

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
        if class_weight == "balanced" and not np.isfinite(found).all():
            raise ValueError("expected rows of weight above zero in every class to balance them")
        if not (np.isfinite(found).all() and (found >= 0).all() and found.any()):
            raise ValueError(
                f"expected finite class weights of zero or more, not all zero, got {class_weight!r}"
            )
        return np.asarray(found, np.float64)[None, :]


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


def probabilities(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logistic probabilities of scores of shape (n,) or (n, classes)."""
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    found: NDArray[np.float64] = np.exp(scores - scores.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    return found
