"""Heads of a sweep, scored on the rows that they were not fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.objective import Coefficients
from bottleneck.heads.solver.question import Columns, ListOfRows, SumOfArrays
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.swept import Swept

HEADS_BYTES = 64 << 20
"""Memory for the heads that one pass scores."""


def held_out_accuracy(
    run: Pass,
    y: NDArray[np.int64],
    members: NDArray[np.bool_],
    parts: NDArray[np.int32],
    swept: Swept,
) -> NDArray[np.float64]:
    """Score every head on the rows it was not fitted on, apart for each fold.

    One pass serves as many heads as :data:`HEADS_BYTES` holds.

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
        heads = [stacked([swept.head(subset, at) for at in some]) for subset, some in now]
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
        for (subset, some), head in zip(self.now, self.heads, strict=True):
            left_out = np.flatnonzero(data["left_out"][subset, here])
            if not len(left_out):
                continue
            codes = predicted_codes(scores_of(block[left_out], head, self.columns))
            correct = codes == data["y"][here][left_out, None]
            part = data["parts"][here][left_out]
            for i, at in enumerate(some):
                total[subset, at] += np.bincount(part, correct[:, i], minlength=self.shape[2])


def _held_at_once(swept: Swept) -> list[list[tuple[int, range]]]:
    """Return which strengths of which subsets are scored in each pass."""
    p, k, columns, d = swept.shape
    most = max(1, HEADS_BYTES // (8 * columns * (d + 1)))
    if most < k:
        runs = [range(at, min(at + most, k)) for at in range(0, k, most)]
        return [[(subset, run)] for subset in range(p) for run in runs]
    step = most // k
    return [[(i, range(k)) for i in range(at, min(at + step, p))] for at in range(0, p, step)]


def stacked(heads: Sequence[Coefficients]) -> Coefficients:
    """Put heads one below the other."""
    return np.concatenate([coef for coef, _ in heads]), np.concatenate([b for _, b in heads])


def scores_of(rows: FloatArray, heads: Coefficients, columns: int) -> NDArray[np.float64]:
    """Return the scores of rows by heads that are stacked: (rows, heads, columns)."""
    coef, intercept = heads
    scores = rows.astype(np.float64) @ coef.T
    scores += intercept
    return scores.reshape(len(rows), len(coef) // columns, columns)


def predicted_codes(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the winning code of scores (..., columns); one column is the score of code 1."""
    if scores.shape[-1] == 1:
        return (scores[..., 0] > 0).astype(np.int64)
    codes: NDArray[np.int64] = scores.argmax(axis=-1)
    return codes


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
