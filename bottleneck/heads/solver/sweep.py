"""All subsets of the rows and all strengths at once, scored on the rows left out.

The weights of all problems are stacked: a block of rows is read once per pass and multiplied
with all of them. Ridge needs one pass for the moments of each fold; what a fold leaves is the
whole less the fold.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.solver.engine import SQUARED_HINGE, Loss
from bottleneck.heads.solver.lockstep import Walks, estimated_curvature
from bottleneck.heads.solver.moments import Moments, gram_moments
from bottleneck.heads.solver.objective import Problem, StackedObjective
from bottleneck.heads.solver.ridge_path import RidgePath
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Weighting, standardise
from bottleneck.heads.solver.screening import Rule, screened
from bottleneck.heads.solver.swept import TOLERANCE, Swept

SCORING_GAP, SCORING_CERTAIN = 1e-4, 1e-1
"""Shares of the objective that heads which are only scored may leave to gain, where rows are few,
and by which the minimum may lie below them for certain."""

SCORING_PROVEN = 3e-3
"""And the latter at which they end whatever the largest component of the gradient is, which asks
for more than scores need where penalties are strong: half of the passes there were for it."""

_SOME_ROWS = 4000
"""Rows from which :data:`SCORING_PROVEN` is enough: of fewer, one row is much of a score."""

_FEW_ROWS = 16000
"""With as many rows :data:`TOLERANCE` decides alone, as in scikit-learn; but for the squared hinge,
whose curvature changes where no step has been yet, so that nothing but the bound shows the end."""

MAX_ITER = 5000


def sweep(
    run: Pass,
    y: NDArray[Any],
    n_classes: int,
    members: NDArray[np.bool_],
    *,
    loss: Loss,
    values: Sequence[float],
    gap: float | None = None,
    parts: NDArray[np.int32] | None = None,
    start: Sequence[NDArray[np.float64]] | None = None,
    screen: Rule | None = None,
) -> Swept:
    """Fit a head on every subset of the rows with every strength; features are standardised.

    Parameters
    ----------
    run : Pass
        The rows.
    y : ndarray of int64, shape (n,); or shape (n, targets)
        Codes from 0 to ``n_classes - 1``. Or several targets per row: labels of 0 and 1 for
        logistic regression, numbers for ridge regression.
    n_classes : int
        Classes of every head, of which a subset may lack some; or targets.
    members : ndarray of bool, shape (subsets, n)
        Which rows belong to each subset.
    loss : Loss
        What the head minimises.
    values : sequence of float
        Values of C, ascending.
    gap : float
        Share of the objective that may be left to gain; by default what is enough for scores.
    parts : ndarray of int32, shape (n,), optional
        Folds of which every subset is a union: of no use here, as :func:`sweep_ridge` has it.
    start : sequence of ndarray of float64, shape (columns, d + 1), optional
        Where to begin, for each subset.
    screen : Rule, optional
        What a strength will be chosen by: those that cannot be chosen are then solved only as far
        as shows that, see :mod:`bottleneck.heads.solver.screening`.
    """
    weighting = Weighting(y, members)
    stack = StackedObjective(
        run=run,
        loss=loss,
        columns=loss.columns(n_classes),
        weighting=weighting,
        scaling=standardise(run, weighting),
    )
    paths = [
        [Problem(subset, 1 / (value * total)) for value in values]
        for subset, total in enumerate(weighting.totals)
    ]
    curvature = estimated_curvature(stack)
    few = (n := run.rows.shape[0]) < _FEW_ROWS
    proven = SCORING_PROVEN if few and n >= _SOME_ROWS and gap is None else 0.0
    if gap is None:
        gap = SCORING_GAP if few else np.inf
    walks = Walks(
        stack,
        paths,
        tolerance=TOLERANCE,
        gap=gap,
        max_iter=MAX_ITER,
        start=start,
        curvature=curvature,
        certain=SCORING_CERTAIN if few or loss is SQUARED_HINGE else np.inf,
        proven=proven,
        look_ahead=screen is not None,
    )
    if screen is not None and walks.together:
        return screened(walks, stack, len(values), screen)
    found = walks.to_the_end()
    shape = len(paths), len(values), stack.columns, run.rows.shape[1]
    return Swept(shape, lambda subset, at: found[subset][at].head(), found)


def sweep_ridge(
    run: Pass,
    y: NDArray[Any],
    n_classes: int,
    members: NDArray[np.bool_],
    *,
    alphas: Sequence[float],
    parts: NDArray[np.int32] | None = None,
) -> Swept:
    """Do the same for ridge regression, from the moments of the folds.

    Parameters
    ----------
    run, y, n_classes, members
        As of :func:`sweep`; several targets per row are numbers.
    alphas : sequence of float
        Strengths of the penalty.
    parts : ndarray of int32, shape (n,), optional
        Folds: where every subset is a union of some, one pass serves all subsets.
    """
    everything = Weighting(y, np.ones((1, len(y)), bool))
    centre = standardise(run, everything).mean[0]

    def fit(moments: Moments) -> RidgePath:
        return RidgePath.of(moments, standardize=True, numeric=y.ndim == 2)

    if parts is None or not _are_unions(members, parts):
        found = [
            fit(gram_moments(run, Weighting(y, member[None]), n_classes, centre)[0])
            for member in members
        ]
    else:
        folds = range(int(parts.max()) + 1)
        of_folds = gram_moments(
            run, Weighting(y, np.stack([parts == fold for fold in folds])), n_classes, centre
        )

        def left(member: NDArray[np.bool_]) -> Moments:
            # Added up, not taken from the whole: a fold of large values would leave rounding.
            first, *others = [of_folds[fold] for fold in folds if member[np.argmax(parts == fold)]]
            for other in others:
                first = first + other
            return first

        found = run.each(lambda member: fit(left(member)), list(members))
    shape = len(found), len(alphas), found[0].projected.shape[1], run.rows.shape[1]
    return Swept(shape, lambda subset, at: found[subset].solve(alphas[at]))


def _are_unions(members: NDArray[np.bool_], parts: NDArray[np.int32]) -> bool:
    """Whether every subset has all rows of a fold or none."""
    whole = np.bincount(parts)
    counts = (np.bincount(parts[member], minlength=len(whole)) for member in members)
    return all(((count == 0) | (count == whole)).all() for count in counts)
