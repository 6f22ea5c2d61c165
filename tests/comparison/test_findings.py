"""Label errors, duplicates, Pareto fronts, maps: against what was planted."""

import sys

import numpy as np
import pytest

from bottleneck.comparison.costs import pareto_front
from bottleneck.comparison.duplicates import exact_duplicates, near_duplicates
from bottleneck.comparison.label_errors import doubt_labels
from bottleneck.comparison.projection import pca_plane, umap_plane
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
    (found,) = exact_duplicates(digests)
    assert found.rows == (1, 4, 5)
    assert found.exact
    assert exact_duplicates(np.zeros((3, 16), np.uint8)) == []


def test_near_duplicates_are_all_pairs_above_the_threshold(rng):
    X = rng.normal(size=(5000, 16)).astype(np.float32) + 50  # far from zero: all alike uncentred
    X[4321] = X[17] + 0.01 * rng.normal(size=16)
    X[2100] = X[2099] + 0.02 * rng.normal(size=16)
    X[4999] = X[2099] + 0.02 * rng.normal(size=16)
    found = near_duplicates(ArrayRows(X), 0.99)
    assert [one.rows for one in found] == [(17, 4321), (2099, 2100, 4999)]
    centred = X - X.mean(axis=0)
    cosine = centred[17] @ centred[4321] / np.linalg.norm(centred[[17, 4321]], axis=1).prod()
    assert found[0].similarity == pytest.approx(float(cosine), abs=1e-4)
    assert not any(one.exact for one in found)


def test_pareto_front_by_hand():
    points = [(1.0, 0.5), (2.0, 0.7), (2.0, 0.6), (3.0, 0.7), (None, 0.9), (0.5, 0.4), (1.0, 0.5)]
    # Equal points do not beat each other; what has no cost is not compared.
    assert pareto_front(points) == [True, True, False, False, False, True, True]


def test_the_pca_plane_is_scikit_learns(rng):
    from sklearn.decomposition import PCA

    X = rng.normal(size=(60, 9)) * np.linspace(5, 1, 9)
    plane, shares = pca_plane(ArrayRows(X))
    reference = PCA(2, svd_solver="full").fit(X)
    theirs = reference.transform(X)
    for i in range(2):
        sign = np.sign(theirs[np.abs(theirs[:, i]).argmax(), i])
        assert plane[:, i] == pytest.approx(sign * theirs[:, i], abs=1e-8)
    assert shares == pytest.approx(reference.explained_variance_ratio_)


def test_the_plane_of_hardly_any_rows():
    plane, shares = pca_plane(ArrayRows(np.ones((1, 4), np.float32)))
    assert plane.tolist() == [[0, 0]]
    assert shares == [0.0, 0.0]


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
