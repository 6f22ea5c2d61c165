"""What all streaming estimators share, and kinds that are one of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

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

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.kind import (
    DamagedWeightsError,
    Learned,
    Params,
    Scored,
    Task,
    Trainer,
    TrainingData,
)
from bottleneck.heads.rows import (
    BLOCK_ROWS,
    ROWS,
    ArrayRows,
    FloatArray,
    Rows,
    SubsetRows,
    as_rows,
    block_rows,
)
from bottleneck.heads.selection.targets import score_of
from bottleneck.heads.solver.engine import EngineName
from bottleneck.heads.solver.engines import keras_note, keras_place
from bottleneck.heads.solver.finite import require_finite
from bottleneck.heads.solver.question import ListOfRows
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


def probability_of_each(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logistic function of every score by itself, of the same shape."""
    tail = np.exp(-np.abs(scores))
    found: NDArray[np.float64] = np.where(scores >= 0, 1, tail) / (1 + tail)
    return found


@dataclass(frozen=True)
class EstimatorKind:
    """A kind of head made of an estimator; see :class:`~bottleneck.heads.kind.HeadKind`.

    Parameters
    ----------
    name, description, tasks, parameter, prefers, engines, few_rows, by_shards
        As of the protocol.
    build : callable
        From task and parameters to the unfitted estimator. Its ``fit`` takes features, which may
        be read block by block, and codes or targets.
    settings : mapping
        What can be set, and what it is by default; of :attr:`parameter` the values tried.
    learned : tuple of str
        Learned attributes that are all it needs to predict, without ``classes_``: arrays.
    dense : callable, optional
        From a fitted estimator to its layers, see :meth:`~bottleneck.heads.kind.HeadKind.layers`.
    """

    name: str
    description: str
    build: Callable[[Task, Params], Any]
    settings: Params = field(default_factory=dict)
    learned: tuple[str, ...] = ("coef_", "intercept_")
    tasks: tuple[Task, ...] = ("classes",)
    parameter: str = ""
    prefers: Literal["smallest", "largest"] = "smallest"
    engines: tuple[EngineName, ...] = ("numpy",)
    few_rows: int = 1
    by_shards: bool = False
    dense: Callable[[Any], Sequence[tuple[NDArray[Any], NDArray[Any]]]] | None = None

    def candidates(
        self, grid: Sequence[float] | None, settings: Params
    ) -> tuple[dict[str, Any], ...]:
        """Return the settings, for each value of the parameter."""
        if grid is not None:
            raise OptionError(
                f"expected no --C for {self.name}", hint="Use --set name=value for its settings."
            )
        unknown = sorted(set(settings) - set(self.settings))
        if unknown:
            told = f"It has: {', '.join(self.settings)}." if self.settings else "It has none."
            raise OptionError(f"the head {self.name} has no setting {unknown[0]!r}", hint=told)
        params = {**self.settings, **settings}
        if not self.parameter:
            self.check(params)
            return (params,)
        tried = params[self.parameter]
        if not isinstance(tried, (list, tuple)):
            tried = [tried]
        for value in tried:
            self.check({**params, self.parameter: value})
        if not tried:
            raise OptionError(f"expected one or more values of {self.parameter}, got none")
        return tuple({**params, self.parameter: value} for value in sorted(set(tried)))

    def check(self, params: Params) -> None:
        """Refuse values out of range, for kinds that have some.

        Raises
        ------
        OptionError
        """

    def require_savable(self, settings: Params) -> None:
        """Do nothing: arrays can always be saved."""

    def require_size(self, rows: int, features: int) -> None:
        """Do nothing: rows are read block by block."""

    @contextmanager
    def trainer(self, data: TrainingData) -> Iterator[Trainer]:
        """Fit one after the other; those that Keras trains, on its device."""
        if "keras" not in self.engines:
            yield EstimatorTrainer(self, data)
            return
        place = keras_place(data.device)
        with place.scope():
            yield EstimatorTrainer(self, data, [keras_note(place.framework, place.name)])

    def fit(self, data: TrainingData, params: Params, member: NDArray[np.bool_]) -> Any:
        """Fit on a subset of the rows; return the estimator."""
        rows, y = data.subset(member)
        estimator = self.build(data.task, params)
        if hasattr(estimator, "threads"):
            estimator.threads = data.threads
        return estimator.fit(rows, y)

    def notes(self, estimator: Any) -> list[str]:
        """Say what people should know of the final fit."""
        return []

    def weights(self, estimator: Any) -> Learned:
        """Return the learned attributes."""
        return Learned({name.rstrip("_"): getattr(estimator, name) for name in self.learned})

    def restore(self, weights: Learned, task: Task, params: Params, outputs: int, dim: int) -> Any:
        """Put the learned attributes back."""
        estimator = self.build(task, params)
        for name in self.learned:
            array = weights.arrays.get(name.rstrip("_"))
            if array is None:
                raise DamagedWeightsError(f"no {name.rstrip('_')}")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DamagedWeightsError("weights that are not finite")
            setattr(estimator, name, array)
        if task == "classes":
            estimator.classes_ = np.arange(outputs)
        estimator.n_features_in_ = dim
        return estimator

    def layers(self, estimator: Any) -> Sequence[tuple[NDArray[Any], NDArray[Any]]]:
        """Return the layers, of a kind that is some."""
        return () if self.dense is None else self.dense(estimator)


def linear_layer(estimator: Any) -> Sequence[tuple[NDArray[Any], NDArray[Any]]]:
    """Return the layer of a linear classifier."""
    return [(estimator.coef_.T, estimator.intercept_)]


