"""What a selection found: the fitted estimator, and how it was chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bottleneck.heads.catalogue import Classifier, Task, strength
from bottleneck.heads.solver.engine import EngineName


@dataclass(frozen=True, eq=False, repr=False)
class Fitted:
    """What :func:`select` found.

    Parameters
    ----------
    kind : str
        Name of the head.
    task : {"classes", "labels", "numbers"}
        What it predicts: one class, labels of which any may hold, or numbers.
    estimator : Classifier
        Fitted on all rows given; predicts indices into ``classes``.
    classes : tuple of str
        Names of the classes that have rows, in the order of the codes given; or of the targets.
    dim : int
        Length of the features.
    rows : int
        Rows it was fitted on.
    best : mapping
        The chosen parameters: ``C``, for ridge also its ``alpha``; those given of an imported one.
    cv : tuple of mappings
        For each C, ascending: ``params``, and ``mean`` and ``std`` (over folds, population)
        of the ``metric``. Empty without cross-validation.
    folds, seed : int
        How the rows were dealt.
    notes : tuple of str
        What people should know: fits that stopped early, a best C at the edge of the grid,
        classes with fewer rows than folds.
    seconds : float
        Wall time of everything.
    nested : mapping or None
        ``mean``, ``std`` and ``folds``: accuracy on folds that took no part in choosing C.
    curve, shots : tuple of mappings
        Accuracy by share of the rows, and by rows per class.
    temperature : float or None
        What scores are divided by to be logits, if that was asked for.
    metric : str
        What strengths were chosen by: ``accuracy``, ``mean_average_precision`` or ``r2``.
    engine : {"numpy", "keras"}
        What it was fitted with.
    """

    kind: str
    estimator: Classifier
    classes: tuple[str, ...]
    dim: int
    rows: int
    best: Mapping[str, Any]
    cv: tuple[Mapping[str, Any], ...]
    folds: int
    seed: int
    notes: tuple[str, ...]
    seconds: float
    nested: Mapping[str, Any] | None = None
    curve: tuple[Mapping[str, Any], ...] = ()
    shots: tuple[Mapping[str, Any], ...] = ()
    temperature: float | None = None
    task: Task = "classes"
    metric: str = "accuracy"
    engine: EngineName = "numpy"

    def __repr__(self) -> str:
        return (
            f"<Fitted {self.kind} {strength(self.best)}{self.rows}x{self.dim}"
            f" in {self.seconds:.1f} s>"
        )

    def report(self) -> dict[str, Any]:
        """Return everything but the estimator, as JSON values."""
        return {
            "best": dict(self.best),
            "cv": [dict(entry) for entry in self.cv],
            "rows": self.rows,
            "features": self.dim,
            "classes": 0 if self.task == "numbers" else len(self.classes),
            "folds": self.folds,
            "seed": self.seed,
            "notes": list(self.notes),
            "seconds": self.seconds,
            **({} if self.nested is None else {"nested": dict(self.nested)}),
            **({"curve": [dict(point) for point in self.curve]} if self.curve else {}),
            **({"shots": [dict(point) for point in self.shots]} if self.shots else {}),
            **({} if self.temperature is None else {"temperature": self.temperature}),
            "metric": self.metric,
        }
