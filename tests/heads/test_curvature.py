"""L-BFGS in matrices against the two-loop recursion, and estimates against dense algebra."""

import numpy as np
import pytest

from benchmarks.made_features import made_features
from bottleneck.heads import LogisticRegression
from bottleneck.heads.rows import ArrayRows
from bottleneck.heads.solver.curvature import Curvature
from bottleneck.heads.solver.engine import SOFTMAX
from bottleneck.heads.solver.pairs import Pairs
from bottleneck.heads.solver.row_pass import passes
from bottleneck.heads.solver.sample import Sample
from bottleneck.heads.solver.scaling import Weighting

WIDTH = 30


def two_loops(gradient, pairs, estimate):
    """Nocedal and Wright, algorithm 7.4, with the estimate scaled by eq. 7.20."""
    q, alphas = gradient.copy(), []
    for s, y in reversed(pairs):
        alphas.append((s @ q) / (s @ y))
        q -= alphas[-1] * y
    s, y = pairs[-1]
    r = (s @ y) / (y @ estimate @ y) * estimate @ q
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r += (alpha - (y @ r) / (s @ y)) * s
    return r


def a_hessian(rng):
    root = rng.normal(size=(WIDTH, WIDTH))
    return root @ root.T + np.eye(WIDTH)


@pytest.mark.parametrize("count", [1, 4, 5, 13])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-3)])
@pytest.mark.parametrize("size", [1.0, 1e-25])
def test_products_with_the_pairs_are_the_two_loops(count, dtype, tolerance, size, rng):
    """Also once old pairs made room for new ones, and for gradients whose squares are zero."""
    hessian, estimate = a_hessian(rng), np.linalg.inv(a_hessian(rng))
    pairs, last = Pairs(5, WIDTH, np.dtype(dtype)), []
    for _ in range(count):
        s = rng.normal(size=WIDTH)
        pairs.add(size * s, size * (hessian @ s))
        last = [*last, (s, hessian @ s)][-5:]
    gradient = rng.normal(size=WIDTH)
    for scale, matrix in ((lambda v: v @ estimate.astype(dtype), estimate), (None, np.eye(WIDTH))):
        found = pairs.inverse(size * gradient, scale) / size
        expected = two_loops(gradient, last, matrix)
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_a_curvature_that_is_added_is_in_every_pair(rng):
    hessian, added = a_hessian(rng), rng.uniform(-0.5, 3, WIDTH)
    bent, fresh = (Pairs(4, WIDTH, np.dtype(np.float64)) for _ in range(2))
    for _ in range(6):
        s = rng.normal(size=WIDTH)
        bent.add(s, hessian @ s)
        fresh.add(s, hessian @ s + added * s)
    bent.bend(added)
    gradient = rng.normal(size=WIDTH)
    np.testing.assert_allclose(bent.inverse(gradient, None), fresh.inverse(gradient, None))
    s = rng.normal(size=WIDTH)
    for pairs in (bent, fresh):  # and goes on
        pairs.add(s, hessian @ s + added * s)
    np.testing.assert_allclose(bent.inverse(gradient, None), fresh.inverse(gradient, None))


def test_pairs_without_curvature_are_left_out(rng):
    pairs, other = (Pairs(4, WIDTH, np.dtype(np.float64)) for _ in range(2))
    one, two, three = np.eye(WIDTH)[:3]
    pairs.add(one, -one)
    assert not pairs
    for s, y in ((one, 2 * one), (two, 0.5 * two), (three, 3 * three)):
        pairs.add(s, y)
    pairs.bend(np.full(WIDTH, -1.0))  # the second one's is gone
    other.add(one, one)
    other.add(three, 2 * three)
    gradient = rng.normal(size=WIDTH)
    np.testing.assert_allclose(pairs.inverse(gradient, None), other.inverse(gradient, None))
    kept = pairs.copy()
    pairs.add(two, two)
    np.testing.assert_allclose(kept.inverse(gradient, None), other.inverse(gradient, None))


@pytest.mark.parametrize("features", [40, 600])
@pytest.mark.parametrize("penalty", [1e-3, 0.3])
def test_the_estimate_inverts_the_hessian_in_few_eigenvectors(features, penalty, rng):
    """At zero weights the Hessian of the softmax is a product of two matrices."""
    spread = np.where(np.arange(features) < 20, 3.0 / (1 + np.arange(features)) ** 0.3, 0.02)
    X = rng.normal(size=(4000, features)) * spread @ np.linalg.qr(a_square(rng, features))[0]
    X -= X.mean(axis=0)
    y, k = np.arange(4000) % 4, 4
    with passes(ArrayRows(X), threads=1) as run:
        weighting = Weighting(y, np.ones((1, 4000), bool))
        sample = Sample.of(run, weighting, np.zeros(features), np.ones(features))
        local = Curvature(run, sample, y, SOFTMAX).at(np.zeros((k, features + 1)))
    rows = X[sample.taken]
    classes = np.eye(k) / k - 1 / k**2
    hessian = np.kron(classes, rows.T @ rows / len(rows)) + penalty * np.eye(k * features)
    q = rng.normal(size=(3, k, features + 1))
    q -= q.mean(axis=1, keepdims=True)
    found = local(penalty)(q.reshape(3, -1)).reshape(q.shape)
    exact = np.linalg.solve(hessian, q[:, :, :-1].reshape(3, -1).T).T.reshape(3, k, features)
    # The penalty is rounded to some percent; beside the eigenvectors one curvature stands for all.
    off = np.linalg.norm(found[:, :, :-1] - exact) / np.linalg.norm(exact)
    assert off < 0.05


def a_square(rng, width):
    return rng.normal(size=(width, width))


def test_weights_count_in_the_estimate_as_repetitions_do(rng):
    X, y = rng.normal(size=(300, 100)), np.arange(300) % 3
    times, of_classes = rng.integers(0, 4, 300), np.array([[1.0, 2.0, 1.0]])
    whole = times * of_classes[0].astype(int)[y]
    vectors, found = rng.normal(size=(2, 3 * 101)), []
    for rows, codes, *weights in (
        (X, y, times.astype(float), of_classes),
        (np.repeat(X, whole, axis=0), np.repeat(y, whole)),
    ):
        with passes(ArrayRows(rows), threads=1) as run:
            weighting = Weighting(codes, np.ones((1, len(codes)), bool), *weights)
            sample = Sample.of(run, weighting, np.zeros(100), np.ones(100))
            local = Curvature(run, sample, codes, SOFTMAX).at(np.full((3, 101), 0.1))
        found.append(local(0.1)(vectors))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=1e-9)


def test_features_that_are_all_but_constant_do_not_cost_the_estimate(rng):
    """Where they are zero in all rows that are looked at, their means there are off the centre."""
    X, y = made_features(9000, 120, 5)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    rare = np.zeros((9000, 1), np.float32)
    sampled = np.unique(np.linspace(0, 8999, 2250).astype(int))
    rare[np.setdiff1d(np.arange(9000), sampled)[:2]] = 1
    rare = (rare - rare.mean()) / rare.std()
    spent = {}
    for name, rows in {"without": X, "with": np.hstack([X, rare])}.items():
        spent[name] = LogisticRegression(C=0.1, threads=1).fit(rows, y).n_passes_
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bottleneck.heads.solver.lockstep.curvature_suits", lambda *about: False)
        spent["diagonal"] = LogisticRegression(C=0.1, threads=1).fit(X, y).n_passes_
    assert spent["without"] < spent["with"] < 0.6 * spent["diagonal"]
