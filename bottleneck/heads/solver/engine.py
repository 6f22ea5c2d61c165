"""What a pass of stacked problems computes, and the NumPy way to do it.

Any engine takes the same work and returns the same sums; solvers never see which one it was.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray, buffer
from bottleneck.heads.solver.losses import Loss
from bottleneck.heads.solver.row_pass import Pass, sum_of
from bottleneck.heads.solver.scaling import Scaling
from bottleneck.heads.solver.weighting import Weighting

EngineName: TypeAlias = Literal["numpy", "keras"]

Sums: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Of p problems with k columns: weighted losses (p,), weighted derivatives by the scores summed
over rows (k, p), and their products with the features (k * p, d)."""


@dataclass(frozen=True, eq=False)
class Work:
    """Linear scores of all rows under stacked weights, to be turned into losses and gradients.

    Parameters
    ----------
    loss : Loss
        The loss.
    weights : ndarray of the rows' type, shape (k, p, d)
        Weights of k columns of p problems, on prepared blocks.
    intercepts : ndarray of the rows' type, shape (k, p)
        Intercepts.
    weighting : Weighting
        Targets, and weights of the rows in the subsets used.
    place : ndarray of int64, shape (p,)
        Subset of each problem.
    scaling : Scaling
        Prepares blocks.
    """

    loss: Loss
    weights: FloatArray
    intercepts: FloatArray
    weighting: Weighting
    place: NDArray[np.int64]
    scaling: Scaling

    def row_weights(self, start: int, stop: int) -> FloatArray:
        """Return the weights of a run of rows in each problem, shape (p, rows)."""
        found = self.weighting.block(start, stop, self.weights.dtype)
        return found[self.place] if len(self.place) > 1 else found


class Engine(Protocol):
    """A way to do the work of a pass."""

    def __call__(self, run: Pass, work: Work) -> Sums:
        """Go through all rows once."""
        ...


def numpy_engine(run: Pass, work: Work) -> Sums:
    """Multiply blocks that fit a core's cache, in the threads of the pass; sums are float64."""
    k, p, d = work.weights.shape
    flat = np.ascontiguousarray(work.weights.reshape(k * p, d))
    dtype = flat.dtype

    def new() -> Sums:
        return np.zeros(p), np.zeros((k, p)), np.zeros((k * p, d))

    def visit(
        sums: Sums, start: int, stop: int, block: FloatArray, scratch: dict[str, FloatArray]
    ) -> None:
        block = work.scaling.prepare(block)
        scores = buffer(scratch, "scores", (k * p, len(block)), dtype)
        product = buffer(scratch, "product", (k * p, d), dtype)
        np.matmul(flat, block.T, out=scores)
        Z = scores.reshape(k, p, len(block))
        Z += work.intercepts[:, :, None]
        weights = work.row_weights(start, stop)
        sums[0][...] += work.loss.kernel(Z, work.weighting.y[start:stop], weights)
        sums[1][...] += Z.sum(axis=2, dtype=np.float64)
        np.matmul(scores, block, out=product)
        sums[2][...] += product

    parts = run.run(new, visit)
    loss, residual, raw = (sum_of([part[i] for part in parts]) for i in range(3))
    return loss, residual, raw
