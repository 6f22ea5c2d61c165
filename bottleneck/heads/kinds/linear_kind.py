"""Linear kinds with a strength C: all strengths and folds are solved in lock-step.

Every strength is called ``C``, the inverse of the L2 regularisation in scikit-learn's
convention, ``0.5 * |w|^2 + C * sum of losses``: a small C is a strong regularisation.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError
from bottleneck.heads.kind import DamagedWeightsError, Learned, Params, Task, TrainingData
from bottleneck.heads.selection.grid import check_grid
from bottleneck.heads.selection.targets import score_of
from bottleneck.heads.solver.engine import EngineName
from bottleneck.heads.solver.engines import engine_named, engine_note
from bottleneck.heads.solver.held_out import held_out_accuracy, out_of_fold_scores
from bottleneck.heads.solver.lockstep import GAP
from bottleneck.heads.solver.row_pass import Pass, passes
from bottleneck.heads.solver.scaling import scaled_targets
from bottleneck.heads.solver.screening import Rule
from bottleneck.heads.solver.swept import Swept, ruled_out_note, unmoved_note


class Sweep(Protocol):
    """Fits a linear head on subsets of the rows with every strength."""

    def __call__(
        self,
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
        """As :func:`bottleneck.heads.solver.sweep.sweep`."""


class Build(Protocol):
    """Makes the unfitted estimator, which standardises the features."""

    def __call__(self, task: Task, params: Params) -> Any:
        """Return it."""


class Parameters(Protocol):
    """Tells the parameters as they are recorded, in the estimator's terms too."""

    def __call__(self, C: float) -> dict[str, Any]:
        """Return them."""


def only_c(C: float) -> dict[str, Any]:
    """Return C as the only parameter."""
    return {"C": C}


@dataclass(frozen=True)
class LinearKind:
    """A linear kind; see :class:`~bottleneck.heads.kind.HeadKind`.

    Parameters
    ----------
    name, description, tasks, engines
        As of the protocol.
    grid : tuple of float
        Values of ``C`` tried by default, ascending; they suit standardised features.
    sweep : callable
        Fits it.
    build : callable
        From task and parameters to the unfitted estimator.
    parameters : callable
        From C to the parameters as they are recorded.
    """

    name: str
    description: str
    tasks: tuple[Task, ...]
    grid: tuple[float, ...]
    sweep: Sweep
    build: Build
    parameters: Parameters = only_c
    engines: tuple[EngineName, ...] = ("numpy",)
    parameter: ClassVar[str] = "C"
    prefers: ClassVar[Literal["smallest"]] = "smallest"
    few_rows: ClassVar[int] = 1
    by_shards: ClassVar[bool] = True

    def candidates(
        self, grid: Sequence[float] | None, settings: Params
    ) -> tuple[dict[str, Any], ...]:
        """Return the parameters of every C."""
        if settings:
            raise OptionError(
                f"expected no --set for the head {self.name}",
                hint="It has a strength only: --C.",
            )
        return tuple(
            self.parameters(c) for c in check_grid(tuple(self.grid if grid is None else grid))
        )

    def require_savable(self, settings: Params) -> None:
        """Do nothing: weights can always be saved."""

    def require_size(self, rows: int, features: int) -> None:
        """Do nothing: rows are read block by block."""

    @contextmanager
    def trainer(self, data: TrainingData) -> "Iterator[LockstepTrainer]":
        """Open the rows for passes."""
        layout = data.rows.layout
        away = layout is not None and layout.workers is not None
        # Where workers compute, this process leaves GPUs alone.
        engine = engine_named(
            data.engine if data.engine in self.engines else self.engines[0],
            "cpu" if away else data.device,
        )
        with passes(data.rows, threads=data.jobs, engine=engine) as run:
            yield LockstepTrainer(self, data, run)

    def weights(self, estimator: Any) -> Learned:
        """Return coefficients and intercepts."""
        return Learned({"coef": estimator.coef_, "intercept": estimator.intercept_})

    def restore(self, weights: Learned, task: Task, params: Params, outputs: int, dim: int) -> Any:
        """Put coefficients and intercepts back."""
        coef, intercept = taken(weights, ("coef", "intercept"))
        plain = coef.dtype == intercept.dtype == np.float64 and coef.ndim == 2
        if not plain or intercept.shape != coef.shape[:1]:
            raise DamagedWeightsError(
                "expected float64 weights (columns, features) and intercepts (columns,), found "
                f"{coef.dtype} {coef.shape} and {intercept.dtype} {intercept.shape}"
            )
        return self.fitted(task, params, coef, intercept)

    def fitted(
        self,
        task: Task,
        params: Params,
        coef: NDArray[np.float64],
        intercept: NDArray[np.float64],
    ) -> Any:
        """Make the fitted estimator of weights (columns, d) and intercepts (columns,)."""
        estimator = self.build(task, params)
        estimator.coef_, estimator.intercept_ = coef, intercept
        estimator.n_features_in_ = coef.shape[1]
        if task == "classes":
            estimator.classes_ = np.arange(2 if len(coef) == 1 else len(coef))
        return estimator

    def layers(self, estimator: Any) -> Sequence[tuple[NDArray[Any], NDArray[Any]]]:
        """Return the one layer."""
        return [(estimator.coef_.T, estimator.intercept_)]


