"""LogME and the H-score against their papers' formulae, computed in another way."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf

from bottleneck.comparison.transferability import h_score, log_me


def drawn(n, d, classes, apart, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = rng.normal(0, apart, (classes, d))
    return centres[y] + rng.normal(0, 1, (n, d)) * np.linspace(0.5, 2, d), y


def evidence(X, target):
    """The density of the targets, w integrated out: normal with covariance I/beta + XX'/alpha."""
    n = len(X)

    def loss(logs):
        alpha, beta = np.exp(logs)
        covariance = np.eye(n) / beta + X @ X.T / alpha
        return -multivariate_normal(np.zeros(n), covariance).logpdf(target) / n

    found = [
        minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-11})
        for start in ([0.0, 0.0], [4.0, 2.0])
    ]
    return -min(one.fun for one in found)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (24, 60), (30, 30)])
@pytest.mark.parametrize("apart", [0.3, 2.0])
def test_log_me_is_the_largest_evidence(n, d, apart):
    X, y = drawn(n, d, 3, apart)
    expected = np.mean([evidence(X, (y == code).astype(float)) for code in range(3)])
    assert log_me(X, y) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (300, 40)])
def test_the_h_score_is_that_of_the_paper(n, d):
    X, y = drawn(n, d, 4, 1.0)
    conditional = np.stack([X[y == code].mean(axis=0) for code in range(4)])[y]
    covariance = np.cov(X, rowvar=False, bias=True)
    expected = np.trace(np.linalg.inv(covariance) @ np.cov(conditional, rowvar=False, bias=True))
    assert h_score(X, y, shrinkage=0) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (24, 80)])
def test_the_shrunk_h_score_is_that_of_the_paper(n, d):
    X, y = drawn(n, d, 4, 1.0)
    shrunk, share = ledoit_wolf(X)
    conditional = np.stack([X[y == code].mean(axis=0) for code in range(4)])[y]
    between = np.cov(conditional, rowvar=False, bias=True)
    expected = np.trace(np.linalg.inv(shrunk) @ ((1 - share) * between))
    assert h_score(X, y) == pytest.approx(expected, rel=1e-8)


def test_without_shrinkage_few_rows_tell_nothing():
    scores = [h_score(*drawn(24, 80, 4, apart), shrinkage=0) for apart in (0.0, 3.0)]
    assert scores == pytest.approx([3, 3])


def test_both_rise_with_the_distance_between_classes():
    near, far = drawn(80, 20, 4, 0.2), drawn(80, 20, 4, 2.0)
    assert log_me(*near) < log_me(*far)
    assert h_score(*near) < h_score(*far)
