"""What a kind of head is: all that selection, a head's file and the exports need of it.

A kind says which parameters may be tried (:meth:`HeadKind.candidates`), fits them on subsets of
the rows (:meth:`HeadKind.trainer`), and turns a fitted estimator into arrays and back. Nothing
but the registry knows the kinds by name.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import Rows, SubsetRows
from bottleneck.heads.solver.engine import EngineName
from bottleneck.heads.solver.screening import Rule

Task: TypeAlias = Literal["classes", "labels", "numbers"]
"""What a head predicts: one class, labels of which any may hold, or numbers."""

TASKS: tuple[Task, ...] = ("classes", "labels", "numbers")

Params: TypeAlias = Mapping[str, Any]
"""Parameters of an estimator, as JSON values."""


class Classifier(Protocol):
    """A fitted estimator of scikit-learn's interface.

    ``predict`` takes features (n, d) and returns codes; ``decision_function`` returns scores
    (n,) for two classes, else (n, k), or ``predict_proba`` shares (n, k); ``classes_`` holds the
    codes in column order.
    """

    def predict(self, X: Any) -> Any:
        """Return a code per row."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What heads are fitted on, in a selection.

    Parameters
    ----------
    rows : Rows, shape (n, d)
        Features, float32.
    y : ndarray of int64, shape (n,); or of numbers, shape (n, targets)
        Codes from 0 to ``outputs - 1``; or targets: labels of 0 and 1 (uint8), or float64.
    outputs : int
        Classes or targets.
    task : {"classes", "labels", "numbers"}
        What ``y`` is.
    keys : sequence of str, length n
        Keys of the rows: what is drawn at random is drawn by them.
    groups : ndarray of int, shape (n,), or None
        Rows of one group are not torn apart.
    seed : int
        Of anything random.
    jobs : int
        Threads or processes, -1 for all cores.
    engine : {"numpy", "keras"}
        Of kinds that offer both.
    device : str, optional
        Of the engine keras: ``cpu``, ``gpu`` or ``gpu:N``.
    screen : Rule, optional
        What the parameter will be chosen by, where those that cannot be chosen need not be
        solved to the end.
    """

    rows: Rows
    y: NDArray[Any]
    outputs: int
    task: Task
    keys: Sequence[str]
    groups: NDArray[Any] | None = None
    seed: int = 0
    jobs: int = -1
    engine: EngineName = "numpy"
    device: str | None = None
    screen: Rule | None = None

    @property
    def threads(self) -> int | None:
        """Threads of a pass; None for one per core."""
        return None if self.jobs < 0 else self.jobs

    def subset(self, member: NDArray[np.bool_]) -> tuple[Rows, NDArray[Any]]:
        """Return the rows of a subset, read where they lie, and their codes or targets."""
        if member.all():
            return self.rows, self.y
        at = np.flatnonzero(member)
        return SubsetRows(self.rows, at), self.y[at]


class Scored(Protocol):
    """Heads on subsets of the rows, judged by the rows left out."""

    @property
    def metric(self) -> NDArray[np.float64]:
        """Accuracy, mean average precision or R2, shape (subsets, candidates, folds).

        NaN where a fold has no row left out, or none to judge by.
        """

    @property
    def notes(self) -> Sequence[str]:
        """What people should know."""

    def scores(self, at: int) -> NDArray[np.float64]:
        """Score every row by the heads that lack it, of one candidate: shape (n, columns)."""


class Trainer(Protocol):
    """Fits a kind of head on subsets of some rows."""

    def score(
        self,
        members: NDArray[np.bool_],
        candidates: Sequence[Params],
        parts: NDArray[np.int32],
    ) -> Scored:
        """Fit every candidate on every subset, and judge it by the rows left out.

        Parameters
        ----------
        members : ndarray of bool, shape (subsets, n)
            Which rows belong to each subset.
        candidates : sequence of mapping
            Of :meth:`HeadKind.candidates`.
        parts : ndarray of int32, shape (n,)
            Fold of each row: rows left out are judged apart for each.
        """

    def final(self, candidate: Params, scored: Scored | None, at: int) -> tuple[Any, list[str]]:
        """Fit a candidate on all rows; return the estimator, and notes.

        ``scored`` holds the heads of the folds, if there were any, and ``at`` is the
        candidate's place among them: a place to start from.
        """


@dataclass(frozen=True)
class Learned:
    """What a head's file holds of an estimator.

    Parameters
    ----------
    arrays : mapping of str to ndarray or Rows
        By name; rows are written block by block.
    whole : bytes, optional
        What skops wrote of an estimator that is more than arrays.
    """

    arrays: Mapping[str, Any] = field(default_factory=dict)
    whole: bytes | None = None


@runtime_checkable
class OnDevice(Protocol):
    """A fitted estimator that a framework computes; NumPy computes the others."""

    def compute_on(self, device: str | None, tell: Callable[[str], None]) -> None:
        """Compute on a device from now on; see :func:`bottleneck.runtimes.placed`."""


class DamagedWeightsError(ValueError):
    """Weights that contradict each other, or what is said of them."""


class HeadKind(Protocol):
    """A kind of head.

    :class:`~bottleneck.heads.kinds.estimator.EstimatorKind` makes one of any estimator.
    """

    @property
    def name(self) -> str:
        """What people type."""

    @property
    def description(self) -> str:
        """One line for help texts."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it can predict."""

    @property
    def parameter(self) -> str:
        """The parameter that cross-validation chooses: ``C``, ``k``; "" for none."""

    @property
    def prefers(self) -> Literal["smallest", "largest"]:
        """Which of equally good values of the parameter makes the simplest head."""

    @property
    def engines(self) -> tuple[EngineName, ...]:
        """What it can be fitted with; the first one by default."""

    @property
    def by_shards(self) -> bool:
        """Whether others can hold the rows: it is found by questions about them all."""

    @property
    def few_rows(self) -> int:
        """Rows per class that it can be fitted on, cheaply; 0 where that is not for it."""

    def candidates(
        self, grid: Sequence[float] | None, settings: Params
    ) -> tuple[dict[str, Any], ...]:
        """Return the parameters to try, by ascending :attr:`parameter`.

        Parameters
        ----------
        grid : sequence of float, optional
            Values of C, for kinds that have one.
        settings : mapping
            Other parameters.

        Raises
        ------
        OptionError
            For values or settings that it does not take.
        """

    def require_savable(self, settings: Params) -> None:
        """Refuse what could not be saved, before it is fitted."""

    def require_size(self, rows: int, features: int) -> None:
        """Refuse more rows than it can be fitted on, before anything is fitted.

        Raises
        ------
        HeadError
        """

    def trainer(self, data: TrainingData) -> AbstractContextManager[Trainer]:
        """Open the rows for fitting."""

    def weights(self, estimator: Any) -> Learned:
        """Return what a file has to hold of a fitted estimator."""

    def restore(self, weights: Learned, task: Task, params: Params, outputs: int, dim: int) -> Any:
        """Make the fitted estimator of its weights again.

        Raises
        ------
        DamagedWeightsError
            For weights that are not its.
        """

    def layers(self, estimator: Any) -> Sequence[tuple[NDArray[Any], NDArray[Any]]]:
        """Return weights (in, out) and biases (out,) of dense layers with ReLU between them.

        What an ONNX model is made of; empty for a kind that is no such layers.
        """