def taken(weights: Learned, names: Sequence[str]) -> list[NDArray[Any]]:
    """Take arrays by name, all of them there and finite."""
    missing = set(names) - weights.arrays.keys()
    if missing:
        raise DamagedWeightsError(f"no {' and no '.join(sorted(missing))}")
    found = [np.asarray(weights.arrays[name]) for name in names]
    if not all(array.dtype.kind != "f" or np.isfinite(array).all() for array in found):
        raise DamagedWeightsError("weights that are not finite")
    return found


class LockstepTrainer:
    """Fits a linear kind on all subsets and with all strengths at once.

    Parameters
    ----------
    kind : LinearKind
        What is fitted.
    data : TrainingData
        On what.
    run : Pass
        Its rows, opened.
    """

    def __init__(self, kind: LinearKind, data: TrainingData, run: Pass) -> None:
        self.data, self.run = data, run
        self._kind = kind
        self.y, self._mean, self._scale = data.y, np.zeros(data.outputs), np.ones(data.outputs)
        if data.task == "numbers":
            self.y, self._mean, self._scale = scaled_targets(data.y)

    def score(
        self,
        members: NDArray[np.bool_],
        candidates: Sequence[Params],
        parts: NDArray[np.int32],
    ) -> "LockstepScored":
        """Fit every strength on every subset in lock-step, and score the rows left out."""
        values = [float(candidate["C"]) for candidate in candidates]
        several = self.data.task == "classes" and len(values) > 1
        screen = self.data.screen if several else None
        swept = self._sweep(members, values=values, parts=parts, screen=screen)
        scored = LockstepScored(self, swept, members, parts, values)
        if screen is not None:
            scored.notes += ruled_out_note(swept, values)
        return scored

    def final(
        self, candidate: Params, scored: "LockstepScored | Any", at: int
    ) -> tuple[Any, list[str]]:
        """Fit a strength on all rows, starting from the folds' mean weights."""
        begin = None
        if scored is not None and scored.swept.solutions:  # they are near the one on all rows
            begin = [np.mean([found[at].weights for found in scored.swept.solutions], axis=0)]
        everything = np.ones((1, len(self.y)), bool)
        found = self._sweep(everything, values=[float(candidate["C"])], gap=GAP, start=begin)
        estimator = self._kind.fitted(self.data.task, candidate, *self._unscaled(*found.head(0, 0)))
        if found.solutions and self.data.task == "classes":
            estimator.take(found.solutions[0][0])
        return estimator, found.notes([candidate["C"]], "final fit") + engine_note(self.run)

    def _sweep(self, members: NDArray[np.bool_], **options: Any) -> Swept:
        return self._kind.sweep(self.run, self.y, self.data.outputs, members, **options)

    def _unscaled(
        self, coef: NDArray[np.float64], intercept: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.data.task == "classes":
            return coef, intercept
        return coef * self._scale[:, None], intercept * self._scale + self._mean


class LockstepScored:
    """What a sweep over subsets came to."""

    def __init__(
        self,
        trainer: LockstepTrainer,
        swept: Swept,
        members: NDArray[np.bool_],
        parts: NDArray[np.int32],
        values: Sequence[float],
    ) -> None:
        self.swept = swept
        self.notes = swept.notes(values, "cross-validation") + unmoved_note(swept, values)
        self._run, self._members = trainer.run, members
        if trainer.data.task == "classes":
            self.metric = held_out_accuracy(trainer.run, trainer.y, members, parts, swept)
            return
        score, y = score_of(trainer.data.task), trainer.y
        k = int(parts.max()) + 1
        self.metric = np.full((len(members), len(values), k), np.nan)
        for at in range(len(values)):
            # A pass for every strength, so that one matrix of scores is held at a time.
            scores = self.scores(at)
            for subset, member in enumerate(members):
                for part in range(k):
                    judged = (parts == part) & ~member
                    if judged.any():
                        self.metric[subset, at, part] = score(y[judged], scores[judged])

    def scores(self, at: int) -> NDArray[np.float64]:
        """Score every row by the head that lacks it, in one pass."""
        return out_of_fold_scores(self._run, self._members, self.swept, at)
