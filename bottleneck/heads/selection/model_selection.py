"""Model selection: choose a head's parameters by cross-validation, then fit on all rows.

Probabilities of scores that are none: one temperature, fitted on rows left out.

``softmax(scores / temperature)`` with the temperature of the least log loss (C. Guo et al., On
Calibration of Modern Neural Networks, ICML 2017, section 4.2). One number for all classes, so
that the likeliest class stays the one of the highest score; scores are of heads that were not
fitted on the row, since those on a head's own rows are too sure.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.head import Head
from bottleneck.heads.kind import HeadKind, Params, Scored, Task, TrainingData
from bottleneck.heads.registry import head_kind
from bottleneck.heads.rows import Rows, as_feature_rows
from bottleneck.heads.selection.estimates import (
    few_shots,
    learning_curve,
    nested_scores,
    require_fit_on_fewest,
    require_parts,
)
from bottleneck.heads.selection.splits import folds
from bottleneck.heads.selection.targets import METRICS, checked_targets, strata, task_of_targets
from bottleneck.heads.solver.engine import EngineName
from bottleneck.heads.solver.engines import require_engine
from bottleneck.heads.solver.finite import require_finite
from bottleneck.heads.solver.screening import Rule

_WIDEST = 12.0
"""Natural logarithm of the largest factor between scores and logits."""


def two_columns(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one column of scores as its negative and itself, more columns as they are."""
    return np.concatenate([-scores, scores], axis=1) if scores.shape[1] == 1 else scores


