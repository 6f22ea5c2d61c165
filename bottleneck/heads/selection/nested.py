"""Nested cross-validation: what choosing a strength and fitting a head is worth together."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.catalogue import HeadSpec
from bottleneck.heads.selection.sweep import held_out_accuracy, sweep
from bottleneck.heads.solver.row_pass import Pass


def nested_scores(
    run: Pass,
    y: NDArray[np.int64],
    n_classes: int,
    fold: NDArray[np.int32],
    *,
    spec: HeadSpec,
    values: Sequence[float],
    own: NDArray[np.float64],
) -> dict[str, Any]:
    """Judge each fold by heads whose C was chosen without it.

    For fold i, C is chosen by the mean accuracy on every other fold j of heads fitted on
    neither i nor j; the head on all rows but those of i is then judged on i. Heads without i
    and j serve both, so that k folds need k (k - 1) / 2 more sweeps, all in step.

    Parameters
    ----------
    run, y, n_classes, spec, values
        As in :func:`~bottleneck.heads.selection.sweep.sweep`.
    fold : ndarray of int32, shape (n,)
        Fold of each row.
    own : ndarray of float64, shape (folds, strengths)
        Accuracy on each fold of heads fitted on all others.

    Returns
    -------
    dict
        ``mean``, ``std`` (over folds, population) and ``folds``: for each, ``C`` and
        ``accuracy``.
    """
    pairs = list(combinations(range(len(own)), 2))
    members = np.stack([(fold != i) & (fold != j) for i, j in pairs])
    swept = sweep(run, y, n_classes, members, spec=spec, values=values, parts=fold)
    scores = held_out_accuracy(run, y, members, fold, swept)
    judged = []
    for i in range(len(own)):
        inner = [
            scores[at, :, b if a == i else a] for at, (a, b) in enumerate(pairs) if i in (a, b)
        ]
        mean = np.mean(inner, axis=0)
        chosen = int(np.argmax(mean >= mean.max() - 1e-12))
        judged.append({"C": float(values[chosen]), "accuracy": float(own[i, chosen])})
    accuracies = [entry["accuracy"] for entry in judged]
    return {
        "mean": float(np.mean(accuracies)),
        "std": float(np.std(accuracies)),
        "folds": judged,
    }
