"""How accuracy grows with the training rows, for every head that is compared."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bottleneck.comparison.alignment import Aligned, Features
from bottleneck.comparison.outer import Protocol
from bottleneck.heads.kind import TrainingData
from bottleneck.heads.registry import head_kind
from bottleneck.heads.selection.curves import few_shots, learning_curve
from bottleneck.heads.selection.splits import folds

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
"""Shares of the training rows (of four folds in five)."""

SHOTS = (1, 2, 4, 8, 16)
"""Training rows per class."""

_REPEATS = 5


def growth(
    aligned: Aligned, features: Features, head: str, protocol: Protocol, best: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Fit on parts of the training rows and score on folds of them; test rows play no part.

    The parameters are those chosen on all training rows.

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
    kind = head_kind(head)
    shots = [count for count in SHOTS if kind.few_rows <= count <= max(1, least)]
    data = TrainingData(
        rows=features.take(train),
        y=y,
        outputs=int(y.max()) + 1,
        task="classes",
        keys=keys,
        groups=protocol.groups[train],
        seed=protocol.seed,
        engine=kind.engines[0],
    )
    about: dict[str, Any] = {"best": best, "seed": protocol.seed}
    with kind.trainer(data) as trainer:
        curve = learning_curve(trainer, y, keys, fold, shares=SHARES, **about)
        return curve, few_shots(trainer, y, keys, fold, shots=shots, repeats=_REPEATS, **about)
