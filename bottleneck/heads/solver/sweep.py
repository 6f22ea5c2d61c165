"""All subsets of the rows and all strengths at once, scored on the rows left out.

The weights of all problems are stacked: a block of rows is read once per pass and multiplied
with all of them. Ridge needs one pass for the moments of each fold; what a fold leaves is the
whole less the fold.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.engine import Loss
from bottleneck.heads.solver.lockstep import solve, with_curvature
from bottleneck.heads.solver.moments import Moments, gram_moments
from bottleneck.heads.solver.objective import (
    Coefficients,
    Problem,
    Solution,
    StackedObjective,
)
from bottleneck.heads.solver.question import Columns, ListOfRows, SumOfArrays
from bottleneck.heads.solver.ridge_path import RidgePath
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Weighting, standardise

TOLERANCE = 1e-4
"""Largest component of the gradient to end at, as scikit-learn's default."""

SCORING_GAP = 1e-5
"""Share of the objective that heads which are only scored may leave to gain, where rows are few."""

_FEW_ROWS = 16000
"""With as many rows :data:`TOLERANCE` decides alone, as in scikit-learn."""

MAX_ITER = 5000

_HEADS_BYTES = 64 << 20
"""Memory for the heads that one pass scores."""


@dataclass(frozen=True, eq=False)
class Swept:
    """What a sweep found.

    Parameters
    ----------
    shape : tuple of int
        Subsets, strengths, columns of a head, features.
    head : callable
        From a subset and a strength, by their numbers, to the head on the features as they are.
        Heads are made when they are asked for: all of them at once would be large.
    solutions : list of list of Solution
        By subset and strength; empty for ridge.
    """

    shape: tuple[int, int, int, int]
    head: Callable[[int, int], Coefficients]
    solutions: list[list[Solution]] = field(default_factory=list)

    def notes(self, values: Sequence[float], what: str) -> list[str]:
        """Say which strengths were left before they converged."""
        counts: Counter[float] = Counter()
        worst: dict[float, float] = {}
        above: dict[float, float] = {}
        for found in self.solutions:
            for value, one in zip(values, found, strict=True):
                if not one.converged:
                    counts[value] += 1
                    worst[value] = max(worst.get(value, 0.0), one.gradient_norm)
                    share = one.duality_gap / one.objective
                    above[value] = max(above.get(value, 0.0), share)
        return [
            f"{what}, C={value:g}, {count} of {len(self.solutions)} fits: stopped at a gradient "
            f"of {worst[value]:.1e} (tolerance {TOLERANCE:g}), at most {above[value]:.1g} of the "
            f"objective above the minimum"
            for value, count in sorted(counts.items())
        ]


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
    stack, curvature = with_curvature(stack, len(values) * len(members))
    if gap is None:
        gap = SCORING_GAP if run.rows.shape[0] < _FEW_ROWS else np.inf
    found = solve(
        stack,
        paths,
        tolerance=TOLERANCE,
        gap=gap,
        max_iter=MAX_ITER,
        start=start,
        curvature=curvature,
    )
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


def held_out_accuracy(
    run: Pass,
    y: NDArray[np.int64],
    members: NDArray[np.bool_],
    parts: NDArray[np.int32],
    swept: Swept,
) -> NDArray[np.float64]:
    """Score every head on the rows it was not fitted on, apart for each fold.

    One pass serves as many heads as :data:`_HEADS_BYTES` holds.

    Parameters
    ----------
    run : Pass
        The rows.
    y : ndarray of int64, shape (n,)
        Codes.
    members : ndarray of bool, shape (subsets, n)
        Rows the heads were fitted on.
    parts : ndarray of int32, shape (n,)
        Fold of each row.
    swept : Swept
        The heads.

    Returns
    -------
    ndarray of float64, shape (subsets, strengths, folds)
        Share of right rows; NaN where a fold has no row left out.
    """
    p, k, columns, _ = swept.shape
    n_parts = int(parts.max()) + 1
    total = np.zeros((p, k, n_parts))
    data = Columns({"y": y, "left_out": ~members, "parts": parts})
    for now in _held_at_once(swept):
        heads = [_stacked([swept.head(subset, at) for at in some]) for subset, some in now]
        total += run.ask(_Right(now, heads, (p, k, n_parts), columns), data)
    counts = np.stack([np.bincount(parts[~member], minlength=n_parts) for member in members])
    with np.errstate(invalid="ignore"):
        accuracy: NDArray[np.float64] = total / counts[:, None, :]
    return accuracy


