"""Selection: choose C by cross-validation on the training rows, then fit on all of them."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bottleneck.errors import OptionError
from bottleneck.heads.catalogue import HeadSpec, head_spec
from bottleneck.heads.features import as_feature_rows, require_finite
from bottleneck.heads.rows import Rows
from bottleneck.heads.selection.calibration import fit_temperature, out_of_fold_scores, two_columns
from bottleneck.heads.selection.curves import few_shots, learning_curve
from bottleneck.heads.selection.engines import engine_named, engine_note
from bottleneck.heads.selection.fitted import Fitted
from bottleneck.heads.selection.grid import check_grid
from bottleneck.heads.selection.nested import nested_scores
from bottleneck.heads.selection.rules import (
    check_protocol,
    choose_strength,
    edge_note,
    present_classes,
    thin_classes,
    with_strength,
)
from bottleneck.heads.selection.splits import folds
from bottleneck.heads.selection.sweep import as_estimator, held_out_accuracy, sweep, unmoved_note
from bottleneck.heads.solver.engine import EngineName
from bottleneck.heads.solver.lockstep import GAP
from bottleneck.heads.solver.row_pass import passes


def select(
    X: ArrayLike | Rows,
    y: ArrayLike,
    *,
    classes: Sequence[str],
    keys: Sequence[str],
    groups: ArrayLike | None = None,
    head: str | HeadSpec = "logreg",
    grid: Sequence[float] | None = None,
    n_folds: int = 5,
    seed: int = 0,
    jobs: int = -1,
    one_se: bool = False,
    nested: bool = False,
    curve: Sequence[float] = (),
    shots: Sequence[int] = (),
    calibrate: bool = False,
    engine: EngineName = "numpy",
) -> Fitted:
    """Choose a head's C on the rows given, which must be training rows only, and fit it.

    Features are standardised; the scaler is fitted inside each fold. The best C has the
    highest mean accuracy over the folds; of equal ones the smallest (the simplest head) wins.
    All folds and strengths are solved in step: a pass over the rows serves every problem.

    Parameters
    ----------
    X : array or Rows, float32 or float16, shape (n, d)
        Features; multiplied in float32. Rows of a file are read in every pass, never kept.
    y : array of int, shape (n,)
        Codes, indices into ``classes``; rows without a label are left out by the caller.
    classes : sequence of str
        All class names; those without rows are not part of the head.
    keys : sequence of str, length n
        Keys of the rows: they decide the folds.
    groups : array of int, shape (n,), optional
        Rows of one group share a fold; -1 for none.
    head : str or HeadSpec
        Which head.
    grid : sequence of float, optional
        Values of C; the head's own by default.
    n_folds : int
        Folds; 0 skips cross-validation, which needs a grid of one value.
    seed : int
        Decides the folds and any random numbers of the solver.
    jobs : int
        Threads that share the blocks of rows, -1 for all cores.
    one_se : bool
        Take the smallest C whose mean is within one standard error (the folds' standard
        deviation by the root of their number) of the best (L. Breiman et al., Classification
        and Regression Trees, 1984, section 3.4.3).
    nested : bool
        Also estimate the accuracy of the whole procedure, choosing C included, on folds that
        took no part in it. About three times the work.
    curve : sequence of float
        Shares of the rows to also fit the chosen C on, see
        :func:`~bottleneck.heads.selection.curves.learning_curve`.
    shots : sequence of int
        Rows per class to also fit the chosen C on, see
        :func:`~bottleneck.heads.selection.curves.few_shots`.
    calibrate : bool
        Also find the temperature that makes probabilities of the scores, see
        :mod:`bottleneck.heads.selection.calibration`.
    engine : {"numpy", "keras"}
        What losses and gradients are computed with: NumPy, or Keras on whatever backend and
        device it has, which is for GPUs: sums agree to float32 rounding. Ridge takes NumPy.

    Returns
    -------
    Fitted

    Raises
    ------
    HeadError
        For no rows, fewer than two classes, NaN, arrays that do not fit together, or rows
        that cannot be dealt into the folds (see :func:`~bottleneck.heads.folds`).
    OptionError
        For an unknown head, a bad grid, fold or job count.
    """
    start = time.perf_counter()
    spec = with_strength(head_spec(head) if isinstance(head, str) else head)
    own_engine: EngineName = "numpy" if spec.name == "ridge" else engine
    values = check_grid(tuple(spec.default_grid if grid is None else grid))
    check_protocol(values, n_folds, jobs)
    if (curve or shots) and not n_folds:
        raise OptionError("expected 2 or more folds for a learning curve or few shots, got 0")
    if calibrate and not n_folds:
        raise OptionError("expected 2 or more folds to calibrate on rows left out, got 0")
    if nested and n_folds < 3:
        raise OptionError(f"expected 3 or more folds for a nested estimate, got {n_folds}")
    rows = as_feature_rows(X)
    names, codes = present_classes(rows.shape[0], y, classes, keys)
    require_finite(rows, keys)
    params = {c: spec.parameters(c) for c in values}
    notes: list[str] = []
    cv: list[dict[str, Any]] = []
    chosen, estimate, begin = values[0], None, None
    points: list[dict[str, Any]] = []
    draws: list[dict[str, Any]] = []
    temperature: float | None = None
    with passes(rows, threads=jobs, engine=engine_named(own_engine)) as run:
        if n_folds:
            fold = folds(keys, np.asarray(y), groups, n_folds, seed)
            outside = np.stack([fold != i for i in range(n_folds)])
            swept = sweep(run, codes, len(names), outside, spec=spec, values=values, parts=fold)
            scores = held_out_accuracy(run, codes, outside, fold, swept)
            own = np.stack([scores[i, :, i] for i in range(n_folds)])
            notes += swept.notes(values, "cross-validation") + unmoved_note(swept, values)
            cv = [
                {"params": params[c], "mean": float(column.mean()), "std": float(column.std())}
                for c, column in zip(values, own.T, strict=True)
            ]
            chosen = choose_strength(cv, n_folds if one_se else None)
            notes += thin_classes(codes, names, n_folds) + edge_note(chosen, values)
            if nested:
                estimate = nested_scores(
                    run, codes, len(names), fold, spec=spec, values=values, own=own
                )
            about: dict[str, Any] = {"spec": spec, "C": chosen, "seed": seed}
            if curve:
                points = learning_curve(run, codes, keys, fold, shares=curve, **about)
            if shots:
                draws = few_shots(run, codes, keys, fold, shots=shots, **about)
            at = values.index(chosen)
            if calibrate:
                left_out = two_columns(out_of_fold_scores(run, outside, swept, at))
                temperature = fit_temperature(left_out, codes)
            if swept.solutions:  # the folds' heads are near the one on all rows
                begin = [np.mean([found[at].weights for found in swept.solutions], axis=0)]
        everything = np.ones((1, len(codes)), bool)
        final = sweep(
            run, codes, len(names), everything, spec=spec, values=[chosen], gap=GAP, start=begin
        )
    notes += final.notes([chosen], "final fit") + engine_note(run)
    return Fitted(
        kind=spec.name,
        estimator=as_estimator(spec, final, params[chosen]),
        classes=names,
        dim=rows.shape[1],
        rows=rows.shape[0],
        best=params[chosen],
        cv=tuple(cv),
        folds=n_folds,
        seed=seed,
        notes=tuple(notes),
        seconds=time.perf_counter() - start,
        nested=estimate,
        curve=tuple(points),
        shots=tuple(draws),
        temperature=temperature,
        engine=own_engine,
    )
