"""How accuracy grows with the training rows, for every head that is compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.alignment import Aligned, Features
from bottleneck.comparison.outer import Protocol
from bottleneck.heads.catalogue import head_spec
from bottleneck.heads.rows import Rows
from bottleneck.heads.selection.curves import few_shots, learning_curve
from bottleneck.heads.selection.splits import first_of_each_class, folds
from bottleneck.heads.solver.row_pass import passes

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
"""Shares of the training rows (of four folds in five)."""

SHOTS = (1, 2, 4, 8, 16)
"""Training rows per class."""

_REPEATS = 5


def growth(
    aligned: Aligned, features: Features, head: str, protocol: Protocol, best: Mapping[str, float]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Fit on parts of the training rows and score on folds of them; test rows play no part.

    The strength is the one chosen on all training rows.

    Returns
    -------
    curve, shots : list of dict
        As :func:`bottleneck.heads.selection.curves.learning_curve` and
        :func:`bottleneck.heads.selection.curves.few_shots` make them: ``share`` or ``shots``,
        ``rows``, ``mean`` and ``std`` of the accuracy.
    """
    train = protocol.train
    keys = [aligned.keys[i] for i in train]
    y = np.unique(aligned.y[train], return_inverse=True)[1].astype(np.int64)
    fold = folds(keys, aligned.y[train], protocol.groups[train], protocol.n_folds, protocol.seed)
    least = int(np.bincount(y).min()) * (protocol.n_folds - 1) // protocol.n_folds
    shots = [count for count in SHOTS if count <= max(1, least)]
    if head == "knn":
        k = int(best["k"])

        def take(chosen: NDArray[np.bool_]) -> Rows:
            return features.take(train[chosen])

        return _grow_neighbors(take, y, keys, fold, k=k, shots=shots, seed=protocol.seed)
    about: dict[str, Any] = {"spec": head_spec(head), "C": best["C"], "seed": protocol.seed}
    with passes(features.take(train)) as run:
        curve = learning_curve(run, y, keys, fold, shares=SHARES, **about)
        return curve, few_shots(run, y, keys, fold, shots=shots, repeats=_REPEATS, **about)


def _grow_neighbors(
    take: Callable[[NDArray[np.bool_]], Rows],
    y: NDArray[np.int64],
    keys: Sequence[str],
    fold: NDArray[np.int32],
    *,
    k: int,
    shots: Sequence[int],
    seed: int,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Do the same for nearest neighbours, which are no linear problems to stack."""
    from bottleneck.comparison.knn import neighbor_accuracy

    n_folds, n_classes = int(fold.max()) + 1, int(y.max()) + 1

    def point(name: str, value: float, cases: list[tuple[int, int]], of: Any) -> dict[str, Any]:
        scores, sizes = [], []
        for i, draw in cases:
            members = first_of_each_class(keys, y, fold != i, of, seed=draw)
            judged = fold == i
            scores.append(
                neighbor_accuracy(
                    take(members), y[members], take(judged), y[judged], n_classes=n_classes, k=k
                )
            )
            sizes.append(int(members.sum()))
        return {
            name: value,
            "rows": float(np.mean(sizes)),
            "mean": float(np.mean(scores)),
            "std": float(np.std(scores)),
        }

    every = [(i, seed) for i in range(n_folds)]
    draws = [(repeat % n_folds, seed + repeat) for repeat in range(_REPEATS)]
    return (
        [
            point("share", share, every, lambda n, s=share: max(1, int(np.ceil(s * n))))
            for share in SHARES
        ],
        [point("shots", count, draws, lambda n, c=count: min(c, n)) for count in shots],
    )
