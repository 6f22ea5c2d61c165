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
        Directions have the sign that makes the farthest row positive.
    shares : list of float
        Share of the variance along each.
    """
    from scipy.linalg import eigh

    n = rows.shape[0]
    X = np.array(rows.read(0, n, {}), np.float64)
    X -= X.mean(axis=0)
    products = X @ X.T
    first = max(0, n - 2)
    values, vectors = eigh(products, subset_by_index=[first, n - 1])
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    plane = np.zeros((n, 2))
    plane[:, : len(values)] = vectors * np.sqrt(values)
    farthest = plane[np.abs(plane).argmax(axis=0), [0, 1]]
    plane *= np.where(farthest < 0, -1, 1)
    total = float(np.trace(products))
    shares = [float(value / total) if total > 0 else 0.0 for value in values]
    return plane, [*shares, 0.0][:2]


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
