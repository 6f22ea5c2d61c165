"""Kinds that are an estimator of scikit-learn's interface, fitted on one fold after the other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.features import BLOCK_ROWS
from bottleneck.heads.kind import (
    DamagedWeightsError,
    Params,
    Scored,
    Task,
    Trainer,
    TrainingData,
    Weights,
)
from bottleneck.heads.rows import FloatArray, Rows, SubsetRows
from bottleneck.heads.selection.target_scores import score_of
from bottleneck.heads.solver.engine import EngineName


@dataclass(frozen=True)
class EstimatorKind:
    """A kind of head made of an estimator; see :class:`~bottleneck.heads.kind.HeadKind`.

    Parameters
    ----------
    name, description, tasks, parameter, prefers, engines, few_rows
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

    @contextmanager
    def trainer(self, data: TrainingData) -> Iterator[Trainer]:
        """Fit one after the other."""
        yield EstimatorTrainer(self, data)

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

    def weights(self, estimator: Any) -> Weights:
        """Return the learned attributes."""
        return Weights({name.rstrip("_"): getattr(estimator, name) for name in self.learned})

    def restore(self, weights: Weights, task: Task, params: Params, outputs: int, dim: int) -> Any:
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
    """

    def __init__(self, kind: EstimatorKind, data: TrainingData) -> None:
        self.kind, self.data = kind, data

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
        asked: Callable[[FloatArray], NDArray[Any]] = (
            estimator.predict
            if task == "classes"
            else lambda block: columns_of(estimator, block, task)
        )
        said = np.concatenate([asked(block) for block in blocks(SubsetRows(self.data.rows, at))])
        score = score_of(task)
        for part in np.unique(parts[at]):
            own = parts[at] == part
            found[part] = score(y[own], said[own])
        return found

    def final(self, candidate: Params, scored: Scored | None, at: int) -> tuple[Any, list[str]]:
        """Fit on all rows."""
        estimator = self.fit(candidate, np.ones(self.data.rows.shape[0], bool))
        return estimator, self.kind.notes(estimator)


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
            for block in blocks(SubsetRows(data.rows, left_out)):
                rows = left_out[start : start + len(block)]
                scores = columns_of(estimator, block, data.task)
                wide = np.repeat(scores.min(axis=1, keepdims=True), data.outputs, axis=1)
                wide[:, columns] = scores
                found[rows] = wide
                start += len(block)
        return found


def blocks(rows: Rows) -> Iterator[FloatArray]:
    """Yield rows some thousand at a time; a block is valid until the next."""
    scratch: dict[str, FloatArray] = {}
    for start in range(0, rows.shape[0], BLOCK_ROWS):
        yield rows.read(start, min(start + BLOCK_ROWS, rows.shape[0]), scratch)


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
