"""Estimates beside the choice: nested cross-validation, learning curves and few shots."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.kind import Params, Trainer
from bottleneck.heads.selection.splits import first_of_each_class


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
    and j serve both, so that k folds need k (k - 1) / 2 more sweeps, all in lock-step.

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


def require_fit_on_fewest(
    trainer: Trainer,
    y: NDArray[np.int64],
    keys: Sequence[str],
    fold: NDArray[np.int32],
    *,
    candidate: Params,
    shares: Sequence[float],
    shots: Sequence[int],
    few_rows: int,
    seed: int,
) -> None:
    """Fit on the fewest rows of a curve or of shots, before anything that takes long.

    Not every head can be fitted on few rows, and which ones only they know.

    Raises
    ------
    HeadError
        For one that cannot.
    """
    counts: list[Callable[[int], int]] = []
    if shares:
        counts.append(lambda count: max(few_rows, int(np.ceil(min(shares) * count))))
    if shots:
        counts.append(lambda count: min(*shots, count))
    for count_of in counts:
        member = first_of_each_class(keys, y, fold != 0, count_of, seed=seed)
        try:
            trainer.score(member[None], [candidate], fold)
        except ValueError as error:
            reason, _, _ = str(error).partition("\n")
            raise HeadError(
                f"expected a head that can be fitted on {member.sum()} rows, the fewest of a "
                f"learning curve or few shots that were asked for: {reason}",
                hint="Ask for larger shares, or more rows per class.",
            ) from error


def learning_curve(
    trainer: Trainer,
    y: NDArray[np.int64],
    keys: Sequence[str],
    fold: NDArray[np.int32],
    *,
    best: Params,
    shares: Sequence[float],
    few_rows: int = 1,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Fit on shares of the rows outside each fold and score on the fold.

    A smaller share is part of every larger one; classes keep their shares, ``few_rows`` at least.

    Parameters
    ----------
    trainer : Trainer
        Fits the heads.
    y : ndarray of int64, shape (n,)
        Codes.
    keys : sequence of str, length n
        Keys: they decide which rows are taken.
    fold : ndarray of int32, shape (n,)
        Fold of each row.
    best : mapping
        Their parameters.
    shares : sequence of float
        Above 0, at most 1.
    few_rows : int
        Rows of each class that the head can be fitted on, where there are so many.
    seed : int
        Another seed takes other rows.

    Returns
    -------
    list of dict
        For each share, ascending: ``share``, ``rows`` (mean over folds), ``mean`` and ``std``
        (over folds, population) of the accuracy.
    """
    wanted = sorted(set(shares))
    n_folds = int(fold.max()) + 1
    cases = [(share, i) for share in wanted for i in range(n_folds)]

    def take(case: tuple[float, int]) -> NDArray[np.bool_]:
        share, i = case
        return first_of_each_class(
            keys, y, fold != i, lambda count: max(few_rows, int(np.ceil(share * count))), seed=seed
        )

    members = np.stack([take(case) for case in cases])
    scores = _scores(trainer, members, fold, [i for _, i in cases], best)
    return [
        {"share": share, **_summary(members, scores, [c[0] == share for c in cases])}
        for share in wanted
    ]


def few_shots(
    trainer: Trainer,
    y: NDArray[np.int64],
    keys: Sequence[str],
    fold: NDArray[np.int32],
    *,
    best: Params,
    shots: Sequence[int],
    repeats: int = 5,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Fit on a few rows of each class and score on a fold that none of them is from.

    Parameters
    ----------
    trainer, y, keys, fold, best
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
    n_folds = int(fold.max()) + 1
    cases = [(shot, repeat) for shot in wanted for repeat in range(repeats)]

    def take(case: tuple[int, int]) -> NDArray[np.bool_]:
        shot, repeat = case
        return first_of_each_class(
            keys, y, fold != repeat % n_folds, lambda count: min(shot, count), seed=seed + repeat
        )

    members = np.stack([take(case) for case in cases])
    scores = _scores(trainer, members, fold, [r % n_folds for _, r in cases], best)
    return [
        {"shots": shot, **_summary(members, scores, [c[0] == shot for c in cases])}
        for shot in wanted
    ]


def require_parts(shares: Sequence[float], shots: Sequence[int], few_rows: int, name: str) -> None:
    """Refuse shares and shots that are none.

    Raises
    ------
    OptionError
    """
    if not all(0 < share <= 1 for share in shares):
        raise OptionError(f"expected shares above 0 and at most 1, got {list(shares)}")
    if not all(shot >= 1 for shot in shots):
        raise OptionError(f"expected shots of 1 or more, got {list(shots)}")
    if shots and min(shots) < few_rows:
        raise OptionError(
            f"expected {few_rows} or more rows per class as shots of the head {name}, got"
            f" {min(shots)}",
            hint="It cannot be fitted on fewer.",
        )


def _scores(
    trainer: Trainer,
    members: NDArray[np.bool_],
    fold: NDArray[np.int32],
    judged: Sequence[int],
    best: Params,
) -> NDArray[np.float64]:
    scores = trainer.score(members, [best], fold).metric[:, 0]
    return scores[np.arange(len(members)), judged]


def _summary(
    members: NDArray[np.bool_], scores: NDArray[np.float64], chosen: Sequence[bool]
) -> dict[str, Any]:
    mask = np.asarray(chosen)
    return {
        "rows": float(members[mask].sum(axis=1).mean()),
        "mean": float(scores[mask].mean()),
        "std": float(scores[mask].std()),
    }
