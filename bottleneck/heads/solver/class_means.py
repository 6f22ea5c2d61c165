"""Mean of each class, from one pass."""

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.row_pass import Pass, sum_of
from bottleneck.heads.solver.weighting import Weighting


def class_means(
    run: Pass, weighting: Weighting, k: int, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted mean of each of ``k`` classes in the first subset, shape (k, d).

    Sums are of differences from ``centre``, shape (d,), where they keep their digits.
    """
    d, dtype = run.rows.shape[1], run.rows.dtype
    base = centre.astype(dtype)

    def visit(
        total: NDArray[np.float64], start: int, stop: int, block: FloatArray, scratch: object
    ) -> None:
        picked = np.zeros((k, len(block)), dtype)
        picked[weighting.y[start:stop], np.arange(len(block))] = weighting.block(
            start, stop, dtype
        )[0]
        total += picked @ (block - base)

    sums = sum_of(run.run(lambda: np.zeros((k, d)), visit))
    return sums / weights_of_classes(weighting, k)[:, None] + base.astype(np.float64)


def weights_of_classes(weighting: Weighting, k: int) -> NDArray[np.float64]:
    """Return the weight of each class's rows, shape (k,).

    Raises
    ------
    ValueError
        For a class without weight.
    """
    weight = np.bincount(weighting.y, weighting.weights_of_rows(), minlength=k)
    if not (weight > 0).all():
        raise ValueError("expected rows of weight above zero in every class")
    return weight.astype(np.float64)
