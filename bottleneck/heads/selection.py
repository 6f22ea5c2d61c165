"""Selection: choose C by cross-validation on the training rows, then fit on all of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.catalogue import Classifier, HeadSpec, head_spec
from bottleneck.heads.crossval import cross_validate, recording
from bottleneck.heads.features import as_float32, require_finite
from bottleneck.heads.grid import check_grid
from bottleneck.heads.splits import folds


@dataclass(frozen=True, eq=False, repr=False)
class Fitted:
    """What :func:`select` found.

    Parameters
    ----------
    kind : str
        Name of the head.
    estimator : Classifier
        Pipeline of scaler and classifier, fitted on all rows given; predicts indices into
        ``classes``.
    classes : tuple of str
        Names of the classes that have rows, in the order of the codes given.
    dim : int
        Length of the features.
    rows : int
        Rows it was fitted on.
    best : mapping of str to float
        The chosen parameters: ``C``, for ridge also its ``alpha``.
    cv : tuple of mappings
        For each C, ascending: ``params``, and ``mean`` and ``std`` (over folds, population)
        of the accuracy. Empty without cross-validation.
    folds, seed : int
        How the rows were dealt.
    notes : tuple of str
        What people should know: fits that stopped early, a best C at the edge of the grid,
        classes with fewer rows than folds.
    seconds : float
        Wall time of everything.
    """

    kind: str
    estimator: Classifier
    classes: tuple[str, ...]
    dim: int
    rows: int
    best: Mapping[str, float]
    cv: tuple[Mapping[str, Any], ...]
    folds: int
    seed: int
    notes: tuple[str, ...]
    seconds: float

    def __repr__(self) -> str:
        return (
            f"<Fitted {self.kind} C={self.best['C']:g} {self.rows}x{self.dim}"
            f" in {self.seconds:.1f} s>"
        )

    def report(self) -> dict[str, Any]:
        """Return everything but the estimator, as JSON values."""
        return {
            "best": dict(self.best),
            "cv": [dict(entry) for entry in self.cv],
            "rows": self.rows,
            "features": self.dim,
            "classes": len(self.classes),
            "folds": self.folds,
            "seed": self.seed,
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


def select(
    X: ArrayLike,
    y: ArrayLike,
    *,
    classes: Sequence[str],
    keys: Sequence[str],
    groups: ArrayLike | None = None,
    head: str | HeadSpec = "logreg",
    grid: Sequence[float] | None = None,
    n_folds: int = 5,
    seed: int = 0,
    jobs: int = 1,
) -> Fitted:
    """Choose a head's C on the rows given, which must be training rows only, and fit it.

    Features are standardised; the scaler is fitted inside each fold. The best C has the
    highest mean accuracy over the folds; of equal ones the smallest (the simplest head) wins.

    Parameters
    ----------
    X : array of float32 or float16, shape (n, d)
        Features. Kept in float32 (the ``svm`` head's solver makes a float64 copy of its own).
    y : array of int, shape (n,)
        Codes, indices into ``classes``; rows without a label are left out by the caller.
    classes : sequence of str
        All class names; those without rows are not part of the head.
    keys : sequence of str, length n
        Keys of the rows: they decide the folds.
    groups : array of int, shape (n,), optional
        Rows of one group share a fold; -1 for none.
    head : str or HeadSpec
        Which head.
    grid : sequence of float, optional
        Values of C; the head's own by default.
    n_folds : int
        Folds; 0 skips cross-validation, which needs a grid of one value.
    seed : int
        Decides the folds and any random numbers of the solver.
    jobs : int
        Processes that share the folds, -1 for all cores; they map the features, not copy them.

    Returns
    -------
    Fitted

    Raises
    ------
    HeadError
        For no rows, fewer than two classes, NaN, arrays that do not fit together, or rows
        that cannot be dealt into the folds (see :func:`~bottleneck.heads.folds`).
    OptionError
        For an unknown head, a bad grid, fold or job count.
    """
    start = time.perf_counter()
    spec = head_spec(head) if isinstance(head, str) else head
    values = check_grid(tuple(spec.default_grid if grid is None else grid))
    if jobs == 0:
        raise OptionError("expected 1 or more jobs, or -1 for all cores, got 0")
    if n_folds == 0 and len(values) > 1:
        raise OptionError(
            f"expected 2 or more folds to choose among {len(values)} values of C, got 0",
            hint="Give one value of C to fit without cross-validation.",
        )
    features = as_float32(X)
    names, codes = _present_classes(features, y, classes, keys)
    require_finite(features, keys)

    grid_params = [spec.parameters(c) for c in values]
    notes: list[str] = []
    cv: list[dict[str, Any]] = []
    best = grid_params[0]
    if n_folds:
        fold = folds(keys, np.asarray(y), groups, n_folds, seed)
        scores, raised = cross_validate(
            features, codes, fold, spec, grid_params, seed=seed, jobs=jobs
        )
        notes += raised
        cv = [
            {"params": params, "mean": float(column.mean()), "std": float(column.std())}
            for params, column in zip(grid_params, scores.T, strict=True)
        ]
        best = _choose(cv)
        notes += _thin_classes(codes, names, n_folds) + _edge(best, values)
    estimator, raised = recording(lambda: spec.build(best, seed).fit(features, codes))
    notes += [f"final fit, C={best['C']:g}: {text}" for text in raised]
    return Fitted(
        kind=spec.name,
        estimator=estimator,
        classes=names,
        dim=features.shape[1],
        rows=len(features),
        best=best,
        cv=tuple(cv),
        folds=n_folds,
        seed=seed,
        notes=tuple(notes),
        seconds=time.perf_counter() - start,
    )


def _present_classes(
    X: NDArray[np.float32], y: ArrayLike, classes: Sequence[str], keys: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the classes with rows, and each row's index into them."""
    store_codes = np.asarray(y)
    if len(X) == 0:
        raise HeadError(
            "expected labelled training rows, got none",
            hint="See `bottleneck info` for how many rows are done and labelled.",
        )
    if store_codes.shape != (len(X),) or len(keys) != len(X):
        raise HeadError(
            f"expected a label and a key for each of {len(X)} rows,"
            f" got labels of shape {store_codes.shape} and {len(keys)} keys"
        )
    present, codes = np.unique(store_codes, return_inverse=True)
    if present[0] < 0 or present[-1] >= len(classes):
        raise HeadError(
            f"expected labels from 0 to {len(classes) - 1}, got {present[0]} to {present[-1]}",
            hint="Leave unlabelled rows (-1) out.",
        )
    names = tuple(classes[code] for code in present)
    if len(names) < 2:
        raise HeadError(
            f"expected rows of two or more classes, got {len(X)} rows of {names[0]!r} only",
            hint="A head tells classes apart; give it images of another class.",
        )
    return names, codes.astype(np.int64)


def _choose(cv: list[dict[str, Any]]) -> dict[str, float]:
    """Return the parameters of the highest mean, of the smallest C among equals."""
    top = max(entry["mean"] for entry in cv)
    # Means of the same accuracies may differ in the last bit.
    return next(dict(entry["params"]) for entry in cv if entry["mean"] >= top - 1e-12)


def _thin_classes(codes: NDArray[np.int64], names: tuple[str, ...], n_folds: int) -> list[str]:
    counts = np.bincount(codes)
    thin = [names[i] for i in np.flatnonzero(counts < n_folds)]
    if not thin:
        return []
    shown = ", ".join(thin[:5]) + (", ..." if len(thin) > 5 else "")
    return [f"classes with fewer rows than the {n_folds} folds: {len(thin)} ({shown})"]


def _edge(best: Mapping[str, float], values: tuple[float, ...]) -> list[str]:
    if len(values) > 1 and best["C"] in (values[0], values[-1]):
        side = "smallest" if best["C"] == values[0] else "largest"
        return [f"the best C={best['C']:g} is the {side} of the grid; a wider grid may do better"]
    return []
