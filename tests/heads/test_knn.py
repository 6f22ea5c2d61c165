"""Nearest neighbours as a head: read block by block, their number chosen as scikit-learn would."""

import tracemalloc

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from bottleneck.heads import folds, head_kind, select
from bottleneck.heads.kind import TrainingData
from bottleneck.heads.rows import ArrayRows, SubsetRows

NEIGHBORS = (1, 3, 5, 9, 15, 25)


def run(X, y, n_folds=4, **options):
    keys = [f"{i}.png" for i in range(len(y))]
    names = [str(i) for i in range(int(y.max()) + 1)]
    about = {"classes": names, "keys": keys, "head": "knn", "n_folds": n_folds}
    rows = X if isinstance(X, ArrayRows) else ArrayRows(X)
    return select(rows, y, **about, **options), folds(keys, y, None, n_folds, 0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("n", [24, 300, 2600])  # fewer than neighbours asked for; several blocks
def test_the_number_is_chosen_as_scikit_learn_would(rng, n):
    y = np.arange(n) % 3
    X = (rng.normal(size=(n, 6)) + 0.8 * np.eye(3, 6)[y]).astype(np.float32)
    found, fold = run(X, y)
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
    top = max(entry["mean"] for entry in found.cv)
    good = [entry["params"]["k"] for entry in found.cv if entry["mean"] > top - 1e-12]
    assert found.best == {"k": good[-1]}  # of equal ones the larger number: its votes are steadier


def test_accuracy_of_some_rows_on_others(rng):
    """Of subsets that are no folds' complements each is searched by itself."""
    X, y = rng.normal(size=(90, 4)), np.arange(90) % 3
    X += 2 * np.eye(3, 4)[y]
    kind, member = head_kind("knn"), np.arange(90) < 60
    data = TrainingData(ArrayRows(X), y, 3, "classes", [str(i) for i in range(90)])
    parts = (np.arange(90) % 2).astype(np.int32)
    with kind.trainer(data) as trainer:
        found = trainer.score(member[None], [{"k": 1}, {"k": 5}], parts).metric
    for j, k in enumerate((1, 5)):
        model = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(X[:60], y[:60])
        for part in (0, 1):
            asked = ~member & (parts == part)
            assert found[0, j, part] == pytest.approx(model.score(X[asked], y[asked]))


class Counted(ArrayRows):
    """Rows that remember the longest run that was asked for."""

    longest = 0

    def read(self, start, stop, scratch):
        self.longest = max(self.longest, stop - start)
        return super().read(start, stop, scratch)


def test_rows_are_read_in_blocks_and_memory_is_bounded(rng):
    peaks = []
    for n in (4000, 12000):
        rows = Counted(rng.normal(size=(n, 8)).astype(np.float32))
        y = np.arange(n) % 2
        tracemalloc.start()
        found, _ = run(rows, y, n_folds=3)
        found.answers(rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert rows.longest <= 4096
    # A matrix of all distances would be nine times as large: 1.2 GB.
    assert peaks[1] < 1.5 * peaks[0] + 8e6 < 250e6


def test_rows_of_subsets_of_subsets(rng):
    X = rng.normal(size=(500, 3)).astype(np.float32)
    outer = np.flatnonzero(rng.random(500) < 0.5)
    inner = np.flatnonzero(rng.random(len(outer)) < 0.7)
    rows = SubsetRows(SubsetRows(ArrayRows(X.astype(np.float16)), outer), inner)
    expected = X.astype(np.float16).astype(np.float32)[outer][inner]
    for step in (7, 64, 500):
        scratch: dict[str, np.ndarray] = {}
        found = [
            rows.read(at, min(at + step, len(inner)), scratch).copy()
            for at in range(0, len(inner), step)
        ]
        np.testing.assert_array_equal(np.concatenate(found), expected)
