"""The squared hinge solved to the end: Newton's method on the rows inside the margin.

The loss is a parabola in the scores of the rows within the margin and zero elsewhere, so the
minimum is the ridge regression of those rows that leaves the same ones within it. Each step solves
that regression, exactly, and goes towards it as far as the loss falls; a few steps end at the
minimum, whatever the penalty (S. S. Keerthi and D. DeCoste, A Modified Finite Newton Method for
Fast Solution of Large Scale Linear SVMs, JMLR 6, 2005). Descent needs thousands of passes where
classes separate and the penalty is small: it has to tell apart curvatures that differ by C.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.engine import SQUARED_HINGE, signs
from bottleneck.heads.solver.objective import Problem, StackedObjective
from bottleneck.heads.solver.question import PARTS, Columns, ListOfRows, SumOfArrays, add

Matrix: TypeAlias = NDArray[np.float64]

_MAX_STEPS = 60
_EASY = 1e-3
"""Share of the rows' mean square that is a large penalty still."""
_BYTES = 512 << 20
"""Memory for the rows (or the products) of the columns that are solved at once."""
_MAX_SCORES = 1 << 23
"""Rows times columns: half a dozen arrays of them are held, 64 MiB each."""
_SAME = 1e-10
"""Share of the value below which a step gains nothing but rounding."""