@dataclass(frozen=True, eq=False)
class _Right(SumOfArrays):
    """Asks how many rows left out are right, by subset, strength and fold."""

    now: list[tuple[int, range]]
    heads: list[Coefficients]
    shape: tuple[int, int, int]
    columns: int

    def new(self) -> NDArray[np.float64]:
        return np.zeros(self.shape)

    def visit(
        self,
        total: NDArray[np.float64],
        data: Columns,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        for (subset, some), (coef, intercept) in zip(self.now, self.heads, strict=True):
            left_out = np.flatnonzero(data["left_out"][subset, here])
            if not len(left_out):
                continue
            scores = block[left_out].astype(np.float64) @ coef.T
            scores += intercept
            codes = predicted_codes(scores.reshape(len(left_out), len(some), self.columns))
            correct = codes == data["y"][here][left_out, None]
            part = data["parts"][here][left_out]
            for i, at in enumerate(some):
                total[subset, at] += np.bincount(part, correct[:, i], minlength=self.shape[2])


def _held_at_once(swept: Swept) -> list[list[tuple[int, range]]]:
    """Return which strengths of which subsets are scored in each pass."""
    p, k, columns, d = swept.shape
    most = max(1, _HEADS_BYTES // (8 * columns * (d + 1)))
    if most < k:
        runs = [range(at, min(at + most, k)) for at in range(0, k, most)]
        return [[(subset, run)] for subset in range(p) for run in runs]
    step = most // k
    return [[(i, range(k)) for i in range(at, min(at + step, p))] for at in range(0, p, step)]


def _stacked(heads: Sequence[Coefficients]) -> Coefficients:
    """Put heads one below the other."""
    return np.concatenate([coef for coef, _ in heads]), np.concatenate([b for _, b in heads])


def predicted_codes(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the winning code of scores (..., columns); one column is the score of code 1."""
    if scores.shape[-1] == 1:
        return (scores[..., 0] > 0).astype(np.int64)
    codes: NDArray[np.int64] = scores.argmax(axis=-1)
    return codes


def unmoved_note(swept: Swept, values: Sequence[float]) -> list[str]:
    """Note strengths whose heads are those of another one, because they met the tolerance."""
    if not swept.solutions or len(values) < 2:
        return []
    same = [
        at
        for at in range(1, len(values))
        if all(path[at].passes == 0 and path[at].iterations == 0 for path in swept.solutions)
    ]
    if not same:
        return []
    listed = ", ".join(f"{values[at]:g}" for at in same)
    note = f"C={listed}: heads of the C before meet the tolerance ({TOLERANCE:g}), scores are equal"
    return [note]


def out_of_fold_scores(
    run: Pass, members: NDArray[np.bool_], swept: Swept, at: int
) -> NDArray[np.float64]:
    """Score every row by the head of the subset that lacks it, in one pass.

    Parameters
    ----------
    run : Pass
        The rows.
    members : ndarray of bool, shape (subsets, n)
        Rows each subset was fitted on; every row is missing in one.
    swept : Swept
        The heads.
    at : int
        Which strength.

    Returns
    -------
    ndarray of float64, shape (n, columns)
        One column for two classes.
    """
    heads = [swept.head(subset, at) for subset in range(len(members))]
    question = _LeftOutScores(heads, swept.shape[2])
    return np.concatenate(run.ask(question, Columns({"left_out": ~members})))


@dataclass(frozen=True, eq=False)
class _LeftOutScores(ListOfRows):
    """Asks for the scores of every row by the head that lacks it."""

    heads: list[Coefficients]
    columns: int

    def visit(
        self,
        total: list[NDArray[np.float64]],
        data: Columns,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        scores = np.empty((len(block), self.columns))
        for (coef, intercept), left_out in zip(self.heads, data["left_out"][:, here], strict=True):
            rows = np.flatnonzero(left_out)
            if len(rows):
                scores[rows] = block[rows].astype(np.float64) @ coef.T + intercept
        total.append(scores)
