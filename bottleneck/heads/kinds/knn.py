"""Nearest neighbours, by exact search."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.heads.kinds.estimator import StreamingClassifier
from bottleneck.heads.rows import Rows
from bottleneck.heads.solver.neighbor_search import nearest_rows, require_distances


class KNeighbors(StreamingClassifier):
    """The commonest class among the nearest training rows.

    Keeps the rows it was fitted on, or the file they are in, and reads them once for every
    1024 rows asked about. Of equally near rows the first ones count; of equally common
    classes the first one wins, as in scikit-learn.

    Parameters
    ----------
    n_neighbors : int
        How many.
    metric : {"cosine", "euclidean"}
        What is near.
    threads : int, optional
        Threads of a pass; one per core by default.

    Attributes
    ----------
    classes_ : ndarray, shape (classes,)
    rows_ : Rows
        The rows.
    codes_ : ndarray of int64, shape (n,)
        Index of each row's class.
    """

    rows_: Rows
    codes_: NDArray[np.int64]

    def __init__(
        self, n_neighbors: int = 5, *, metric: str = "cosine", threads: int | None = None
    ) -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.threads = threads

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Remember the rows.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        y : array-like, shape (n,)
        """
        if self.metric not in ("cosine", "euclidean"):
            raise ValueError(f"expected cosine or euclidean, got {self.metric!r}")
        if self.n_neighbors < 1:
            raise ValueError(f"expected one or more neighbours, got {self.n_neighbors!r}")
        self.rows_, self.codes_, _ = self._begin(X, y, None)
        if self.metric == "euclidean":
            require_distances(self.rows_, self.threads)
        return self

    def kneighbors(self, X: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return distances and numbers of the nearest rows, nearest first.

        Returns
        -------
        distances : ndarray of float64, shape (n, k)
        rows : ndarray of int64, shape (n, k)
            k is ``n_neighbors``, or all rows where there are fewer.
        """
        asked = self._check_rows(X)
        k = min(self.n_neighbors, self.rows_.shape[0])
        distances = np.empty((asked.shape[0], k))
        numbers = np.empty((asked.shape[0], k), np.int64)
        for start, near, rows in nearest_rows(
            self.rows_, asked, k, metric=self.metric, threads=self.threads
        ):
            distances[start : start + len(near)], numbers[start : start + len(near)] = near, rows
        return distances, numbers

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return each class's share among the neighbours, shape (n, classes)."""
        _, numbers = self.kneighbors(X)
        votes = self.codes_[numbers]
        shares = np.zeros((len(votes), len(self.classes_)))
        np.add.at(shares, (np.arange(len(votes))[:, None], votes), 1 / votes.shape[1])
        return shares

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each row, shape (n,)."""
        codes = self.predict_proba(X).argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[codes]
        return predicted
