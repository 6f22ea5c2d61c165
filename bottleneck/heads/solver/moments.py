"""Moments of the rows, from one pass: what ridge regression and discriminants need."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.rows import FloatArray
from bottleneck.heads.solver.question import SumOfArrays
from bottleneck.heads.solver.row_pass import Pass
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

    Products are of the rows' own type (float32 for stored features) within a block but for rows
    that outweigh the others; sums over blocks are float64.

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
    dtype = run.rows.dtype
    base = centre.astype(dtype)
    numeric = weighting.y.ndim == 2
    columns = n_classes + numeric  # beside targets, a column of ones
    sums_of_subsets = run.ask(_Sums(base, columns, numeric, len(weighting.members)), weighting)
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

    return [moments(*sums) for sums in sums_of_subsets]


@dataclass(frozen=True, eq=False)
class _Sums(SumOfArrays):
    """Asks for the weights, sums and products of the rows of each subset, less ``base``."""

    base: FloatArray
    columns: int
    numeric: bool
    subsets: int
    block_rows: int | None = _BLOCK_ROWS
    parts: int = 1

    def new(self) -> list[list[NDArray[np.float64]]]:
        c, d = self.columns, len(self.base)
        return [[np.zeros(c), np.zeros((c, d)), np.zeros((d, d))] for _ in range(self.subsets)]

    def visit(
        self,
        total: list[list[NDArray[np.float64]]],
        data: Weighting,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        dtype = self.base.dtype
        weights = data.block(here, np.dtype(np.float64))
        y = data.y[here]
        for sums, member, weight in zip(total, data.members[:, here], weights, strict=True):
            if not member.any():
                continue
            own = block if member.all() else block[member]
            w, codes = weight[member], y[member]
            if self.numeric:
                design = w * np.concatenate([codes.T, np.ones((1, len(w)))])
                sums[0] += design.sum(axis=1)
                picked = design.astype(dtype)
            else:
                sums[0] += np.bincount(codes, w, minlength=self.columns)
                picked = np.zeros((self.columns, len(w)), dtype)
                picked[codes, np.arange(len(w))] = w
            add_products(sums[1], sums[2], picked, own, w, bases=self.base[None])


def add_products(
    sums: NDArray[np.float64],
    gram: NDArray[np.float64],
    picked: NDArray[np.floating[Any]],
    block: FloatArray,
    weights: NDArray[np.floating[Any]],
    *,
    bases: FloatArray,
    codes: NDArray[np.int64] | None = None,
) -> None:
    """Add the products of a block's rows, less their bases, to sums.

    Where a few rows lie far from the others, sums in float32 would keep the digits of those few
    only: their products are of float64, and the others' about means of their own.

    Parameters
    ----------
    sums : ndarray of float64, shape (columns, d)
        ``picked @ rows`` is added to it.
    gram : ndarray of float64, shape (d, d)
        ``rows' weights rows`` is added to it.
    picked : ndarray, shape (columns, n)
        What rows are summed up with.
    block : ndarray of float32 or float64, shape (n, d)
        Features as they are.
    weights : ndarray, shape (n,)
        Of the rows.
    bases : ndarray of the block's type, shape (bases, d)
        Subtracted from the features.
    codes : ndarray of int64, shape (n,), optional
        Which base; the first one for all by default.
    """
    own = block - (bases[0] if codes is None else bases[codes])
    far = outweighing_rows(own)
    if far.any():
        base_of = np.zeros(len(block), np.int64) if codes is None else codes
        exact = bases.astype(np.float64)
        apart = block[far] - exact[base_of[far]]
        _add(sums, gram, picked[:, far], apart, weights[far].astype(np.float64))

        block, picked, weights, base_of = block[~far], picked[:, ~far], weights[~far], base_of[~far]
        of_base = np.zeros((len(bases), len(block)))
        of_base[base_of, np.arange(len(block))] = weights
        total = of_base.sum(axis=1)
        off = of_base @ (block - exact[base_of]) / np.where(total > 0, total, 1)[:, None]
        means = (exact + off).astype(block.dtype)
        own, off = block - means[base_of], means - exact
        sums += picked @ off[base_of]
        crossed = (of_base @ own).T @ off
        gram += crossed + crossed.T + (off.T * total) @ off
    _add(sums, gram, picked, own, weights)


def _add(
    sums: NDArray[np.float64],
    gram: NDArray[np.float64],
    picked: NDArray[np.floating[Any]],
    rows: NDArray[np.floating[Any]],
    weights: NDArray[np.floating[Any]],
) -> None:
    sums += picked @ rows
    if not (weights == 1).all():
        rows *= np.sqrt(weights)[:, None].astype(rows.dtype)
    gram += rows.T @ rows


_OUTWEIGHS = 8
"""Times its part of the sums of squares, as all rows have one, above which a row is far off."""


def outweighing_rows(rows: FloatArray) -> NDArray[np.bool_]:
    """Tell which rows leave no digits to the others in sums of products: bool, shape (n,).

    What a row has of each feature's sum of squares, added over the features, is ``d / n`` on
    average. None in float64, which has digits to spare.
    """
    found = np.zeros(len(rows), bool)
    while rows.dtype != np.float64:
        left = rows if not found.any() else rows[~found]
        if not len(left):
            break
        with np.errstate(over="ignore", invalid="ignore"):  # named where the sums are used
            squares = left * left
            total = squares.sum(axis=0)
            parts = squares @ np.where(total > 0, 1 / np.where(total > 0, total, 1), 0)
        far = parts > max(1, _OUTWEIGHS * rows.shape[1] / len(left))
        if not far.any():
            break
        found[np.flatnonzero(~found)[far]] = True
    return found


def class_means(
    run: Pass, weighting: Weighting, k: int, centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted mean of each of ``k`` classes in the first subset, shape (k, d).

    Sums are of differences from ``centre``, shape (d,), where they keep their digits.
    """
    base = centre.astype(run.rows.dtype)
    sums: NDArray[np.float64] = run.ask(_ClassSums(base, k), weighting)
    return sums / weights_of_classes(weighting, k)[:, None] + base.astype(np.float64)


@dataclass(frozen=True, eq=False)
class _ClassSums(SumOfArrays):
    """Asks for the sum of each class's rows in the first subset, less ``base``."""

    base: FloatArray
    k: int

    def new(self) -> NDArray[np.float64]:
        return np.zeros((self.k, len(self.base)))

    def visit(
        self,
        total: NDArray[np.float64],
        data: Weighting,
        here: slice,
        block: FloatArray,
        scratch: object,
    ) -> None:
        dtype = self.base.dtype
        picked = np.zeros((self.k, len(block)), dtype)
        picked[data.y[here], np.arange(len(block))] = data.block(here, dtype)[0]
        total += picked @ (block - self.base)


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
