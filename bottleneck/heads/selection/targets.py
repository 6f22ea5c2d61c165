"""Targets as heads take them: labels of which any may hold, and numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.kind import HeadKind, Task
from bottleneck.targets import MISSING


def require_targets(kind: HeadKind) -> list[Task]:
    """Return what a kind can predict of targets.

    Raises
    ------
    OptionError
        For a head that predicts classes only.
    """
    able: list[Task] = [task for task in kind.tasks if task != "classes"]
    if not able:
        raise OptionError(
            f"expected the head logreg or ridge for --target, got {kind.name}",
            hint="logreg is for labels (0 and 1, or lists of labels), ridge for numbers, knn for"
            " both.",
        )
    return able


def task_of_targets(kind: HeadKind, Y: NDArray[Any]) -> Task:
    """Return what a head is to predict of targets: what it can, of both what they look like.

    Raises
    ------
    OptionError
        For a head that predicts classes only.
    """
    able = require_targets(kind)
    if len(able) == 1:
        return able[0]
    return "labels" if np.isin(Y, (0, 1)).all() else "numbers"


def checked_targets(
    task: Task, Y: NDArray[Any], names: tuple[str, ...], keys: Sequence[str], head: str
) -> tuple[NDArray[Any], tuple[str, ...], list[str]]:
    """Check training targets; return those to learn (uint8 or float64), their names, and notes.

    Raises
    ------
    HeadError
        For missing values, or targets that do not vary.
    OptionError
        For other labels than 0 and 1.
    """
    return _labels(Y, names, keys, head) if task == "labels" else _numbers(Y, names, keys)


def strata(Y: NDArray[Any], task: Task) -> NDArray[np.int64]:
    """Return what folds and hold-outs are stratified by: the rarest label of a row, or nothing.

    Parameters
    ----------
    Y : ndarray, shape (n, targets)
        0 and 1 for labels.
    """
    if task != "labels":
        return np.zeros(len(Y), np.int64)
    rarest_first = np.argsort(Y.sum(axis=0, dtype=np.int64), kind="stable")
    ordered = Y[:, rarest_first] == 1
    codes: NDArray[np.int64] = np.where(
        ordered.any(axis=1), ordered.argmax(axis=1), Y.shape[1]
    ).astype(np.int64)
    return codes


def _labels(
    Y: NDArray[Any], names: tuple[str, ...], keys: Sequence[str], head: str
) -> tuple[NDArray[np.uint8], tuple[str, ...], list[str]]:
    wrong = ~np.isin(Y, (0, 1))
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise OptionError(
            f"expected labels of 0 and 1 for the head {head}, got {Y[row, column]:g} in target "
            f"{names[column]!r} of {keys[row]!r}",
            hint="Numbers are predicted by --head ridge.",
        )
    held = Y.sum(axis=0, dtype=np.int64)
    usable = (held > 0) & (held < len(Y))
    if not usable.any():
        raise HeadError(
            f"expected labels that hold in some of {len(Y)} rows and not in others, got none"
        )
    left = [name for name, good in zip(names, usable, strict=True) if not good]
    notes = []
    if left:
        shown = ", ".join(left[:5]) + (", ..." if len(left) > 5 else "")
        notes.append(f"labels left out that hold in no training row, or in all: {shown}")
    kept = tuple(name for name, good in zip(names, usable, strict=True) if good)
    return np.ascontiguousarray(Y[:, usable]).astype(np.uint8), kept, notes


def _numbers(
    Y: NDArray[Any], names: tuple[str, ...], keys: Sequence[str]
) -> tuple[NDArray[np.float64], tuple[str, ...], list[str]]:
    if Y.dtype == np.uint8 and (Y == MISSING).any():  # as columns of flags are kept
        row, column = (int(i) for i in np.argwhere(Y == MISSING)[0])
        raise HeadError(
            f"expected a value in target {names[column]!r} of {keys[row]!r}, got {MISSING}, which "
            "stands for a missing flag",
            hint="Leave such rows out; if it is a number, give the targets as floats.",
        )
    numbers = Y.astype(np.float64)
    if not np.isfinite(numbers).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
        raise HeadError(
            f"expected a number in target {names[column]!r} of {keys[row]!r}, got "
            f"{numbers[row, column]:g}"
        )
    same = np.flatnonzero((numbers == numbers[0]).all(axis=0))
    if len(same):
        raise HeadError(
            f"expected values that differ, target {names[same[0]]!r} is "
            f"{numbers[0, same[0]]:g} in all {len(numbers)} training rows"
        )
    return numbers, names, []
