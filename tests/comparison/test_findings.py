"""Label errors, duplicates, Pareto fronts, maps: against what was planted."""

import sys
import tracemalloc

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from bottleneck.comparison.duplicates import exact_sets, keep_together, near_duplicates
from bottleneck.comparison.findings import doubt_labels
from bottleneck.comparison.leaderboard import pareto_front
from bottleneck.comparison.projection import principal_axes, umap_plane
from bottleneck.errors import RuntimeUnavailableError
from bottleneck.heads.rows import ArrayRows


def test_doubts_by_hand():
    probabilities = np.array(
        [
            [0.9, 0.1, 0.0],
            [0.7, 0.2, 0.1],
            [0.1, 0.8, 0.1],  # labelled 0, looks like 1 as much as the ones do
            [0.3, 0.6, 0.1],
            [0.0, 1.0, 0.0],
            [0.4, 0.5, 0.1],  # labelled 0, a little like 1: not as much as the ones do
        ]
    )
    doubts = doubt_labels(np.array([0, 0, 0, 1, 1, 0]), probabilities)
    assert doubts.margin == pytest.approx([0.8, 0.5, -0.7, 0.3, 1.0, -0.1])
    assert doubts.order.tolist() == [2, 5, 3, 1, 0, 4]
    assert doubts.suggested.tolist() == [1, 1, 1, 0, 0, 1]
    # The mean of what rows labelled 1 get for 1 is 0.8.
    assert np.flatnonzero(doubts.likely).tolist() == [2]


def test_a_class_without_rows_is_never_suggested_as_likely():
    doubts = doubt_labels(np.array([0, 1]), np.array([[0.1, 0.1, 0.8], [0.0, 0.9, 0.1]]))
    assert doubts.suggested[0] == 2
    assert not doubts.likely.any()


def test_exact_duplicates_by_digest():
    digests = np.arange(96, dtype=np.uint8).reshape(6, 16)
    digests[4] = digests[1]
    digests[5] = digests[1]
    digests[[0, 2]] = 0  # unknown: equal zeros are no duplicates
    assert exact_sets(digests).tolist() == [-1, 0, -1, -1, 0, 0]
    assert exact_sets(np.zeros((3, 16), np.uint8)).tolist() == [-1, -1, -1]


def near(X, y=None, test=None, threshold=None):
    n = len(X)
    y = np.zeros(n, np.int64) if y is None else y
    test = np.zeros(n, np.bool_) if test is None else test
    X = np.asarray(X, np.float32)
    return near_duplicates(ArrayRows(X), y, train=~test, test=test, threshold=threshold)


def sets_of(found):
    return [np.flatnonzero(found.sets == i).tolist() for i in range(found.sets.max() + 1)]


def test_near_duplicates_are_all_pairs_above_the_threshold(rng):
    X = rng.normal(size=(5000, 16)).astype(np.float32) + 50  # far from zero: all alike uncentred
    X[4321] = X[17] + 0.01 * rng.normal(size=16)
    X[2100] = X[2099] + 0.02 * rng.normal(size=16)
    X[4999] = X[2099] + 0.02 * rng.normal(size=16)
    found = near(X, threshold=0.99)
    assert sets_of(found) == [[17, 4321], [2099, 2100, 4999]]
    centred = X - X.mean(axis=0)
    cosine = centred[17] @ centred[4321] / np.linalg.norm(centred[[17, 4321]], axis=1).prod()
    assert found.similarity[[17, 4321]] == pytest.approx(float(cosine), abs=1e-4)
    assert found.similarity[16] == 0


