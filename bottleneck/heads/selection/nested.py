"""Nested cross-validation: what choosing a strength and fitting a head is worth together."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.kind import Params, Trainer


def nested_scores(
    trainer: Trainer,
    fold: NDArray[np.int32],
    *,
    candidates: Sequence[Params],
    parameter: str,
    own: NDArray[np.float64],
) -> dict[str, Any]:
    """Judge each fold by heads whose strength was chosen without it.

    For fold i, it is chosen by the mean accuracy on every other fold j of heads fitted on
    neither i nor j; the head on all rows but those of i is then judged on i. Heads without i
    and j serve both, so that k folds need k (k - 1) / 2 more sweeps, all in step.

    Parameters
    ----------
    trainer : Trainer
        Fits the heads.
    fold : ndarray of int32, shape (n,)
        Fold of each row.
    candidates : sequence of mapping
        What is chosen among, the first of equal ones.
    parameter : str
        What they differ in.
    own : ndarray of float64, shape (folds, candidates)
        Accuracy on each fold of heads fitted on all others.

    Returns
    -------
    dict
        ``mean``, ``std`` (over folds, population) and ``folds``: for each, what was chosen (``C``)
        and ``accuracy``.
    """
    pairs = list(combinations(range(len(own)), 2))
    members = np.stack([(fold != i) & (fold != j) for i, j in pairs])
    scores = trainer.score(members, candidates, fold).metric
    judged = []
    for i in range(len(own)):
        inner = [
            scores[at, :, b if a == i else a] for at, (a, b) in enumerate(pairs) if i in (a, b)
        ]
        mean = np.mean(inner, axis=0)
        chosen = int(np.argmax(mean >= mean.max() - 1e-12))
        judged.append({parameter: candidates[chosen][parameter], "accuracy": float(own[i, chosen])})
    accuracies = [entry["accuracy"] for entry in judged]
    return {
        "mean": float(np.mean(accuracies)),
        "std": float(np.std(accuracies)),
        "folds": judged,
    }