def fit_temperature(scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    """Find the temperature of the least log loss.

    Parameters
    ----------
    scores : ndarray of float64, shape (n, classes)
        Of rows the heads were not fitted on.
    y : ndarray of int64, shape (n,)
        Codes.

    Returns
    -------
    float
        Above zero; infinite certainty or none is cut off at a factor of e^12.
    """
    from scipy.optimize import minimize_scalar

    behind = scores - scores[np.arange(len(y)), y][:, None]

    # Convex in the factor 1 / temperature, so that there is one minimum in its logarithm too.
    def loss(log_factor: float) -> float:
        logits = np.exp(log_factor) * behind
        top = logits.max(axis=1)
        return float(np.mean(top + np.log(np.exp(logits - top[:, None]).sum(axis=1))))

    found = minimize_scalar(loss, bounds=(-_WIDEST, _WIDEST), method="bounded")
    return float(np.exp(-found.x))


def check_protocol(candidates: int, parameter: str, n_folds: int, jobs: int) -> None:
    """Refuse to choose among candidates without folds, and to work without threads.

    Raises
    ------
    OptionError
    """
    if jobs == 0:
        raise OptionError("expected 1 or more jobs, or -1 for all cores, got 0")
    if n_folds == 0 and candidates > 1:
        raise OptionError(
            f"expected 2 or more folds to choose among {candidates} values of {parameter}, got 0",
            hint=f"Give one value of {parameter} to fit without cross-validation.",
        )


def present_classes(
    n: int, y: ArrayLike, classes: Sequence[str], keys: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the classes with rows, and each row's index into them.

    Raises
    ------
    HeadError
        For no rows, arrays that do not fit together, or fewer than two classes.
    """
    store_codes = np.asarray(y)
    if n == 0:
        raise HeadError(
            "expected labelled training rows, got none",
            hint="See `bottleneck info` for how many rows are done and labelled.",
        )
    if store_codes.shape != (n,) or len(keys) != n:
        raise HeadError(
            f"expected a label and a key for each of {n} rows,"
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
            f"expected rows of two or more classes, got {n} rows of {names[0]!r} only",
            hint="A head tells classes apart; give it images of another class.",
        )
    return names, codes.astype(np.int64)


def choose(cv: Sequence[Mapping[str, Any]], prefers: str, one_se_folds: int | None) -> int:
    """Return the place of the highest mean, of equals the preferred; or of one within its error."""
    top = max(cv, key=lambda entry: float(entry["mean"]))
    # Means of the same accuracies may differ in the last bit.
    margin = 1e-12 if one_se_folds is None else float(top["std"]) / one_se_folds**0.5
    good = [at for at, entry in enumerate(cv) if entry["mean"] >= top["mean"] - margin]
    return good[0] if prefers == "smallest" else good[-1]


def thin_classes(codes: NDArray[np.int64], names: tuple[str, ...], n_folds: int) -> list[str]:
    """Note the classes with fewer rows than folds."""
    counts = np.bincount(codes)
    thin = [names[i] for i in np.flatnonzero(counts < n_folds)]
    if not thin:
        return []
    shown = ", ".join(thin[:5]) + (", ..." if len(thin) > 5 else "")
    return [f"classes with fewer rows than the {n_folds} folds: {len(thin)} ({shown})"]


def edge_note(parameter: str, best: float, values: Sequence[float]) -> list[str]:
    """Note that the best value is the first or the last one tried."""
    if len(values) > 1 and best in (values[0], values[-1]):
        side = "smallest" if best == values[0] else "largest"
        told = f"the best {parameter}={best:g} is the {side} of the grid"
        return [f"{told}; a wider grid may do better"]
    return []


def select(
    X: ArrayLike | Rows,
    y: ArrayLike,
    *,
    classes: Sequence[str],
    keys: Sequence[str],
    groups: ArrayLike | None = None,
    head: str = "logreg",
    grid: Sequence[float] | None = None,
    settings: Params | None = None,
    n_folds: int = 5,
    seed: int = 0,
    jobs: int = -1,
    one_se: bool = False,
    screen: bool = False,
    nested: bool = False,
    curve: Sequence[float] = (),
    shots: Sequence[int] = (),
    calibrate: bool = False,
    engine: EngineName = "numpy",
    device: str | None = None,
) -> Head:
    """Choose a head's parameters on the rows given, which must be training rows only, and fit it.

    Features are standardised, the scaler fitted inside each fold (nearest neighbours take cosines
    of them as they are). The best candidate has the highest mean score over the folds; of equal
    ones the one of the simplest head wins. Of linear heads all folds and strengths are solved in
    lock-step: a pass over the rows serves every problem.

    Parameters
    ----------
    X : array or Rows, float32 or float16, shape (n, d)
        Features; multiplied in float32. Rows of a file are read in every pass, never kept, but
        by classifiers given by their import path.
    y : array of int, shape (n,); or array, shape (n, targets)
        Codes, indices into ``classes``; rows without a label are left out by the caller. Or
        targets: labels of 0 and 1, or numbers; no value may be missing.
    classes : sequence of str
        All class names; those without rows are not part of the head. Or names of the targets;
        labels that hold in no row, or in all, are left out and noted.
    keys : sequence of str, length n
        Keys of the rows: they decide the folds.
    groups : array of int, shape (n,), optional
        Rows of one group share a fold; -1 for none.
    head : str
        A name of :func:`~bottleneck.heads.registry.head_names`, or the import path of a classifier.
        Targets are chosen by mean average precision (labels) or R2 (numbers).
    grid : sequence of float, optional
        Values of C, of heads that have one; the head's own by default.
    settings : mapping, optional
        Parameters of other heads; a list of the one that is chosen: ``{"k": [1, 5]}``.
    n_folds : int
        Folds; 0 skips cross-validation, which needs a single candidate.
    seed : int
        Decides the folds and any random numbers of the training.
    jobs : int
        Threads that share the blocks of rows, or processes that share the folds of a classifier
        given by its path; -1 for all cores.
    one_se : bool
        Take the simplest head whose mean is within one standard error (the folds' standard
        deviation by the root of their number) of the best (L. Breiman et al., Classification
        and Regression Trees, 1984, section 3.4.3).
    screen : bool
        Of logreg and svm for classes: solve strengths that cannot be chosen only as far as shows
        that, see :mod:`bottleneck.heads.solver.screening`. The choice is the same, and a note says
        which strengths have approximate scores. Other heads are fitted as ever.
    nested : bool
        Also estimate the accuracy of the whole procedure, the choice included, on folds that
        took no part in it. About three times the work.
    curve : sequence of float
        Shares of the rows to also fit the chosen parameters on, see
        :func:`~bottleneck.heads.selection.estimates.learning_curve`.
    shots : sequence of int
        Rows per class to also fit them on, see
        :func:`~bottleneck.heads.selection.estimates.few_shots`.
    calibrate : bool
        Also find the temperature that makes probabilities of the scores, see
        :mod:`bottleneck.heads.selection.model_selection`.
    engine : {"numpy", "keras"}
        What losses and gradients are computed with: NumPy, or Keras on whatever backend it has,
        which is for GPUs: sums agree to float32 rounding. Heads that have one engine only take
        that.
    device : str, optional
        Of Keras: ``cpu``, ``gpu`` or ``gpu:N``; by default the first GPU, else the CPU.

    Returns
    -------
    Head
        Fitted on all rows, without a recipe: see :meth:`~bottleneck.heads.Head.of`.

    Raises
    ------
    HeadError
        For no rows, fewer than two classes, NaN, arrays that do not fit together, targets that
        do not vary, or rows that cannot be dealt into the folds (see
        :func:`~bottleneck.heads.folds`).
    OptionError
        For an unknown head, one that predicts no such targets, a bad grid, setting, fold or job
        count.
    """
    start = time.perf_counter()
    kind = head_kind(head)
    candidates = kind.candidates(grid, settings or {})
    check_protocol(len(candidates), kind.parameter, n_folds, jobs)
    _check_extras(n_folds, curve or shots, calibrate, nested, screen)
    require_parts(curve, shots, kind.few_rows, kind.name)
    if nested and not kind.parameter:
        raise OptionError(
            f"expected no nested estimate of the head {kind.name}: it has nothing to choose",
            hint="Its cross-validation is one already.",
        )
    given = np.asarray(y)
    if given.ndim == 2 and (nested or curve or shots or calibrate):
        raise OptionError(
            "expected no nested estimate, learning curve, few shots or calibration of targets"
        )
    rows = as_feature_rows(X)
    kind.require_size(*rows.shape)
    y_learnt, names, task, notes = _learnt(rows, given, kind, tuple(classes), keys)
    require_engine(engine)
    own = engine if engine in kind.engines else kind.engines[0]
    data = TrainingData(
        rows=rows,
        y=y_learnt,
        outputs=len(names),
        task=task,
        keys=keys,
        groups=None if groups is None else np.asarray(groups),
        seed=seed,
        jobs=jobs,
        engine=own,
        device=device,
        screen=Rule(one_se) if screen else None,
    )
    cv: list[dict[str, Any]] = []
    chosen = 0
    scored: Scored | None = None
    extras: dict[str, Any] = {}
    with kind.trainer(data) as trainer:
        if n_folds:
            fold = folds(keys, _strata(given, data.task), groups, n_folds, seed)
            if curve or shots:
                require_fit_on_fewest(
                    trainer,
                    data.y,
                    data.keys,
                    fold,
                    candidate=candidates[0],
                    shares=curve,
                    shots=shots,
                    few_rows=kind.few_rows,
                    seed=seed,
                )
            outside = np.stack([fold != i for i in range(n_folds)])
            scored = trainer.score(outside, candidates, fold)
            of_folds = np.stack([scored.metric[i, :, i] for i in range(n_folds)])
            notes += scored.notes
            cv = [
                _summary(params, column)
                for params, column in zip(candidates, of_folds.T, strict=True)
            ]
            chosen = choose(cv, kind.prefers, n_folds if one_se else None)
            if data.task == "classes":
                notes += thin_classes(data.y, names, n_folds)
            if len(candidates) > 1:
                tried = [params[kind.parameter] for params in candidates]
                notes += edge_note(kind.parameter, tried[chosen], tried)
            if nested:
                order = 1 if kind.prefers == "smallest" else -1
                extras["nested"] = nested_scores(
                    trainer,
                    fold,
                    candidates=candidates[::order],
                    parameter=kind.parameter,
                    own=of_folds[:, ::order],
                )
            if curve:
                extras["curve"] = learning_curve(
                    trainer,
                    data.y,
                    data.keys,
                    fold,
                    best=candidates[chosen],
                    shares=curve,
                    few_rows=kind.few_rows,
                    seed=seed,
                )
            if shots:
                extras["shots"] = few_shots(
                    trainer,
                    data.y,
                    data.keys,
                    fold,
                    best=candidates[chosen],
                    shots=shots,
                    seed=seed,
                )
            if calibrate:
                extras["temperature"] = fit_temperature(two_columns(scored.scores(chosen)), data.y)
        estimator, more = trainer.final(candidates[chosen], scored, chosen)
    return Head(
        kind=kind.name,
        estimator=estimator,
        classes=names,
        dim=rows.shape[1],
        task=data.task,
        engine=own,
        report={
            "best": dict(candidates[chosen]),
            "cv": cv,
            "rows": rows.shape[0],
            "features": rows.shape[1],
            "classes": 0 if data.task == "numbers" else len(names),
            "folds": n_folds,
            "seed": seed,
            "notes": [*notes, *more],
            "seconds": time.perf_counter() - start,
            **extras,
            "metric": METRICS[data.task],
        },
    )


def _check_extras(n_folds: int, curves: Any, calibrate: bool, nested: bool, screen: bool) -> None:
    if nested and screen:
        raise OptionError(
            "expected a nested estimate or screening, got both",
            hint="The nested estimate needs every strength's scores exactly; leave screening out.",
        )
    if curves and not n_folds:
        raise OptionError("expected 2 or more folds for a learning curve or few shots, got 0")
    if calibrate and not n_folds:
        raise OptionError("expected 2 or more folds to calibrate on rows left out, got 0")
    if nested and n_folds < 3:
        raise OptionError(f"expected 3 or more folds for a nested estimate, got {n_folds}")


def _strata(given: NDArray[Any], task: Task) -> NDArray[Any]:
    return given if task == "classes" else strata(given, task)


def _learnt(
    rows: Rows, given: NDArray[Any], kind: HeadKind, classes: tuple[str, ...], keys: Sequence[str]
) -> tuple[NDArray[Any], tuple[str, ...], Task, list[str]]:
    """Check what is to be learnt; return it, its names, what it is, and notes."""
    if given.ndim != 2:
        if "classes" not in kind.tasks:
            raise OptionError(
                f"expected a head that tells classes apart, got {kind.name}",
                hint=f"It predicts {' and '.join(kind.tasks)}: name them with --target.",
            )
        names, codes = present_classes(rows.shape[0], given, classes, keys)
        require_finite(rows, keys)
        return codes, names, "classes", []
    task = task_of_targets(kind, given)
    if rows.shape[0] == 0:
        raise HeadError("expected training rows with values of the targets, got none")
    if given.shape != (rows.shape[0], len(classes)) or len(keys) != len(given):
        raise HeadError(
            f"expected {len(classes)} targets and a key for each of {rows.shape[0]} rows, got "
            f"targets of shape {given.shape} and {len(keys)} keys"
        )
    require_finite(rows, keys)
    learnt, kept, notes = checked_targets(task, given, classes, keys, kind.name)
    return learnt, kept, task, notes


def _summary(params: Mapping[str, Any], scores: NDArray[np.float64]) -> dict[str, Any]:
    """Return mean and deviation over the folds that have rows to score by."""
    known = scores[~np.isnan(scores)]
    if not len(known):
        raise HeadError(
            f"expected rows to score by in {len(scores)} folds, found none",
            hint="Use fewer folds, or more rows.",
        )
    return {"params": dict(params), "mean": float(known.mean()), "std": float(known.std())}
