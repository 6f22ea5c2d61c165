"""Many regularised linear problems solved in lock-step: each block of rows is read once for all.

Every subset of the rows follows its own path of penalties, from the strongest to the weakest.
A problem begins where the ones before point to, and with what their solver learnt of the
curvature: the Hessians differ by the change of the penalty, which is known.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.solver.curvature import Curvature, Local
from bottleneck.heads.solver.lbfgs import CERTAIN, MEMORY, Lbfgs
from bottleneck.heads.solver.newton import finish, newton_pays
from bottleneck.heads.solver.objective import Problem, Solution, StackedObjective
from bottleneck.heads.solver.pairs import Inverse, Pairs, Vector
from bottleneck.heads.solver.sample import Sample

CURVATURE_MIN_ROWS = 16000
"""Rows from which the curvature is always estimated."""

GAP = 1e-7
"""Share of the objective the quadratic model may still expect to gain at the end. The model
knows few directions: the distance from the minimum was up to 200 times that (digits, C = 100),
where `tol=1e-4` alone left 8%."""

_MAX_COLUMNS = 1024
"""Columns multiplied at once: their float64 sums take 10 MiB per 1280 features and shard."""

_LEAST_MEMORY, _ROWS_PER_PAIR = 25, 80
"""Pairs that are remembered at least, and rows for each one more: where rows are few, pairs cost as
much as passes. 25 for 50 took no more passes at 2,000 x 512, but 18% more at 10,000 x 256.
Without an estimate of the curvature, up to 67% more: then all are remembered."""

_PAIR_BYTES = 256 << 20
"""Memory of all solvers together, unless that is less than ten pairs each."""

_CURVATURE_ROUNDS = frozenset({4, 20, 50, 100, 200, 400, 800})
"""Rounds of a problem at which the curvature is estimated again: often while weights move far.
At first it is that of the problem before on the path."""

_WARM_START_TOLERANCES = 2.0
"""Gradients, in tolerances, up to which a problem is warm-started by the last solution."""

_MARGIN = 0.8
"""Share of the tolerance that solvers on a path go down to: the next problem may then be solved
by the same weights, as it always is with penalties that hardly matter any more."""

_PAST = 3
"""Last solutions of a path from which it is extrapolated."""

_MAX_AHEAD = 2.0
"""Steps of the path (in log penalty) up to which it is extrapolated by one more."""


def estimated_curvature(stack: StackedObjective) -> Curvature | None:
    """Prepare estimates of a stack's Hessians, if those suit its features."""
    scaling = stack.scaling
    sample = Sample.of(stack.run, stack.weighting, scaling.mean[0], scaling.scale[0])
    if not curvature_suits(stack, sample):
        return None
    return Curvature(
        stack.run,
        sample,
        stack.weighting.y,
        stack.loss,
        fit_intercept=stack.fit_intercept,
    )


def curvature_suits(stack: StackedObjective, sample: Sample) -> bool:
    """Tell whether estimates of the curvature beat a diagonal.

    Features that are not centred couple with the intercept, which the estimates do not see, and
    large ones round: with few rows, a diagonal does better.
    """
    return stack.run.rows.shape[0] >= CURVATURE_MIN_ROWS or sample.suits()


@dataclass(frozen=True)
class _Terms:
    """When solvers end, and how much they remember."""

    tolerance: float
    reach: float
    gap: float
    max_iter: int
    memory: int
    dtype: np.dtype[np.floating]
    penalised: Vector
    certain: float
    proven: float
    look_ahead: bool

    def begin(
        self,
        x: Vector,
        problem: Problem,
        scale: Inverse | None = None,
        pairs: Pairs | None = None,
    ) -> Lbfgs:
        return Lbfgs(
            x,
            tolerance=self.reach,
            gap=self.gap,
            convexity=problem.penalty * self.penalised,
            certain=self.certain,
            proven=self.proven,
            scale=scale,
            pairs=Pairs(self.memory, len(x), self.dtype) if pairs is None else pairs,
        )


