"""Some thousand rows that stand for all, where the curvature is estimated."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.question import PARTS, Columns, ListOfRows
from bottleneck.heads.solver.row_pass import Pass
from bottleneck.heads.solver.scaling import Weighting

_SAMPLE = 8000
"""Rows looked at, at most. Three times as many saved no steps (Fashion-MNIST, 1280 features)."""

_SAMPLE_OF_FEW = 2000
"""And at least, where a quarter of the rows is fewer: it must stay cheap beside passes."""

_CENTRED = 0.3
"""Means, in deviations, up to which features count as centred."""

_OFF = 0.02
"""Share of features that may be off the centre: those that are zero but in a few rows of all are a
constant in the sample, and a few directions cost a few steps."""

_LARGE = 30.0
"""Largest root mean square at which rounding of float32 rows is small beside penalties: at 300 a
softmax took hundreds of passes, with its diagonal 20."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Some rows, scaled.

    Parameters
    ----------
    taken : ndarray of int64, shape (m,)
        Which rows.
    rows : ndarray, shape (m, d)
        Their features.
    weights : ndarray, shape (m,)
        What they count, one on average.
    """

    taken: NDArray[np.int64]
    rows: FloatArray
    weights: FloatArray

    @classmethod
    def of(
        cls,
        run: Pass,
        weighting: Weighting,
        mean: NDArray[np.float64],
        scale: NDArray[np.float64],
    ) -> "Sample":
        """Take every n-th row of a pass; features less ``mean``, divided by ``scale``."""
        n = run.rows.shape[0]
        most = min(n, max(_SAMPLE_OF_FEW, min(_SAMPLE, n // 4)))
        taken = np.unique(np.linspace(0, n - 1, most).astype(np.int64))
        mask = np.zeros(n, bool)
        mask[taken] = True
        rows: FloatArray = np.concatenate(run.ask(_Sample(), Columns({"taken": mask})))
        rows -= mean.astype(rows.dtype)
        rows /= scale.astype(rows.dtype)
        counts = weighting.counts(taken)
        counts = counts / counts.mean() if counts.any() else np.ones_like(counts)
        return cls(taken, rows, counts.astype(rows.dtype))

    def suits(self) -> bool:
        """Tell whether the estimate suits the features: centred, and not large.

        With means near zero the intercept is all but apart from weights, see also :data:`_LARGE`.
        """
        mean, square = np.zeros((2, self.rows.shape[1]))
        shares = np.array_split(self.weights / self.weights.sum(dtype=np.float64), PARTS)
        with np.errstate(over="ignore", invalid="ignore"):  # squares beyond numbers are not near
            for rows, share in zip(np.array_split(self.rows, PARTS), shares, strict=True):
                wide = rows.astype(np.float64)
                mean += share @ wide
                square += share @ np.square(wide, out=wide)
            deviation = np.sqrt(np.maximum(square - mean**2, 0))
        small = square <= _LARGE**2
        off = np.abs(mean) > _CENTRED * deviation
        return bool(small.all() and off.mean() <= _OFF)


class _Sample(ListOfRows):
    """Asks for the rows that are marked."""

    block_rows = 4096

    def visit(
        self,
        total: list[FloatArray],
        data: Columns,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        total.append(block[data["taken"][here]])
