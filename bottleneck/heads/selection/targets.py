"""Selection for targets: labels of which any may hold, and numbers."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.catalogue import Task, head_spec
from bottleneck.heads.features import as_feature_rows, require_finite
from bottleneck.heads.kinds.ridge import scaled_targets
from bottleneck.heads.rows import Rows
from bottleneck.heads.selection.calibration import out_of_fold_scores
from bottleneck.heads.selection.engines import engine_named, engine_note
from bottleneck.heads.selection.fitted import Fitted
from bottleneck.heads.selection.grid import check_grid
from bottleneck.heads.selection.rules import check_protocol, choose_strength, edge_note
from bottleneck.heads.selection.splits import folds
from bottleneck.heads.selection.sweep import Swept, sweep, unmoved_note
from bottleneck.heads.selection.target_scores import mean_average_precision, r2
from bottleneck.heads.solver.engine import EngineName
from bottleneck.heads.solver.lockstep import GAP
from bottleneck.heads.solver.row_pass import passes
from bottleneck.heads.weights import linear_estimator
from bottleneck.targets import MISSING

TARGET_HEADS: dict[str, Task] = {"logreg": "labels", "ridge": "numbers"}
"""Heads that predict targets, and what those must be."""

METRICS = {"labels": "mean_average_precision", "numbers": "r2"}
"""What strengths are chosen by."""


def select_targets(
    X: ArrayLike | Rows,
    Y: ArrayLike,
    *,
    names: Sequence[str],
    keys: Sequence[str],
    groups: ArrayLike | None = None,
    head: str = "logreg",
    grid: Sequence[float] | None = None,
    n_folds: int = 5,
    seed: int = 0,
    jobs: int = -1,
    one_se: bool = False,
    engine: EngineName = "numpy",
) -> Fitted:
    """Choose the C of a head of several targets on training rows, and fit it on all of them.

    As :func:`~bottleneck.heads.select`, but for targets: ``logreg`` fits a logistic regression
    per label, one against the rest, and is chosen by mean average precision; ``ridge`` fits
    numbers and is chosen by R2, the mean over targets. One C serves all targets.

    Parameters
    ----------
    X, keys, groups, grid, n_folds, seed, jobs, one_se, engine
        As of :func:`~bottleneck.heads.select`.
    Y : array, shape (n, targets)
        0 and 1 for ``logreg``, numbers for ``ridge``; no value may be missing.
    names : sequence of str
        Of the targets. Labels that hold in no row, or in all, are left out and noted.
    head : {"logreg", "ridge"}
        Which head.

    Raises
    ------
    HeadError
        For no rows, arrays that do not fit together, NaN, or targets that do not vary.
    OptionError
        For a head that predicts no targets or targets that are not for it, a bad grid, fold
        or job count.
    """
    start = time.perf_counter()
    task = require_target_head(head)
    spec = head_spec(head)
    own_engine: EngineName = "numpy" if task == "numbers" else engine
    values = check_grid(tuple(spec.default_grid if grid is None else grid))
    check_protocol(values, n_folds, jobs)
    rows = as_feature_rows(X)
    given = np.asarray(Y)
    if rows.shape[0] == 0:
        raise HeadError("expected training rows with values of the targets, got none")
    if given.shape != (rows.shape[0], len(names)) or len(keys) != len(given):
        raise HeadError(
            f"expected {len(names)} targets and a key for each of {rows.shape[0]} rows, got "
            f"targets of shape {given.shape} and {len(keys)} keys"
        )
    require_finite(rows, keys)
    check = _labels if task == "labels" else _numbers
    checked: tuple[NDArray[Any], tuple[str, ...], list[str]] = check(given, tuple(names), keys)
    scaled, kept, notes = checked
    mean, scale = np.zeros(len(kept)), np.ones(len(kept))
    if task == "numbers":
        scaled, mean, scale = scaled_targets(scaled)
    params = {c: spec.parameters(c) for c in values}
    cv: list[dict[str, Any]] = []
    chosen, begin = values[0], None
    with passes(rows, threads=jobs, engine=engine_named(own_engine)) as run:

        def fit(members: NDArray[np.bool_], strengths: Sequence[float], **more: Any) -> Swept:
            return sweep(run, scaled, len(kept), members, spec=spec, values=strengths, **more)

        if n_folds:
            fold = folds(keys, strata(given, task), groups, n_folds, seed)
            outside = np.stack([fold != i for i in range(n_folds)])
            swept = fit(outside, values, parts=fold)
            notes += swept.notes(values, "cross-validation") + unmoved_note(swept, values)
            score = mean_average_precision if task == "labels" else r2
            for at, c in enumerate(values):
                # A pass for every strength, so that one matrix of scores is held at a time.
                scores = out_of_fold_scores(run, outside, swept, at)
                own = [score(scaled[fold == i], scores[fold == i]) for i in range(n_folds)]
                if np.isnan(own).all():
                    raise HeadError(
                        f"expected rows to score by in {n_folds} folds, found none",
                        hint="Use fewer folds, or more rows.",
                    )
                cv.append(
                    {
                        "params": params[c],
                        "mean": float(np.nanmean(own)),
                        "std": float(np.nanstd(own)),
                    }
                )
            chosen = choose_strength(cv, n_folds if one_se else None)
            notes += edge_note(chosen, values)
            if swept.solutions:
                at = values.index(chosen)
                begin = [np.mean([found[at].weights for found in swept.solutions], axis=0)]
        everything = np.ones((1, len(scaled)), bool)
        final = fit(everything, [chosen], gap=GAP, start=begin)
    notes += final.notes([chosen], "final fit") + engine_note(run)
    return Fitted(
        kind=spec.name,
        estimator=linear_estimator(
            spec.name,
            task,
            params[chosen],
            final.coef[0, 0] * scale[:, None],
            final.intercept[0, 0] * scale + mean,
        ),
        classes=kept,
        dim=rows.shape[1],
        rows=rows.shape[0],
        best=params[chosen],
        cv=tuple(cv),
        folds=n_folds,
        seed=seed,
        notes=tuple(notes),
        seconds=time.perf_counter() - start,
        task=task,
        metric=METRICS[task],
        engine=own_engine,
    )


def require_target_head(head: str) -> Task:
    """Return what a head predicts of targets.

    Raises
    ------
    OptionError
        For a head that predicts classes only.
    """
    if head not in TARGET_HEADS:
        raise OptionError(
            f"expected the head logreg or ridge for --target, got {head}",
            hint="logreg is for labels (0 and 1, or lists of labels), ridge for numbers.",
        )
    return TARGET_HEADS[head]


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
    Y: NDArray[Any], names: tuple[str, ...], keys: Sequence[str]
) -> tuple[NDArray[np.uint8], tuple[str, ...], list[str]]:
    wrong = ~np.isin(Y, (0, 1))
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise OptionError(
            f"expected labels of 0 and 1 for the head logreg, got {Y[row, column]:g} in target "
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