@dataclass(eq=False)
class _Walk:
    """Where one path of problems has got to, and how the next problem is warm-started."""

    problems: Sequence[Problem]
    solver: Lbfgs
    fallback: Lbfgs | None = None
    nearby: Local | None = None
    rounds: int = 0
    finishable: bool = True
    past: deque[tuple[float, Vector]] = field(default_factory=lambda: deque(maxlen=_PAST))
    found: list[Solution] = field(default_factory=list)

    @property
    def problem(self) -> Problem:
        return self.problems[len(self.found)]

    def rests(self, until: int | None) -> bool:
        """Whether so many problems are solved, by default all."""
        most = len(self.problems)
        return len(self.found) >= (most if until is None else min(until, most))

    def branch(self, terms: _Terms, found: list[Solution]) -> "_Walk":
        """Return a walk on other terms from the same place; ``found`` is a copy of what was."""
        other = replace(self, found=found, past=deque(self.past, _PAST))
        if not self.rests(None):
            pairs = self.solver.pairs.copy()
            other.fallback = None
            other.solver = terms.begin(self.solver.trial, self.problem, self.solver.scale, pairs)
        return other


class _Guide:
    """Inverse Hessians for all paths: one estimate serves every subset at a penalty."""

    def __init__(self, stack: StackedObjective, curvature: Curvature) -> None:
        self._stack, self._curvature = stack, curvature
        self._known: dict[float, tuple[int, Local]] = {}

    def strength(self, problem: Problem) -> float:
        """Return penalty times weight: 1 / C, the same for subsets of any size."""
        return float(f"{problem.penalty * self._stack.weighting.totals[problem.subset]:.9g}")

    def copy(self) -> "_Guide":
        """Return one that knows the same, and learns by itself."""
        other = _Guide(self._stack, self._curvature)
        other._known = dict(self._known)
        return other

    def look(self, walks: Sequence[_Walk]) -> None:
        """Give solvers the estimate at their penalty, estimated again where it is due."""
        groups: dict[float, list[_Walk]] = {}
        for walk in walks:
            groups.setdefault(self.strength(walk.problem), []).append(walk)
        known = self._known
        due = {
            at: max(walk.rounds for walk in group)
            for at, group in groups.items()
            if any(
                walk.rounds in _CURVATURE_ROUNDS and walk.rounds > known.get(at, (0,))[0]
                for walk in group
            )
            or (at not in known and any(walk.nearby is None for walk in group))
        }

        for at, rounds in due.items():
            mean = np.mean([walk.solver.trial for walk in groups[at]], axis=0)
            known[at] = rounds, self._curvature.at(mean.reshape(self._stack.columns, -1))
        for at, group in groups.items():
            for walk in group:
                if at in due or (walk.rounds == 0 and at in known):
                    walk.nearby = known[at][1]
                    walk.solver.scale = walk.nearby(walk.problem.penalty)


def solve(
    stack: StackedObjective,
    paths: Sequence[Sequence[Problem]],
    *,
    tolerance: float,
    gap: float = GAP,
    max_iter: int,
    start: Sequence[NDArray[np.float64]] | None = None,
    curvature: Curvature | None = None,
    nearby: Local | None = None,
) -> list[list[Solution]]:
    """Solve all problems, those of each path one after the other, all paths in lock-step.

    Parameters
    ----------
    stack : StackedObjective
        What they share.
    paths : sequence of sequence of Problem
        Problems of one subset each, their penalties best falling.
    tolerance : float
        Largest component of the gradient to end at, as scikit-learn's ``tol``.
    gap : float
        Share of the objective that may be left to gain, by the solver's model.
    max_iter : int
        Steps of each solver at most.
    start : sequence of ndarray of float64, shape (columns, d + 1), optional
        Where each path begins; zero by default.
    curvature : Curvature, optional
        Estimates the solvers' inverse Hessians.
    nearby : callable, optional
        Without one: from a penalty to the solvers' inverse Hessian, the same throughout.

    Returns
    -------
    list of list of Solution
        As ``paths``.
    """
    walks = Walks(
        stack,
        paths,
        tolerance=tolerance,
        gap=gap,
        max_iter=max_iter,
        start=start,
        curvature=curvature,
        nearby=nearby,
    )
    return walks.to_the_end()


