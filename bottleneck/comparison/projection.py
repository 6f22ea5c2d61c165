"""Features in two dimensions, to look at."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import RuntimeUnavailableError
from bottleneck.heads.rows import Rows

MAP_ROWS = 1500
"""Most points of a map: more hide each other, and the page has to stay small."""


def pca_plane(rows: Rows) -> tuple[NDArray[np.float64], list[float]]:
    """Project rows on their two directions of largest variance.

    Parameters
    ----------
    rows : Rows, shape (n, d)
        At most a few thousand rows: their products are taken at once.

    Returns
    -------
    plane : ndarray of float64, shape (n, 2)
        Directions have the signs that scikit-learn gives them.
    shares : list of float
        Share of the variance along each.
    """
    from sklearn.decomposition import PCA

    X = np.array(rows.read(0, rows.shape[0], {}), np.float64)
    plane = np.zeros((len(X), 2))
    shares = np.zeros(2)
    if np.ptp(X, axis=0).any():  # of rows that are all alike there is no direction
        # Lanczos's method finds the two alone; it needs a third that it may leave out.
        solver = "arpack" if min(X.shape) > 2 else "full"
        model = PCA(min(2, *X.shape), svd_solver=solver, random_state=0)
        found = model.fit_transform(X)
        plane[:, : found.shape[1]] = found
        shares[: found.shape[1]] = model.explained_variance_ratio_
    return plane, shares.tolist()


def umap_plane(rows: Rows, seed: int) -> NDArray[np.float64]:
    """Lay rows out by UMAP (needs the extra ``umap``): neighbours stay neighbours.

    Distances between far groups mean nothing in it.

    Raises
    ------
    RuntimeUnavailableError
        Without the package ``umap-learn``.
    """
    import warnings

    if not has_umap():
        raise RuntimeUnavailableError(
            "expected the package umap-learn for a map by UMAP, found none",
            hint="pip install 'bottleneck-features[umap]', or --map pca.",
        )
    X = np.array(rows.read(0, rows.shape[0], {}), np.float32)
    with warnings.catch_warnings(), _without_tensorflow():
        warnings.simplefilter("ignore")  # of its compiler, and that a seed costs threads
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