def columns_of(estimator: Any, block: FloatArray, task: Task) -> NDArray[np.float64]:
    """Return an estimator's scores, (n, columns): for two classes those of both.

    Trees and neighbours have shares of votes only.
    """
    if task == "numbers":
        found = np.asarray(estimator.predict(block), np.float64)
        return found[:, None] if found.ndim == 1 else found
    function = getattr(estimator, "decision_function", None) or estimator.predict_proba
    scores = np.asarray(function(block), np.float64)
    return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores


class EstimatorTrainer:
    """Fits an estimator on one subset after the other.

    Parameters
    ----------
    kind : EstimatorKind
        What is fitted.
    data : TrainingData
        On what.
    told : sequence of str
        What is said of every final fit.
    """

    def __init__(self, kind: EstimatorKind, data: TrainingData, told: Sequence[str] = ()) -> None:
        self.kind, self.data, self._told = kind, data, told

    def fit(self, params: Params, member: NDArray[np.bool_]) -> Any:
        """Fit on a subset; what the estimator refuses is told of the head."""
        try:
            return self.kind.fit(self.data, params, member)
        except (ValueError, TypeError) as error:
            if isinstance(error, HeadError):
                raise
            raise HeadError(f"the head {self.kind.name} cannot be trained: {error}") from error

    def score(
        self,
        members: NDArray[np.bool_],
        candidates: Sequence[Params],
        parts: NDArray[np.int32],
    ) -> Scored:
        """Fit every candidate on every subset."""
        k = int(parts.max()) + 1
        metric = np.full((len(members), len(candidates), k), np.nan)
        for i, member in enumerate(members):
            for j, params in enumerate(candidates):
                metric[i, j] = self._judged(self.fit(params, member), member, parts, k)
        return EstimatorScored(self, metric, members, candidates)

    def _judged(
        self,
        estimator: Any,
        member: NDArray[np.bool_],
        parts: NDArray[np.int32],
        k: int,
    ) -> NDArray[np.float64]:
        """Score the rows left out of a subset, apart for each fold, shape (k,)."""
        at = np.flatnonzero(~member)
        task, y = self.data.task, self.data.y[at]
        found = np.full(k, np.nan)
        if not len(at):
            return found
        said = np.concatenate(
            list(_said(estimator, SubsetRows(self.data.rows, at), task, task == "classes"))
        )
        score = score_of(task)
        for part in np.unique(parts[at]):
            own = parts[at] == part
            found[part] = score(y[own], said[own])
        return found

    def final(self, candidate: Params, scored: Scored | None, at: int) -> tuple[Any, list[str]]:
        """Fit on all rows."""
        estimator = self.fit(candidate, np.ones(self.data.rows.shape[0], bool))
        return estimator, [*self.kind.notes(estimator), *self._told]


@dataclass(frozen=True, eq=False)
class EstimatorScored:
    """What estimators on subsets came to; they themselves are not kept."""

    trainer: EstimatorTrainer
    metric: NDArray[np.float64]
    members: NDArray[np.bool_]
    candidates: Sequence[Params]
    notes: Sequence[str] = ()

    def scores(self, at: int) -> NDArray[np.float64]:
        """Score every row by the head that lacks it: they are fitted again."""
        data = self.trainer.data
        found = np.empty((data.rows.shape[0], data.outputs))
        for member in self.members:
            estimator = self.trainer.fit(self.candidates[at], member)
            left_out = np.flatnonzero(~member)
            columns = estimator.classes_ if data.task == "classes" else slice(None)
            start = 0
            for scores in _said(estimator, SubsetRows(data.rows, left_out), data.task, False):
                rows = left_out[start : start + len(scores)]
                wide = np.repeat(scores.min(axis=1, keepdims=True), data.outputs, axis=1)
                wide[:, columns] = scores
                found[rows] = wide
                start += len(scores)
        return found


def _said(estimator: Any, rows: Rows, task: Task, decided: bool) -> Iterable[NDArray[Any]]:
    """Return predictions (``decided``) or scores of all rows, in order, some thousand at a time."""
    question = _Said(estimator, task, decided)
    if rows.layout is None or rows.layout.workers is None:
        return (question.of(block) for block in blocks(rows))
    with passes(rows) as run:  # where the rows are held
        return run.ask(question)


@dataclass(frozen=True, eq=False)
class _Said(ListOfRows):
    """Asks what an estimator says of every row."""

    estimator: Any
    task: Task
    decided: bool
    block_rows: int | None = BLOCK_ROWS

    def of(self, block: FloatArray) -> NDArray[Any]:
        if self.decided:
            return np.asarray(self.estimator.predict(block))
        return columns_of(self.estimator, block, self.task)

    def visit(
        self,
        total: list[NDArray[Any]],
        data: None,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        total.append(self.of(block))


def blocks(rows: Rows) -> Iterator[FloatArray]:
    """Yield rows some thousand at a time; a block is valid until the next."""
    scratch: dict[str, FloatArray] = {}
    step = block_rows(rows.shape[1])
    for start in range(0, rows.shape[0], step):
        yield rows.read(start, min(start + step, rows.shape[0]), scratch)


def number_of(params: Mapping[str, Any], name: str, low: float, high: float, head: str) -> None:
    """Refuse a setting that is no number from ``low`` to ``high``.

    Raises
    ------
    OptionError
    """
    value = params[name]
    if type(value) not in (int, float) or not low <= value <= high:
        raise OptionError(
            f"expected {name} of the head {head} from {low:g} to {high:g}, got {value!r}"
        )
