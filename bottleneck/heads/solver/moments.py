"""Moments of the rows, from one pass: what ridge regression and discriminants need."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.row_pass import Pass, sum_of
from bottleneck.heads.solver.scaling import Weighting

_BLOCK_ROWS = 4096
"""Rows per product: a d x d sum is written once per block, so that blocks must be long."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted sums over some rows, of features less ``centre``. They add and subtract.

    A column is a class, or a target of numbers.

    Parameters
    ----------
    centre : ndarray of float64, shape (d,)
        Near the mean, so that no sum cancels.
    total : float
        Sum of weights.
    first : ndarray of float64, shape (d,)
        Sum of features.
    weight : ndarray of float64, shape (columns,)
        Sum of weights per class, or of each target.
    sums : ndarray of float64, shape (columns, d)
        Sum of features per class, or of features times each target.
    gram : ndarray of float64, shape (d, d)
        Sum of products of features.
    rounding : float
        Relative error of the sums.
    """

    centre: NDArray[np.float64]
    total: float
    first: NDArray[np.float64]
    weight: NDArray[np.float64]
    sums: NDArray[np.float64]
    gram: NDArray[np.float64]
    rounding: float

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(
            self.centre,
            self.total - other.total,
            self.first - other.first,
            self.weight - other.weight,
            self.sums - other.sums,
            self.gram - other.gram,
            self.rounding,
        )

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.centre,
            self.total + other.total,
            self.first + other.first,
            self.weight + other.weight,
            self.sums + other.sums,
            self.gram + other.gram,
            self.rounding,
        )

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the features as they are, shape (d,)."""
        mean: NDArray[np.float64] = self.first / self.total + self.centre
        return mean

    def deviation(self) -> NDArray[np.float64]:
        """Return standard deviations; 1 for what is constant within rounding, shape (d,)."""
        square = np.diag(self.gram) / self.total
        variance = square - (self.mean - self.centre) ** 2
        constant = variance <= 10 * self.rounding * square
        return np.where(constant, 1.0, np.sqrt(np.where(constant, 1.0, variance)))

    def scatter(self) -> NDArray[np.float64]:
        """Sum of products of differences from the mean, shape (d, d)."""
        shift = self.mean - self.centre
        return self.gram - self.total * np.outer(shift, shift)


def gram_moments(
    run: Pass,
    weighting: Weighting,
    n_classes: int,
    centre: NDArray[np.float64],
) -> list[Moments]:
    """Compute the moments of disjoint subsets in one pass.

    Products are of the rows' own type (float32 for stored features) within a block, sums over
    blocks are float64.

    Parameters
    ----------
    run : Pass
        The rows.
    weighting : Weighting
        Its subsets must not share rows; each row's product is made once.
    n_classes : int
        Number of codes, or of targets.
    centre : ndarray of float64, shape (d,)
        Subtracted from the features first.

    Returns
    -------
    list of Moments
        One per subset.
    """
    d, dtype = run.rows.shape[1], run.rows.dtype
    k = len(weighting.members)
    base = centre.astype(dtype)
    numeric = weighting.y.ndim == 2
    columns = n_classes + numeric  # beside targets, a column of ones

    def new() -> list[list[NDArray[np.float64]]]:
        return [[np.zeros(columns), np.zeros((columns, d)), np.zeros((d, d))] for _ in range(k)]

    def visit(
        totals: list[list[NDArray[np.float64]]],
        start: int,
        stop: int,
        block: FloatArray,
        scratch: object,
    ) -> None:
        weights = weighting.block(start, stop, np.dtype(np.float64))
        y = weighting.y[start:stop]
        for total, member, weight in zip(
            totals, weighting.members[:, start:stop], weights, strict=True
        ):
            if not member.any():
                continue
            own = block - base if member.all() else block[member] - base
            w, codes = weight[member], y[member]
            if numeric:
                design = w * np.concatenate([codes.T, np.ones((1, len(w)))])
                total[0] += design.sum(axis=1)
                picked = design.astype(dtype)
            else:
                total[0] += np.bincount(codes, w, minlength=n_classes)
                picked = np.zeros((n_classes, len(w)), dtype)
                picked[codes, np.arange(len(w))] = w
            total[1] += picked @ own
            if not (w == 1).all():
                own *= np.sqrt(w)[:, None].astype(dtype)
            total[2] += own.T @ own

    shards = run.run(new, visit, block_rows=_BLOCK_ROWS, shards=1)
    rounding = float(np.finfo(dtype).eps)

    def moments(
        weight: NDArray[np.float64], sums: NDArray[np.float64], gram: NDArray[np.float64]
    ) -> Moments:
        alone = slice(n_classes, None) if numeric else slice(None)
        return Moments(
            centre=base.astype(np.float64),
            total=float(weight[alone].sum()),
            first=sums[alone].sum(axis=0),
            weight=weight[:n_classes],
            sums=sums[:n_classes],
            gram=gram,
            rounding=rounding,
        )

    found = [[moments(*sums) for sums in shard] for shard in shards]
    merged = found[0]
    for shard in found[1:]:
        merged = [mine + other for mine, other in zip(merged, shard, strict=True)]
    return merged


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
