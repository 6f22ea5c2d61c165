"""Features in two dimensions, to look at."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import RuntimeUnavailableError
from bottleneck.heads.rows import Rows
from bottleneck.process_wide import warnings_ignored

MAP_ROWS = 20_000
"""Most points of a map: more hide each other, and the page has to stay small."""

SAMPLE_ROWS = 1500
"""Rows that axes are found from, and that UMAP lays out: their products are taken at once."""

_BLOCK_ROWS = 4096

_NO_SHARE = 1e-12
"""Of the variance: less is rounding, and no direction."""


@dataclass(frozen=True, eq=False)
class Axes:
    """Directions of largest variance.

    Parameters
    ----------
    mean : ndarray of float64, shape (d,)
        Of the rows they were found from.
    directions : ndarray of float64, shape (d, count)
        Of length 1, or 0 where the rows vary in fewer directions.
    shares : list of float
        Share of the variance along each.
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    shares: list[float]

    def project(self, rows: Rows) -> NDArray[np.float64]:
        """Return the rows' coordinates along the directions, block by block: (n, count)."""
        n = rows.shape[0]
        found = np.empty((n, self.directions.shape[1]))
        for start in range(0, n, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, n)
            found[start:stop] = (rows.read(start, stop, {}) - self.mean) @ self.directions
        return found


def principal_axes(rows: Rows, count: int) -> Axes:
    """Find the directions of largest variance of at most a few thousand rows.

    Directions have the signs that scikit-learn gives them.
    """
    from sklearn.decomposition import PCA

    X = np.array(rows.read(0, rows.shape[0], {}), np.float64)
    directions, shares = np.zeros((X.shape[1], count)), np.zeros(count)
    if np.ptp(X, axis=0).any():  # of rows that are all alike there is no direction
        # Lanczos's method finds a few alone; it needs one more that it may leave out.
        solver = "arpack" if min(X.shape) > count else "full"
        model = PCA(min(count, *X.shape), svd_solver=solver, random_state=0).fit(X)
        found = model.explained_variance_ratio_ > _NO_SHARE
        directions[:, : len(found)] = model.components_.T * found
        shares[: len(found)] = model.explained_variance_ratio_ * found
    return Axes(X.mean(axis=0), directions, shares.tolist())


def umap_plane(rows: Rows, seed: int) -> NDArray[np.float64]:
    """Lay rows out by UMAP (needs the extra ``umap``): neighbours stay neighbours.

    Distances between far groups mean nothing in it.

    Raises
    ------
    RuntimeUnavailableError
        Without the package ``umap-learn``.
    """
    if not has_umap():
        raise RuntimeUnavailableError(
            "expected the package umap-learn for a map by UMAP, found none",
            hint="pip install 'bottleneck-features[umap]', or --map pca.",
        )
    X = np.array(rows.read(0, rows.shape[0], {}), np.float32)
    # It warns of its compiler, and that a seed costs threads.
    with warnings_ignored(), _without_tensorflow():
        import umap

        model = umap.UMAP(
            n_neighbors=min(15, len(X) - 1),
            metric="cosine",
            init="pca",
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(model.fit_transform(X), np.float64)


@contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Keep an import from loading TensorFlow, which the package tries for a part of no use here.

    It would take seconds and print to standard error.
    """
    absent = "tensorflow" not in sys.modules
    if absent:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if absent:
            del sys.modules["tensorflow"]


def has_umap() -> bool:
    """Whether the extra is installed."""
    return find_spec("umap") is not None


MapKind = Literal["auto", "pca", "umap"]