def test_near_duplicates_are_those_of_all_pairs_at_once(rng):
    """Across borders of blocks, with equal rows among them."""
    X = rng.normal(size=(2600, 6)).astype(np.float32)
    X[rng.integers(0, 2600, 300)] = X[rng.integers(0, 2600, 300)]
    test = rng.random(2600) < 0.4
    found = near(X, test=test, threshold=0.995)
    distinct = np.unique(X, axis=0)
    unit = (X - distinct.mean(axis=0)).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T
    assert not (np.abs(cosine - 0.995) < 1e-6).any()
    pairs = cosine >= 0.995
    behind = np.where(test[:, None] & ~test[None], cosine, -1)
    assert found.train_rows.tolist() == (behind >= 0.995).sum(axis=1).tolist()
    leaked = found.train_rows > 0
    assert found.train_similarity[leaked] == pytest.approx(behind.max(axis=1)[leaked], abs=1e-5)
    chosen = cosine[np.flatnonzero(leaked), found.nearest_train[leaked]]
    assert chosen == pytest.approx(behind.max(axis=1)[leaked], abs=1e-5)
    assert not test[found.nearest_train[leaked]].any()
    count, labels = connected_components(pairs)
    several = np.bincount(labels)[labels] > 1
    assert np.array_equal(found.sets >= 0, several)
    for i in np.unique(labels[several]):
        assert len(np.unique(found.sets[labels == i])) == 1
    assert found.sets.max() + 1 == (np.bincount(labels) > 1).sum() < count


