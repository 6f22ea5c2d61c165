"""Nearest neighbours in a comparison: read block by block, equal to scikit-learn's."""

import tracemalloc

import numpy as np
import pytest

from bottleneck.comparison.knn import NEIGHBORS, neighbor_accuracy, select_neighbors
from bottleneck.heads.rows import ArrayRows
from bottleneck.heads.selection.splits import folds


def select(X, y, n_folds=4, groups=None):
    keys = [f"{i}.png" for i in range(len(y))]
    groups = np.full(len(y), -1, np.int32) if groups is None else groups
    n_classes = int(y.max()) + 1
    about = {"keys": keys, "groups": groups, "n_folds": n_folds, "seed": 0}
    return select_neighbors(ArrayRows(X), y, n_classes, **about), folds(keys, y, groups, n_folds, 0)


@pytest.mark.parametrize("n", [24, 300, 2600])  # fewer than neighbours asked for; several blocks
def test_the_number_is_chosen_as_scikit_learn_would(rng, n):
    from sklearn.neighbors import KNeighborsClassifier

    y = np.arange(n) % 3
    X = (rng.normal(size=(n, 6)) + 0.8 * np.eye(3, 6)[y]).astype(np.float32)
    found, fold = select(X, y)
    for entry, k in zip(found.cv, NEIGHBORS, strict=True):
        scores = []
        for i in range(4):
            inside = fold != i
            model = KNeighborsClassifier(
                min(k, int(inside.sum())), metric="cosine", algorithm="brute"
            )
            model.fit(X[inside].astype(float), y[inside])
            scores.append(model.score(X[~inside].astype(float), y[~inside]))
        assert entry["params"] == {"k": k}
        assert (entry["mean"], entry["std"]) == pytest.approx((np.mean(scores), np.std(scores)))


def test_accuracy_of_some_rows_on_others(rng):
    from sklearn.neighbors import KNeighborsClassifier

    X, y = rng.normal(size=(90, 4)), np.arange(90) % 3
    X += 2 * np.eye(3, 4)[y]
    model = KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(X[:60], y[:60])
    found = neighbor_accuracy(
        ArrayRows(X[:60]), y[:60], ArrayRows(X[60:]), y[60:], n_classes=3, k=5
    )
    assert found == pytest.approx(model.score(X[60:], y[60:]))


class Counted(ArrayRows):
    """Rows that remember the longest run that was asked for."""

    longest = 0

    def read(self, start, stop, scratch):
        self.longest = max(self.longest, stop - start)
        return super().read(start, stop, scratch)


def test_rows_are_read_in_blocks_and_memory_is_bounded(rng):
    peaks = []
    for n in (4000, 12000):
        X = rng.normal(size=(n, 8)).astype(np.float32)
        rows = Counted(X)
        y = np.arange(n) % 2
        keys = [str(i) for i in range(n)]
        groups = np.full(n, -1, np.int32)
        tracemalloc.start()
        found = select_neighbors(rows, y, 2, keys=keys, groups=groups, n_folds=3, seed=0)
        found.predict(rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert rows.longest <= 2048
    # A matrix of all distances would be nine times as large: 1.2 GB.
    assert peaks[1] < 1.5 * peaks[0] + 8e6 < 250e6