def newton_pays(stack: StackedObjective, rounds: int) -> bool:
    """Tell whether as many passes were made as a step of Newton's method costs, for this loss.

    A step multiplies the rows inside the margin with each other, or features with each other,
    whichever are fewer: as much work as that many passes by 2, if all rows were inside.
    """
    n, d = stack.run.rows.shape
    fits = n * stack.columns <= _MAX_SCORES and 64 * (min(n, d) + 1) * (d + 1) <= _BYTES
    return stack.loss is SQUARED_HINGE and fits and rounds >= max(100, min(n, d) // 4)


@dataclass(eq=False)
class Finished:
    """Where Newton's method ended: what :class:`~bottleneck.heads.solver.lbfgs.Lbfgs` tells too.

    Parameters
    ----------
    x, value, gradient, direction
        The point, the objective there, and the step from there to the minimum.
    expected : float
        Decrease that one more step would bring.
    iterations, evaluations : int
        Steps taken, and passes over the rows.
    converged : bool
        Whether no step leads further down.
    """

    x: Matrix
    value: float
    gradient: Matrix
    direction: Matrix
    expected: float
    iterations: int
    evaluations: int
    converged: bool


def finish(
    stack: StackedObjective,
    problem: Problem,
    x: Matrix,
    penalty: float | None = None,
    *,
    spent: tuple[int, int] = (0, 0),
) -> Finished | None:
    """Go on to the minimum of a problem of the squared hinge.

    Parameters
    ----------
    stack : StackedObjective
        What the problem belongs to.
    problem : Problem
        Which one.
    x : ndarray of float64, shape (columns * (d + 1),)
        Where to begin.
    penalty : float, optional
        For which that is the minimum; by default it is not one. The problem's own is gone down to
        by tens: from the minimum for a much larger one, the steps would be many and short.
    spent : tuple of int
        Steps and passes that the problem took before.

    Returns
    -------
    Finished or None
        None where the regression has no solution in float64.
    """
    work = _Columns(stack, problem.subset)
    weights = x.reshape(stack.columns, -1)
    scores = work.scores(weights)
    steps = 0
    for stage in _falling(work.easy_penalty() if penalty is None else penalty, problem.penalty):
        for _ in range(_MAX_STEPS):
            try:
                solved, gradient = work.regress(weights, scores, stage)
            except LinAlgError:
                return None
            direction = solved - weights
            expected = -float((gradient * direction).sum()) / 2
            value = work.value(weights, scores, stage)
            if expected <= _SAME * value:
                break
            along = work.scores(direction)
            lengths = work.lengths(weights, scores, direction, along, stage)
            weights = weights + lengths[:, None] * direction
            scores += lengths[:, None] * along
            steps += 1
    return Finished(
        x=weights.ravel(),
        value=value,
        gradient=gradient.ravel(),
        direction=direction.ravel(),
        expected=expected,
        iterations=spent[0] + steps,
        evaluations=spent[1] + work.passes,
        converged=expected <= _SAME * value,
    )


def _falling(start: float, end: float) -> list[float]:
    """Return penalties from below ``start`` down to ``end``, each at most ten times the next."""
    stages = max(0, math.ceil(math.log10(start / end) - 1e-9) - 1)
    return [end * 10.0**stage for stage in range(stages, -1, -1)]


@dataclass(frozen=True, eq=False)
class _Prepare:
    """Scales rows, and puts the intercept's constant behind them."""

    mean: Matrix
    scale: Matrix
    constant: float

    @property
    def width(self) -> int:
        return len(self.mean) + 1

    def __call__(self, block: FloatArray) -> Matrix:
        wide = np.empty((len(block), self.width))
        np.subtract(block, self.mean, out=wide[:, :-1])
        wide[:, :-1] /= self.scale
        wide[:, -1] = self.constant
        return wide


@dataclass(frozen=True, eq=False)
class _Scores(ListOfRows):
    """Asks for the scores of all rows."""

    prepare: _Prepare
    weights: Matrix

    def visit(
        self,
        total: list[Matrix],
        data: None,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        total.append(self.weights @ self.prepare(block).T)


@dataclass(frozen=True, eq=False)
class _Squares(SumOfArrays):
    """Asks for the weighted squares of every prepared feature."""

    prepare: _Prepare

    def new(self) -> Matrix:
        return np.zeros(self.prepare.width)

    def visit(
        self,
        total: Matrix,
        data: Columns,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        total += data["shares"][here] @ self.prepare(block) ** 2


@dataclass(frozen=True, eq=False)
class _Inside:
    """Asks for the rows inside the margin of some columns, weighted; or for their products.

    Of each column that has ``few``, a list of its rows with their targets behind them; of any
    other, a list of one sum of products.
    """

    prepare: _Prepare
    few: list[bool]
    block_rows: int | None = None
    parts: int = PARTS

    def new(self) -> list[list[Matrix]]:
        width = self.prepare.width
        return [[] if dual else [np.zeros((width, width + 1))] for dual in self.few]

    def visit(
        self,
        total: list[list[Matrix]],
        data: Columns,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        wide = self.prepare(block)
        roots = np.sqrt(2 * data["shares"][here])
        inside, signed = data["inside"][:, here], data["signs"][:, here]
        for parts, own, sign, dual in zip(total, inside, signed, self.few, strict=True):
            rows = wide[own] * roots[own, None]
            target = roots[own] * sign[own]
            if dual:
                parts.append(np.column_stack([rows, target]))
            else:
                parts[0][:, :-1] += rows.T @ rows
                parts[0][:, -1] += rows.T @ target

    def merge(self, total: list[list[Matrix]], other: list[list[Matrix]]) -> list[list[Matrix]]:
        return [
            mine + its if dual else add(mine, its)
            for mine, its, dual in zip(total, other, self.few, strict=True)
        ]


class _Columns:
    """The columns of one problem, each of which is a problem of its own: (columns, ...) arrays."""

    def __init__(self, stack: StackedObjective, subset: int) -> None:
        self._run = stack.run
        self._prepare = _Prepare(
            stack.scaling.mean[subset],
            stack.scaling.scale[subset],
            stack.intercept_scale if stack.fit_intercept else 0.0,
        )
        own = stack.weighting.only(subset)
        self._shares = own.block(slice(0, len(own.y)), np.dtype(np.float64))[0] / own.totals[0]
        self._signs = signs(stack.columns, own.y, np.dtype(np.float64))
        self.passes = 0

    def scores(self, weights: Matrix) -> Matrix:
        """Return scores of all rows, shape (columns, n), in one pass."""
        self.passes += 1
        return np.concatenate(self._run.ask(_Scores(self._prepare, weights)), axis=1)

    def _short(self, scores: Matrix) -> Matrix:
        """Return by how much rows fall short of the margin, zero for those beyond it."""
        short: Matrix = np.maximum(1 - self._signs * scores, 0)
        return short

    def easy_penalty(self) -> float:
        """Return a penalty that is met in a few steps from anywhere, by the rows' mean square."""
        self.passes += 1
        found = self._run.ask(_Squares(self._prepare), Columns({"shares": self._shares}))
        return _EASY * float(found.sum())

    def value(self, weights: Matrix, scores: Matrix, penalty: float) -> float:
        """Return the objective."""
        loss = float((self._short(scores) ** 2 @ self._shares).sum())
        return loss + penalty * float((weights**2).sum()) / 2

    def regress(self, weights: Matrix, scores: Matrix, penalty: float) -> tuple[Matrix, Matrix]:
        """Return the ridge regression of each column's rows inside the margin, and the gradient."""
        inside = (self._short(scores) > 0) & (self._shares > 0)
        k, width = weights.shape
        solved, gradient = np.empty_like(weights), penalty * weights
        sizes = np.minimum(inside.sum(axis=1), width) * width * 8
        at = 0
        while at < k:
            count = max(1, int((np.cumsum(sizes[at:]) * PARTS <= _BYTES).sum()))
            chunk = list(range(at, min(at + count, k)))
            gathered = self._gather(chunk, inside)

            def solve(column: int) -> None:
                rows, target = gathered[column - chunk[0]]  # noqa: B023
                solved[column], pull = rows.solve(target, weights[column], penalty)
                gradient[column] -= pull

            self._run.each(solve, chunk)
            at += count
        return solved, gradient

    def _gather(
        self, chunk: list[int], inside: NDArray[np.bool_]
    ) -> list[tuple["_Dual | _Primal", Matrix]]:
        """Read the rows inside the margin of some columns, weighted, in one pass."""
        width = self._prepare.width
        few = [int(inside[column].sum()) <= width for column in chunk]
        data = {"inside": inside[chunk], "signs": self._signs[chunk], "shares": self._shares}
        gathered = self._run.ask(_Inside(self._prepare, few), Columns(data))
        self.passes += 1
        found: list[tuple[_Dual | _Primal, Matrix]] = []
        for i, dual in enumerate(few):
            whole = np.concatenate(gathered[i]) if dual else gathered[i][0]
            own: _Dual | _Primal = _Dual(whole[:, :-1]) if dual else _Primal(whole[:, :-1])
            found.append((own, whole[:, -1]))
        return found

    def lengths(
        self, weights: Matrix, scores: Matrix, direction: Matrix, along: Matrix, penalty: float
    ) -> Matrix:
        """Return how far each column goes along its direction: exactly to the lowest point.

        The slope along a line rises from one row's corner to the next, by straight pieces.
        """
        short, fall = 1 - self._signs * scores, self._signs * along
        slope = penalty * np.einsum("kd,kd->k", weights, direction)
        bend = penalty * np.einsum("kd,kd->k", direction, direction)

        def search(column: int) -> float:
            low, high, length = 0.0, np.inf, 1.0
            for _ in range(100):
                left = short[column] - length * fall[column]
                weight = np.where(left > 0, 2 * self._shares * fall[column], 0)
                steep = slope[column] + length * bend[column] - float(weight @ left)
                curve = bend[column] + float(weight @ fall[column])
                if steep < 0:
                    low = length
                else:
                    high = length
                ahead = length - steep / curve if curve > 0 else length
                if not low < ahead < high:
                    ahead = (low + high) / 2 if np.isfinite(high) else 2 * length
                if abs(ahead - length) <= 1e-12 * length:
                    return length
                length = ahead
            return length

        moving = np.abs(direction).max(axis=1) > 0
        return np.array(
            self._run.each(lambda c: search(c) if moving[c] else 0.0, list(range(len(weights))))
        )


@dataclass(frozen=True, eq=False)
class _Dual:
    """A ridge regression by the products of its rows, where they are fewer than features."""

    rows: Matrix

    def solve(self, target: Matrix, weights: Matrix, penalty: float) -> tuple[Matrix, Matrix]:
        """Return its weights, and the pull of the residuals at other weights."""
        kernel = self.rows @ self.rows.T
        kernel[np.diag_indices(len(kernel))] += penalty
        residual = target - self.rows @ weights
        if not len(kernel):
            return np.zeros_like(weights), np.zeros_like(weights)
        solved = self.rows.T @ cho_solve(cho_factor(kernel, lower=True), target)
        return solved, self.rows.T @ residual


@dataclass(frozen=True, eq=False)
class _Primal:
    """A ridge regression by the products of its features."""

    gram: Matrix

    def solve(self, target: Matrix, weights: Matrix, penalty: float) -> tuple[Matrix, Matrix]:
        """Return its weights, and the pull of the residuals at other weights."""
        shifted = self.gram.copy()
        shifted[np.diag_indices(len(shifted))] += penalty
        return cho_solve(cho_factor(shifted, lower=True), target), target - self.gram @ weights
