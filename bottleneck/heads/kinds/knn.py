"""Nearest neighbours, by exact search: of classes by their votes, of targets by their mean."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.kind import (
    DamagedWeightsError,
    Learned,
    Params,
    Scored,
    Task,
    TrainingData,
)
from bottleneck.heads.kinds.estimator import (
    EstimatorKind,
    EstimatorScored,
    EstimatorTrainer,
    StreamingClassifier,
    StreamingEstimator,
)
from bottleneck.heads.kinds.linear_kind import taken
from bottleneck.heads.rows import ArrayRows, Rows, SubsetRows
from bottleneck.heads.selection.targets import score_of
from bottleneck.heads.solver.neighbor_search import nearest_rows, require_distances

_MOST_PRODUCTS: Final = 4e14
"""Products of features that a cross-validation may take: about two hours of four cores."""


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
        return vote_shares(self.codes_[numbers], len(self.classes_))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each row, shape (n,)."""
        codes = self.predict_proba(X).argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[codes]
        return predicted


class NeighborMeans(StreamingEstimator):
    """The mean of the targets of the nearest training rows; of labels their share.

    Parameters
    ----------
    n_neighbors : int
        How many.
    labels : bool
        Whether targets are labels of 0 and 1, of which those hold that more than half have.
    metric : {"cosine", "euclidean"}
        What is near.
    threads : int, optional
        Threads of a pass; one per core by default.

    Attributes
    ----------
    rows_ : Rows
        The rows.
    targets_ : ndarray of float64, shape (n, targets)
    """

    rows_: Rows
    targets_: NDArray[np.float64]

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        labels: bool = False,
        metric: str = "cosine",
        threads: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.labels = labels
        self.metric = metric
        self.threads = threads

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Remember the rows.

        Parameters
        ----------
        X : array-like, h5py.Dataset or FeatureStore, shape (n, d)
        y : array-like, shape (n, targets)
        """
        self.rows_, targets = self._rows_and_targets(X, y, several=True, numeric=True)
        self.targets_ = np.asarray(targets, np.float64)
        if self.metric == "euclidean":
            require_distances(self.rows_, self.threads)
        return self

    def means(self, X: Any) -> NDArray[np.float64]:
        """Return the mean of the neighbours' targets, shape (n, targets)."""
        asked = self._check_rows(X)
        k = min(self.n_neighbors, self.rows_.shape[0])
        found = np.empty((asked.shape[0], self.targets_.shape[1]))
        for start, _, numbers in nearest_rows(
            self.rows_, asked, k, metric=self.metric, threads=self.threads
        ):
            found[start : start + len(numbers)] = self.targets_[numbers].mean(axis=1)
        return found

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the share of neighbours for which each label holds, shape (n, labels)."""
        return self.means(X)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return scores of labels, above zero where more than half of the neighbours have it."""
        return self.means(X) - 0.5

    def predict(self, X: Any) -> NDArray[Any]:
        """Return numbers, or 1 where a label holds: shape (n, targets)."""
        found = self.means(X)
        return (found > 0.5).astype(np.int64) if self.labels else found


