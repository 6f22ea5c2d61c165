"""How accuracy grows with the number of training rows: learning curves and few shots."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError
from bottleneck.heads.catalogue import HeadSpec
from bottleneck.heads.selection.splits import first_of_each_class
from bottleneck.heads.selection.sweep import held_out_accuracy, sweep
from bottleneck.heads.solver.row_pass import Pass


def learning_curve(
    run: Pass,
    y: NDArray[np.int64],
    keys: Sequence[str],
    fold: NDArray[np.int32],
    *,
    spec: HeadSpec,
    C: float,
    shares: Sequence[float],
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Fit on shares of the rows outside each fold and score on the fold.

    A smaller share is part of every larger one; classes keep their shares, one row at least.

    Parameters
    ----------
    run : Pass
        The rows.
    y : ndarray of int64, shape (n,)
        Codes.
    keys : sequence of str, length n
        Keys: they decide which rows are taken.
    fold : ndarray of int32, shape (n,)
        Fold of each row.
    spec : HeadSpec
        The head.
    C : float
        Its strength.
    shares : sequence of float
        Above 0, at most 1.
    seed : int
        Another seed takes other rows.

    Returns
    -------
    list of dict
        For each share, ascending: ``share``, ``rows`` (mean over folds), ``mean`` and ``std``
        (over folds, population) of the accuracy.
    """
    wanted = sorted(set(shares))
    if not wanted or not all(0 < share <= 1 for share in wanted):
        raise OptionError(f"expected shares above 0 and at most 1, got {list(shares)}")
    n_folds = int(fold.max()) + 1
    cases = [(share, i) for share in wanted for i in range(n_folds)]

    def take(case: tuple[float, int]) -> NDArray[np.bool_]:
        share, i = case
        return first_of_each_class(
            keys, y, fold != i, lambda count: max(1, int(np.ceil(share * count))), seed=seed
        )

    members = np.stack([take(case) for case in cases])
    scores = _scores(run, y, members, fold, [i for _, i in cases], spec=spec, C=C)
    return [
        {"share": share, **_summary(members, scores, [c[0] == share for c in cases])}
        for share in wanted
    ]


def few_shots(
    run: Pass,
    y: NDArray[np.int64],
    keys: Sequence[str],
    fold: NDArray[np.int32],
    *,
    spec: HeadSpec,
    C: float,
    shots: Sequence[int],
    repeats: int = 5,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Fit on a few rows of each class and score on a fold that none of them is from.

    Parameters
    ----------
    run, y, keys, fold, spec, C
        As in :func:`learning_curve`.
    shots : sequence of int
        Rows per class.
    repeats : int
        Draws; draw r is judged on fold r modulo the number of folds.
    seed : int
        Of the first draw.

    Returns
    -------
    list of dict
        For each number, ascending: ``shots``, ``rows``, ``mean`` and ``std`` (over draws,
        population) of the accuracy.
    """
    wanted = sorted(set(shots))
    if not wanted or wanted[0] < 1 or repeats < 1:
        raise OptionError(f"expected shots and repeats of 1 or more, got {list(shots)}, {repeats}")
    n_folds = int(fold.max()) + 1
    cases = [(shot, repeat) for shot in wanted for repeat in range(repeats)]

    def take(case: tuple[int, int]) -> NDArray[np.bool_]:
        shot, repeat = case
        return first_of_each_class(
            keys, y, fold != repeat % n_folds, lambda count: min(shot, count), seed=seed + repeat
        )

    members = np.stack([take(case) for case in cases])
    scores = _scores(run, y, members, fold, [r % n_folds for _, r in cases], spec=spec, C=C)
    return [
        {"shots": shot, **_summary(members, scores, [c[0] == shot for c in cases])}
        for shot in wanted
    ]


def _scores(
    run: Pass,
    y: NDArray[np.int64],
    members: NDArray[np.bool_],
    fold: NDArray[np.int32],
    judged: Sequence[int],
    *,
    spec: HeadSpec,
    C: float,
) -> NDArray[np.float64]:
    swept = sweep(run, y, int(y.max()) + 1, members, spec=spec, values=[C])
    accuracy = held_out_accuracy(run, y, members, fold, swept)[:, 0]
    return accuracy[np.arange(len(members)), judged]


def _summary(
    members: NDArray[np.bool_], scores: NDArray[np.float64], chosen: Sequence[bool]
) -> dict[str, Any]:
    mask = np.asarray(chosen)
    return {
        "rows": float(members[mask].sum(axis=1).mean()),
        "mean": float(scores[mask].mean()),
        "std": float(scores[mask].std()),
    }
