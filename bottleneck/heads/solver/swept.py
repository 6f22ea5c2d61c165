"""What a sweep over subsets of the rows and strengths found."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.solver.objective import Coefficients, Solution

TOLERANCE = 1e-4
"""Largest component of the gradient to end at, as scikit-learn's default."""


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
    ruled_out : ndarray of int64
        Strengths that were solved only as far as shows that they are not chosen.
    """

    shape: tuple[int, int, int, int]
    head: Callable[[int, int], Coefficients]
    solutions: list[list[Solution]] = field(default_factory=list)
    ruled_out: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

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


def unmoved_note(swept: Swept, values: Sequence[float]) -> list[str]:
    """Note strengths whose heads are those of another one, because they met the tolerance."""
    if not swept.solutions or len(values) < 2:
        return []
    same = [
        at
        for at in range(1, len(values))
        if at not in swept.ruled_out  # those end at another tolerance
        and all(path[at].passes == 0 and path[at].iterations == 0 for path in swept.solutions)
    ]
    if not same:
        return []
    listed = ", ".join(f"{values[at]:g}" for at in same)
    note = f"C={listed}: heads of the C before meet the tolerance ({TOLERANCE:g}), scores are equal"
    return [note]


def ruled_out_note(swept: Swept, values: Sequence[float]) -> list[str]:
    """Note the strengths that screening ruled out; for where it was asked for."""
    if not len(swept.ruled_out):
        return ["screening ruled out no strength: all scores are exact"]
    listed = ", ".join(f"{values[at]:g}" for at in swept.ruled_out)
    return [f"C={listed}: ruled out by screening, their scores are approximate"]