def vote_shares(
    votes: NDArray[np.int64], n_classes: int, there: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return each class's share among the neighbours of each row, shape (n, classes).

    Parameters
    ----------
    votes : ndarray of int64, shape (n, k)
        Codes of the neighbours.
    n_classes : int
    there : ndarray of bool, shape (n, k), optional
        Which of them count; all by default.
    """
    there = np.ones(votes.shape, bool) if there is None else there
    counts = np.zeros((len(votes), n_classes))
    np.add.at(counts, (np.arange(len(votes))[:, None], votes), there)
    shares: NDArray[np.float64] = counts / there.sum(axis=1, keepdims=True)
    return shares


def _build(task: Task, params: Params) -> Any:
    if task == "classes":
        return KNeighbors(params["k"])
    return NeighborMeans(params["k"], labels=task == "labels")


@dataclass(frozen=True)
class NeighborsKind(EstimatorKind):
    """Nearest neighbours, whose number is chosen."""

    def check(self, params: Params) -> None:
        """Refuse a number of neighbours that is none."""
        if type(params["k"]) is not int or params["k"] < 1:
            raise OptionError(
                f"expected k of the head {self.name} to be a whole number of 1 or more, got "
                f"{params['k']!r}"
            )

    def require_size(self, rows: int, features: int) -> None:
        """Refuse more rows than are compared with each other in hours: the time is their square."""
        most = int((_MOST_PRODUCTS / features) ** 0.5)
        if rows > most:
            raise HeadError(
                f"expected at most {most} rows of {features} features for the head {self.name}, got"
                f" {rows}: each is compared with every other",
                hint="Leave it out (--heads logreg,ridge), or fit it on a part of the images.",
            )

    @contextmanager
    def trainer(self, data: TrainingData) -> "Iterator[NeighborsTrainer]":
        """Search once for all numbers of neighbours."""
        yield NeighborsTrainer(self, data)

    def weights(self, estimator: Any) -> Learned:
        """Return the rows and what is known of them."""
        known = "codes" if hasattr(estimator, "codes_") else "targets"
        return Learned({"rows": estimator.rows_, known: getattr(estimator, f"{known}_")})

    def restore(self, weights: Learned, task: Task, params: Params, outputs: int, dim: int) -> Any:
        """Put the rows back."""
        known = "codes" if task == "classes" else "targets"
        rows, of_rows = taken(weights, ("rows", known))
        shape = (len(rows),) if task == "classes" else (len(rows), outputs)
        if rows.ndim != 2 or rows.shape[1] != dim or of_rows.shape != shape:
            raise DamagedWeightsError(
                f"expected rows of {dim} features and {known} of shape {shape}, found "
                f"{rows.shape} and {of_rows.shape}"
            )
        if task == "classes" and not (of_rows.min() >= 0 and of_rows.max() < outputs):
            raise DamagedWeightsError(f"expected codes below {outputs}")
        estimator = self.build(task, params)
        estimator.rows_, estimator.n_features_in_ = ArrayRows(rows), dim
        setattr(estimator, f"{known}_", of_rows)
        if task == "classes":
            estimator.classes_ = np.arange(outputs)
        return estimator


class NeighborsTrainer(EstimatorTrainer):
    """Scores all numbers of neighbours by one search per fold, or one for all folds."""

    def score(
        self,
        members: NDArray[np.bool_],
        candidates: Sequence[Params],
        parts: NDArray[np.int32],
    ) -> Scored:
        """Search for the largest number; the others are its nearest."""
        rows, k = self.data.rows, max(int(candidate["k"]) for candidate in candidates)
        threads, n_parts = self.data.threads, int(parts.max()) + 1
        metric = np.full((len(members), len(candidates), n_parts), np.nan)
        if (
            self.data.task == "classes"
            and len(members) == n_parts
            and all(np.array_equal(member, parts != part) for part, member in enumerate(members))
        ):
            # One search for all folds: nobody is a neighbour of the rows of its own fold.
            hits = np.zeros((n_parts, len(candidates)))
            near = nearest_rows(rows, rows, min(k, rows.shape[0]), threads=threads, apart=parts)
            for start, distances, numbers in near:
                own = slice(start, start + len(numbers))
                for j, said in enumerate(self._said(numbers, distances, candidates)):
                    right = said == self.data.y[own]
                    hits[:, j] += np.bincount(parts[own], right, minlength=n_parts)
            for part, share in enumerate(hits / np.bincount(parts, minlength=n_parts)[:, None]):
                metric[part, :, part] = share
            return EstimatorScored(self, metric, members, candidates)
        score = score_of(self.data.task)
        for i, member in enumerate(members):
            inside, left = np.flatnonzero(member), np.flatnonzero(~member)
            if not len(left):
                continue
            known, asked = SubsetRows(rows, inside), SubsetRows(rows, left)
            votes: list[list[NDArray[Any]]] = [[] for _ in candidates]
            for _, distances, numbers in nearest_rows(
                known, asked, min(k, len(inside)), threads=threads
            ):
                told = self._said(inside[numbers], distances, candidates)
                for j, found in enumerate(told):
                    votes[j].append(found)
            for j, found_of in enumerate(votes):
                whole = np.concatenate(found_of)
                for part in np.unique(parts[left]):
                    own_part = parts[left] == part
                    metric[i, j, part] = score(self.data.y[left][own_part], whole[own_part])
        return EstimatorScored(self, metric, members, candidates)

    def _said(
        self,
        numbers: NDArray[np.int64],
        distances: NDArray[np.float64],
        candidates: Sequence[Params],
    ) -> list[NDArray[Any]]:
        """Return what each number of neighbours says of some rows; at infinity there are none."""
        there, y = np.isfinite(distances), self.data.y
        if self.data.task == "classes":
            return [
                vote_shares(y[numbers[:, :k]], self.data.outputs, there[:, :k]).argmax(axis=1)
                for k in (int(candidate["k"]) for candidate in candidates)
            ]
        return [y[numbers[:, : candidate["k"]]].mean(axis=1) for candidate in candidates]


KIND = NeighborsKind(
    name="knn",
    description="votes of the nearest rows by cosine; holds the rows, time grows with their square",
    build=_build,
    settings={"k": (1, 3, 5, 9, 15, 25)},
    tasks=("classes", "labels", "numbers"),
    parameter="k",
    prefers="largest",
)