def leaky(blank, noise, n=400, planted=50):
    """Return rows of which 50 test rows are training rows again, and blank training rows."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 4
    X = rng.normal(size=(n, 64)) + rng.normal(size=(4, 64))[y]
    X[n - planted :] = X[:planted] + 0.12 * rng.normal(size=(planted, 64))
    y[n - planted :] = y[:planted]
    X = np.vstack([X, 2 + noise * rng.normal(size=(blank, 64))])
    test = np.zeros(len(X), np.bool_)
    test[n - 2 * planted : n] = True
    return X, np.r_[y, np.zeros(blank, np.int64)], test


@pytest.mark.parametrize("noise", [0, 0.01])
@pytest.mark.parametrize("blank", [0, 100, 460, 3000])
def test_blank_images_hide_no_leak(blank, noise):
    X, y, test = leaky(blank, noise)
    found = near(X, y, test)
    assert np.flatnonzero(found.train_rows).tolist() == list(range(350, 400))
    assert found.nearest_train[350:400].tolist() == list(range(50))
    assert (found.train_rows[350:400] == 1).all()
    assert len(sets_of(found)) == 50 + (blank > 0 and noise == 0)


def test_memory_does_not_grow_with_the_pairs():
    """Of 6,000 rows nearly all pairs are near: 18 million."""
    rng = np.random.default_rng(0)
    X = (np.eye(8)[np.zeros(6000, np.int64)] + 1e-3 * rng.normal(size=(6000, 8))).astype(np.float32)
    X[:20] = rng.normal(size=(20, 8))
    tracemalloc.start()
    found = near(X - 5, threshold=0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6
    assert found.sets.max() + 1 < 30


@pytest.mark.parametrize(("classes", "each"), [(4, 75), (3, 300), (60, 5), (30, 12), (100, 3)])
@pytest.mark.parametrize("dim", [8, 64, 512])
def test_different_images_of_tight_classes_are_no_duplicates(classes, each, dim):
    rng = np.random.default_rng(dim)
    y = np.repeat(np.arange(classes), each)
    X = 10 * rng.normal(size=(classes, dim))[y] + 0.5 * rng.normal(size=(len(y), dim))
    test = rng.random(len(y)) < 0.25
    fixed = near(X, y, test, 0.9)
    assert fixed.train_rows[test].min() > 0 or each < 6 or dim == 8
    found = near(X, y, test)
    assert found.train_rows.sum() == 0
    assert found.sets.max() == -1


@pytest.mark.parametrize("dim", [16, 64, 512])
def test_copies_in_tight_classes_are_found(dim):
    rng = np.random.default_rng(dim)
    y = np.repeat(np.arange(4), 100)
    X = 10 * rng.normal(size=(4, dim))[y] + 0.5 * rng.normal(size=(400, dim))
    test = np.arange(400) % 4 == 0
    copies = np.flatnonzero(test)[:40]
    X[copies] = X[copies + 1] + 0.02 * rng.normal(size=(40, dim))
    found = near(X, y, test)
    assert np.flatnonzero(found.train_rows).tolist() == copies.tolist()
    assert found.nearest_train[copies].tolist() == (copies + 1).tolist()


def test_order_of_rows_decides_nothing(rng):
    X, y, test = leaky(460, 0)
    order = rng.permutation(len(X))
    one, other = near(X, y, test), near(X[order], y[order], test[order])
    assert np.array_equal(one.train_rows[order], other.train_rows)
    assert one.least[order] == pytest.approx(other.least, abs=1e-5)


def test_duplicates_and_groups_are_kept_together():
    groups = np.array([0, 0, -1, -1, 1, -1, 2, -1, -1, -1], np.int32)
    exact = np.array([-1, 0, 0, -1, -1, -1, -1, -1, -1, -1])
    close = np.array([-1, -1, 3, 3, -1, -1, -1, 1, 1, -1])
    kept = keep_together(groups, [exact, close], 2)
    assert (kept < 0).tolist() == [False] * 5 + [True, False, False, False, True]
    assert len(set(kept[:4].tolist())) == 1
    assert len({kept[0], kept[4], kept[6], kept[7]}) == 4
    assert kept[7] == kept[8]


def test_what_is_larger_than_a_fold_is_no_image_again():
    blank = np.where(np.arange(10) < 6, 0, -1)
    assert keep_together(np.full(10, -1, np.int32), [blank], 2).tolist() == [-1] * 10
    # Groups are kept, whatever their size.
    assert (keep_together(blank.astype(np.int32), [], 2)[:6] >= 0).all()


def test_pareto_front_by_hand():
    points = [(1.0, 0.5), (2.0, 0.7), (2.0, 0.6), (3.0, 0.7), (None, 0.9), (0.5, 0.4), (1.0, 0.5)]
    # Equal points do not beat each other; what has no cost is not compared.
    assert pareto_front(points) == [True, True, False, False, False, True, True]


def test_the_pca_plane_is_scikit_learns(rng):
    from sklearn.decomposition import PCA

    X = rng.normal(size=(60, 9)) * np.linspace(5, 1, 9)
    axes = principal_axes(ArrayRows(X), 5)
    reference = PCA(5, svd_solver="full").fit(X)
    others = rng.normal(size=(9, 9))  # rows that took no part
    for rows in (X, others):
        plane, theirs = axes.project(ArrayRows(rows)), reference.transform(rows)
        for i in range(5):
            assert plane[:, i] == pytest.approx(theirs[:, i], abs=1e-8)
    assert axes.shares == pytest.approx(reference.explained_variance_ratio_)


def test_the_plane_of_hardly_any_rows():
    one = ArrayRows(np.ones((1, 4), np.float32))
    axes = principal_axes(one, 2)
    assert axes.project(one).tolist() == [[0, 0]]
    assert axes.shares == [0.0, 0.0]
    two = ArrayRows(np.float32([[0, 0], [3, 4]]))
    axes = principal_axes(two, 2)
    assert np.abs(axes.project(two)[:, 0]) == pytest.approx([2.5, 2.5])
    assert axes.shares == pytest.approx([1.0, 0.0])


def test_a_map_by_umap_needs_its_extra(monkeypatch):
    monkeypatch.setattr("bottleneck.comparison.projection.find_spec", lambda name: None)
    with pytest.raises(RuntimeUnavailableError, match="umap-learn"):
        umap_plane(ArrayRows(np.ones((30, 4), np.float32)), 0)


@pytest.mark.heavy
def test_umap_keeps_neighbours_together_and_tensorflow_out(rng):
    pytest.importorskip("umap")
    centres = 20 * rng.normal(size=(3, 16))
    X = (np.repeat(centres, 30, axis=0) + rng.normal(size=(90, 16))).astype(np.float32)
    plane = umap_plane(ArrayRows(X), 0)
    distances = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert np.array_equal(distances.argmin(axis=1) // 30, np.repeat(range(3), 30))
    assert sys.modules.get("tensorflow", 1) is not None