class Walks:
    """All paths of :func:`solve`, which can be gone along for a while.

    Parameters
    ----------
    stack, paths, tolerance, gap, max_iter, start, curvature, nearby
        As of :func:`solve`.
    certain : float
        Share of the objective by which the minimum may lie below a solution for certain.
    proven : float
        Share by which it may for the gradient's ``tolerance`` not to matter any more.
    look_ahead : bool
        Keep where the solvers' models expect the minima, see :attr:`Solution.ahead`.

    Attributes
    ----------
    found : list of list of Solution
        By path, those of its first problems.
    """

    def __init__(
        self,
        stack: StackedObjective,
        paths: Sequence[Sequence[Problem]],
        *,
        tolerance: float,
        gap: float,
        max_iter: int,
        start: Sequence[NDArray[np.float64]] | None = None,
        curvature: Curvature | None = None,
        nearby: Local | None = None,
        certain: float = CERTAIN,
        proven: float = 0.0,
        look_ahead: bool = False,
    ) -> None:
        on_paths = any(len(path) > 1 for path in paths)
        dtype = stack.run.rows.dtype
        self._terms = _Terms(
            tolerance=tolerance,
            reach=tolerance * (_MARGIN if on_paths else 1),
            gap=gap,
            max_iter=max_iter,
            memory=_memory(stack, len(paths), curvature is not None),
            dtype=dtype,
            penalised=stack.penalised,
            certain=certain,
            proven=proven,
            look_ahead=look_ahead,
        )
        self._stack, self._paths, self._start, self._nearby = stack, paths, start, nearby
        self._guide = None if curvature is None else _Guide(stack, curvature)
        self._resting: dict[int, _Walk] = {}
        self.found: list[list[Solution]] = [[] for _ in paths]

    def branch(self, *, tolerance: float, gap: float) -> "Walks":
        """Return the same walks, to be gone on with by looser terms; these stay where they are."""
        terms = replace(self._terms, tolerance=tolerance, reach=tolerance, gap=gap, certain=np.inf)
        other = copy(self)
        other._terms = terms
        other._guide = None if self._guide is None else self._guide.copy()
        other.found = [list(solutions) for solutions in self.found]
        other._resting = {
            path: walk.branch(terms, other.found[path]) for path, walk in self._resting.items()
        }
        return other

    @property
    def together(self) -> bool:
        """Whether all paths are gone along at once; else their solvers take too much memory."""
        return len(self._paths) <= _at_once(self._stack)

    def to_the_end(self) -> list[list[Solution]]:
        """Solve all problems; return the solutions.

        Paths that are gone along together wait for each other at every problem: what one learns
        of the curvature does then not depend on how many problems follow.
        """
        if self.together:
            for until in range(1, max(map(len, self._paths), default=0)):
                self.go(until)
        self.go()
        return self.found

    def go(self, until: int | None = None) -> None:
        """Go on until so many problems of every path are solved; by default all."""
        # Walks are made when their turn comes, and go when they end: a solver remembers many
        # times its weights.
        stack, terms = self._stack, self._terms
        ahead = iter(range(len(self._paths)))
        at_once = _at_once(stack)
        walking: list[_Walk] = []
        while now := walking + list(islice(self._due(ahead, until), at_once - len(walking))):
            if self._guide is not None:
                self._guide.look(now)
            trials = np.stack([walk.solver.trial for walk in now])
            values, gradients = stack.evaluate(
                [walk.problem for walk in now], trials.reshape(len(now), stack.columns, -1)
            )

            def tell(at: int) -> None:
                walk = now[at]
                walk.rounds += 1
                walk.solver.tell(float(values[at]), gradients[at].ravel())  # noqa: B023
                if walk.fallback is not None and walk.solver.value > walk.fallback.value:
                    walk.solver = walk.fallback
                walk.fallback = None
                if walk.solver.done or walk.solver.iterations >= terms.max_iter:
                    _advance(walk, stack, terms)

            stack.run.each(tell, list(range(len(now))))
            for walk in now:
                undone = len(walk.found) < len(walk.problems) and walk.finishable
                if undone and newton_pays(stack, walk.rounds):
                    _finish(walk, stack, terms)
            walking = [walk for walk in now if not walk.rests(until)]

    def _due(self, paths: Iterator[int], until: int | None) -> Iterator[_Walk]:
        """Take up the walks that have not got so far."""
        for path in paths:
            walk = self._resting.pop(path, None) or self._begin(path)
            if until is not None:
                self._resting[path] = walk
            if not walk.rests(until):
                yield walk

    def _begin(self, path: int) -> _Walk:
        stack, first = self._stack, self._paths[path][0]
        x = (
            np.zeros(stack.columns * (stack.run.rows.shape[1] + 1))
            if self._start is None
            else self._start[path].ravel()
        )
        scale = None if self._nearby is None else self._nearby(first.penalty)
        solver = self._terms.begin(x, first, scale)
        return _Walk(self._paths[path], solver, nearby=self._nearby, found=self.found[path])


