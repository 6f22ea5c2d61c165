"""A head whose strength was selected on training rows, of the catalogue or nearest neighbours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.catalogue import HEAD_NAMES
from bottleneck.heads.features import BLOCK_ROWS
from bottleneck.heads.rows import Rows

COMPARED_HEADS = (*HEAD_NAMES, "knn")
"""What ``--heads`` may name: the catalogue of heads, and nearest neighbours."""

Predictor = Callable[[Rows], tuple[NDArray[np.float64] | None, NDArray[np.float64]]]


@dataclass(frozen=True, eq=False)
class Selected:
    """A head fitted with the strength that cross-validation chose.

    Parameters
    ----------
    best : mapping of str to float
        What was chosen: ``C`` (and ``alpha``), or the number of neighbours ``k``.
    cv : tuple of mappings
        Mean and standard deviation of the accuracy for everything tried.
    notes : tuple of str
        What people should know.
    seconds : float
        To choose and fit.
    predict : callable
        From rows to probabilities (n, classes), None where the head has none, and scores
        (n, classes) of which the largest wins. Columns are all classes; those without
        training rows have probability zero and score minus infinity.
    """

    best: Mapping[str, float]
    cv: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    seconds: float
    predict: Predictor


def select_head(
    rows: Rows,
    y: NDArray[np.int64],
    classes: Sequence[str],
    *,
    head: str,
    keys: Sequence[str],
    groups: NDArray[np.int32],
    n_folds: int,
    seed: int,
    grid: Sequence[float] | None = None,
) -> Selected:
    """Choose a head's strength by cross-validation on training rows, and fit it on all of them.

    Parameters
    ----------
    rows : Rows, shape (n, d)
        Features of the training rows.
    y : ndarray of int64, shape (n,)
        Index into ``classes``.
    classes : sequence of str
        All class names.
    head : str
        One of :data:`COMPARED_HEADS`.
    keys, groups, n_folds, seed
        Decide the folds, see :func:`bottleneck.heads.folds`. With 0 folds the one value of
        the grid is fitted as it is.
    grid : sequence of float, optional
        Strengths to try; the head's own by default.
    """
    from bottleneck.heads import head_spec, select, select_mlp

    if head == "knn":
        from bottleneck.comparison.knn import select_neighbors

        return select_neighbors(
            rows, y, len(classes), keys=keys, groups=groups, n_folds=n_folds, seed=seed
        )
    about: dict[str, Any] = {"classes": classes, "keys": keys, "groups": groups, "seed": seed}
    if head_spec(head).linear:
        fitted = select(rows, y, head=head, n_folds=n_folds, grid=grid, **about)
    else:  # nothing to choose
        fitted = select_mlp(rows, y, n_folds=0, **about)
    codes = [classes.index(name) for name in fitted.classes]
    return Selected(
        best=fitted.best,
        cv=fitted.cv,
        notes=fitted.notes,
        seconds=fitted.seconds,
        predict=_predictor(fitted.estimator, codes, len(classes)),
    )


def _predictor(estimator: Any, codes: list[int], n_classes: int) -> Predictor:
    def widen(found: NDArray[np.float64], absent: float) -> NDArray[np.float64]:
        wide = np.full((len(found), n_classes), absent)
        wide[:, codes] = found
        return wide

    def predict(rows: Rows) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
        probabilities, scores = [], []
        scratch: dict[str, NDArray[np.floating[Any]]] = {}
        for start in range(0, rows.shape[0], BLOCK_ROWS):
            block = rows.read(start, min(start + BLOCK_ROWS, rows.shape[0]), scratch)
            decided = np.asarray(estimator.decision_function(block), np.float64)
            if decided.ndim == 1:  # two classes: one score, of the second
                decided = np.stack([-decided, decided], axis=1)
            scores.append(widen(decided, -np.inf))
            if hasattr(estimator, "predict_proba"):
                shares = np.asarray(estimator.predict_proba(block), np.float64)
                shares /= shares.sum(axis=1, keepdims=True)
                probabilities.append(widen(shares, 0.0))
        return np.concatenate(probabilities) if probabilities else None, np.concatenate(scores)

    return predict
