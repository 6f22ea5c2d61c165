"""Screening: strengths that cannot be chosen are solved only as far as shows that.

Which strength is chosen depends on how many rows left out its heads get right, and a head gets
most rows right, or wrong, long before it is at its minimum. The weakest penalties take the most
steps and are seldom the best. So

1. the path is gone along from the strongest penalty, as in a sweep that is not screened, until a
   strength is surely worse than one before.
2. The strengths beyond are solved loosely, from there. The solver's quadratic model says where it
   expects their minima, and how much a row's margin (the score of its class less the best other
   one) changes on the way there. Rows whose margins are not larger than some times that
   (:data:`BEYOND`, :data:`AROUND`) are *unsure*, and a score may be off by as many rows.
3. If none of them could be the choice, so far off, the sweep ends. Otherwise the path is gone
   along to the last one that could, and so on.

What is solved is solved as in a sweep that is not screened, step by step, so that near ties are
decided as there. That margins change by no more is not proven: the bound that holds for certain,
``|x|`` times ``|gradient| / penalty``, would rule out next to nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.held_out import HEADS_BYTES, scores_of, stacked
from bottleneck.heads.solver.lockstep import Walks
from bottleneck.heads.solver.objective import (
    Coefficients,
    Solution,
    StackedObjective,
)
from bottleneck.heads.solver.question import Columns, SumOfArrays
from bottleneck.heads.solver.swept import Swept

_LOOSE, _GAP = 1e-3, 3e-4
"""Gradient, and share of the objective left to gain by the solver's model, at which strengths
beyond are scored."""

BEYOND = 4.0
"""A row whose margin is at most so many times its change on the way to the expected minimum is
unsure."""

AROUND = 2.0
"""And one whose margin is at most so many times the root mean square of its neighbours' changes."""

_SAME = 1e-12
"""Means of the same accuracies may differ in the last bit."""

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """How one of several strengths, ascending, is chosen.

    Parameters
    ----------
    one_se : bool
        The smallest within one standard error of the highest mean; by default the smallest of the
        highest mean.
    """

    one_se: bool = False

    def left(self, share: Shares, unsure: Shares) -> NDArray[np.int64]:
        """Return the strengths that have to be known better: the choice alone if it is certain.

        Parameters
        ----------
        share : ndarray of float64, shape (subsets, strengths)
            Right rows of those left out.
        unsure : ndarray of float64, shape (subsets, strengths)
            By how much that may be off.
        """
        mean, off = share.mean(axis=0), unsure.mean(axis=0)
        low, high = mean - off, mean + off
        tops = high >= low.max() - _SAME
        if not self.one_se:
            return np.flatnonzero(tops)
        root = len(share) ** 0.5
        error, error_off = share.std(axis=0) / root, (unsure**2).mean(axis=0) ** 0.5 / root
        may = high >= (low - error - error_off)[tops].min() - _SAME
        must = (low >= high.max()) | (low >= (high - error + error_off)[tops].max() + _SAME)
        # Nothing beyond the first that is within the error for certain can be chosen.
        within = np.arange(len(mean)) <= (int(must.argmax()) if must.any() else len(mean))
        if (may & within).sum() == 1:
            return np.flatnonzero(may & within)
        return np.flatnonzero((may & within) | tops)


def screened(walks: Walks, stack: StackedObjective, count: int, rule: Rule) -> Swept:
    """Solve a sweep as far as the choice of a strength takes.

    Parameters
    ----------
    walks : Walks
        The problems, by subset and strength, strengths ascending; not begun, looking ahead.
    stack : StackedObjective
        What the problems share.
    count : int
        How many strengths.
    rule : Rule
        What one is chosen by.

    Returns
    -------
    Swept
        With the strengths that were ruled out.
    """
    done, until, found = 0, 1, walks.found
    known = np.empty((2, len(found), 0))
    while done < count:
        for at in range(done, until):
            walks.go(at + 1)
        known = np.append(known, _scored(stack, found, range(done, until)), axis=2)
        done = until
        until = min(done + 1, count)
        if done == count or done - 1 in rule.left(*known):
            continue
        branch = walks.branch(tolerance=_LOOSE, gap=_GAP)
        branch.go()
        beyond = _scored(stack, branch.found, range(done, count))
        last = int(rule.left(*np.append(known, beyond, axis=2)).max())
        if last < done:
            found = branch.found
            break
        until = last + 1
    shape = len(found), count, stack.columns, stack.run.rows.shape[1]
    return Swept(shape, lambda subset, at: found[subset][at].head(), found, np.arange(done, count))


def _scored(
    stack: StackedObjective, found: list[list[Solution]], strengths: Sequence[int]
) -> NDArray[np.float64]:
    """Return shares of right and of unsure rows, by subset that leaves some out and strength."""
    members, y = stack.weighting.members, stack.weighting.y
    most = max(1, HEADS_BYTES // (16 * stack.columns * (stack.run.rows.shape[1] + 1)))
    cases = [(subset, i) for subset in range(len(found)) for i in range(len(strengths))]
    total = np.zeros((2, len(found), len(strengths)))
    for begin in range(0, len(cases), most):
        now: dict[int, list[int]] = {}
        for subset, i in cases[begin : begin + most]:
            now.setdefault(subset, []).append(i)
        heads = {
            subset: _heads([found[subset][strengths[i]] for i in some])
            for subset, some in now.items()
        }
        total += stack.run.ask(
            _Sure(now, heads, total.shape, stack.columns),
            Columns({"y": y, "left_out": ~members}),
        )
    left_out = (~members).sum(axis=1)
    judged = left_out > 0
    for subset, path in enumerate(found):
        for i, at in enumerate(strengths):
            if not path[at].converged:
                total[1, subset, i] = left_out[subset]
    shares: NDArray[np.float64] = total[:, judged] / left_out[judged][:, None]
    return shares


def _heads(solutions: Sequence[Solution]) -> Coefficients:
    """Stack the heads of solutions, and below them those at their expected minima."""
    return stacked([one.head(ahead) for ahead in (0.0, 1.0) for one in solutions])


@dataclass(frozen=True, eq=False)
class _Sure(SumOfArrays):
    """Asks how many rows left out are right, and how many are unsure."""

    now: dict[int, list[int]]
    heads: dict[int, Coefficients]
    shape: tuple[int, ...]
    columns: int

    def new(self) -> NDArray[np.float64]:
        return np.zeros(self.shape)

    def visit(
        self,
        total: NDArray[np.float64],
        data: Columns,
        here: slice,
        block: FloatArray,
        scratch: Any,
    ) -> None:
        for subset, some in self.now.items():
            left_out = np.flatnonzero(data["left_out"][subset, here])
            if not len(left_out):
                continue
            scores = scores_of(block[left_out], self.heads[subset], self.columns)
            margins = _margins(scores, data["y"][here][left_out])
            now, ahead = margins[:, : len(some)], margins[:, len(some) :]
            change = np.abs(ahead - now)
            around = AROUND * np.sqrt((change**2).mean(axis=0))
            near = np.abs(now) <= np.maximum(BEYOND * change, around)
            total[0, subset, some] += (now > 0).sum(axis=0)
            total[1, subset, some] += near.sum(axis=0)


def _margins(scores: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return by how much the own class leads in scores (rows, heads, columns): (rows, heads)."""
    if scores.shape[2] == 1:
        return np.where(y == 1, 1, -1)[:, None] * scores[:, :, 0]
    rows = np.arange(len(y))
    own = scores[rows, :, y]
    scores[rows, :, y] = -np.inf
    margins: NDArray[np.float64] = own - scores.max(axis=2)
    return margins