def _memory(stack: StackedObjective, paths: int, estimated: bool) -> int:
    """Return how many pairs each solver remembers."""
    n, d = stack.run.rows.shape
    pair = 4 * stack.columns * (d + 1) * stack.run.rows.dtype.itemsize  # a branch has a copy
    worth = max(_LEAST_MEMORY, n // _ROWS_PER_PAIR) if estimated else MEMORY
    return max(10, min(MEMORY, worth, _PAIR_BYTES // (pair * paths)))


def _at_once(stack: StackedObjective) -> int:
    return max(1, _MAX_COLUMNS // stack.columns)


def _advance(walk: _Walk, stack: StackedObjective, terms: _Terms) -> None:
    """Note the solution, and turn to the first problem that it does not also solve."""
    while True:
        solver, last = walk.solver, walk.problem
        walk.found.append(
            stack.solution(last, solver, solver.converged, look_ahead=terms.look_ahead)
        )
        walk.past.append((float(np.log(last.penalty)), solver.x))
        if len(walk.found) == len(walk.problems):
            return
        problem, change = walk.problem, walk.problem.penalty - last.penalty
        pairs = solver.pairs
        pairs.bend(change * terms.penalised)
        scale = None if walk.nearby is None else walk.nearby(problem.penalty)
        # Value and gradient of the new problem at the old solution need no pass.
        pull = terms.penalised * solver.x
        here = terms.begin(solver.x, problem, scale, pairs)
        here.tolerance = terms.tolerance
        here.tell(
            solver.value + change / 2 * float(solver.x @ pull), solver.gradient + change * pull
        )
        here.evaluations = 0
        walk.solver, walk.rounds, walk.fallback = here, 0, None
        if not here.done:
            here.tolerance = terms.reach
            ahead = _extrapolated(walk.past, float(np.log(problem.penalty)))
            if here.size > _WARM_START_TOLERANCES * terms.tolerance and ahead is not solver.x:
                walk.solver, walk.fallback = terms.begin(ahead, problem, scale, pairs), here
            return


def _finish(walk: _Walk, stack: StackedObjective, terms: _Terms) -> None:
    """Solve the problem at hand and the rest of its path by Newton's method."""
    spent = walk.solver.iterations, walk.solver.evaluations
    x, penalty = walk.solver.x, None
    if walk.past:
        x, penalty = walk.past[-1][1], walk.problems[len(walk.found) - 1].penalty
    first = len(walk.found)
    for problem in walk.problems[first:]:
        ended = finish(stack, problem, x, penalty, spent=spent)
        if ended is None:  # continue by descent
            walk.finishable = False
            if problem is not walk.problems[first]:
                walk.solver, walk.rounds = terms.begin(x, problem), 0
            return
        walk.found.append(
            stack.solution(problem, ended, ended.converged, look_ahead=terms.look_ahead)
        )
        x, penalty, spent = ended.x, problem.penalty, (0, 0)


def _extrapolated(past: deque[tuple[float, Vector]], at: float) -> Vector:
    """Predict a path's weights: half way between its last line and its last parabola."""
    (now, weights), *others = reversed(past)
    if not others or now == others[0][0] or not 0 < (at - now) / (now - others[0][0]) <= _MAX_AHEAD:
        return weights
    line = weights + (at - now) / (now - others[0][0]) * (weights - others[0][1])
    if len(others) < 2 or others[1][0] in (now, others[0][0]):
        return line
    (b, at_b), (c, at_c) = others
    parabola = (
        (at - b) * (at - c) / ((now - b) * (now - c)) * weights
        + (at - now) * (at - c) / ((b - now) * (b - c)) * at_b
        + (at - now) * (at - b) / ((c - now) * (c - b)) * at_c
    )
    return (line + parabola) / 2
