"""Scores that tell how well features suit some classes without fitting a head: LogME, H-score.

They cost a decomposition of the features and no selection. A head on the same rows says more, so
the race shows them as columns and never decides by them.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_ROUNDS: Final = 100
"""Of the fixed point; it takes five to twenty."""

_CLOSE: Final = 1e-8


def log_me(X: NDArray[np.floating[Any]], y: NDArray[np.int64]) -> float:
    """Return the logarithm of the maximum evidence, per row, mean over the classes.

    K. You, Y. Liu, J. Wang and M. Long, LogME: Practical Assessment of Pre-trained Models for
    Transfer Learning, ICML 2021. For each class the targets, 1 for its rows and 0 for others, are
    ``X w`` with noise of precision beta, and w is normal with precision alpha; the evidence is the
    density of the targets when w is integrated out, at the alpha and beta where it is largest. The
    fixed point is theirs; decomposed once, a round costs as many operations as there are singular
    values.

    Parameters
    ----------
    X : ndarray, shape (n, d)
        Features.
    y : ndarray of int64, shape (n,)
        Codes.

    Returns
    -------
    float
        Greater is better.
    """
    features = np.asarray(X, np.float64)
    n, d = features.shape
    squares, axes = _decomposed(features)
    found = []
    for code in np.unique(y):
        target = (y == code).astype(np.float64)
        along = (axes.T @ target) ** 2
        outside = max(float(target @ target - along.sum()), 0.0)
        found.append(_evidence(squares, along, outside, n, d))
    return float(np.mean(found))


def _decomposed(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return squared singular values above zero, and their left vectors (n, r)."""
    left, values, _ = np.linalg.svd(features, full_matrices=False)
    kept = values > values.max(initial=0.0) * max(features.shape) * np.finfo(np.float64).eps
    return values[kept] ** 2, left[:, kept]


def _evidence(
    squares: NDArray[np.float64], along: NDArray[np.float64], outside: float, n: int, d: int
) -> float:
    alpha = beta = 1.0
    last = -np.inf
    for _ in range(_ROUNDS):
        precision = alpha + beta * squares
        length = float(np.sum(beta**2 * squares * along / precision**2))  # of the mean of w
        residual = outside + float(np.sum(along * (alpha / precision) ** 2))
        value = 0.5 * (
            n * np.log(beta)
            + d * np.log(alpha)
            - n * np.log(2 * np.pi)
            - beta * residual
            - alpha * length
            - float(np.sum(np.log(precision)))
            - (d - len(squares)) * np.log(alpha)
        )
        if abs(value - last) <= _CLOSE * max(1.0, abs(value)):
            break
        last = value
        gamma = float(np.sum(beta * squares / precision))
        alpha = gamma / max(length, 1e-12)
        beta = (n - gamma) / max(residual, 1e-12)
    return float(value) / n


def h_score(
    X: NDArray[np.floating[Any]], y: NDArray[np.int64], *, shrinkage: float | None = None
) -> float:
    """Return how much of the features' spread is between classes, each direction by its own.

    Y. Bao et al., An Information-Theoretic Approach to Transferability in Task Transfer Learning,
    ICIP 2019: the trace of ``cov(X)^-1 cov(E[X | y])``. With fewer rows than features the first is
    singular, and every set of features has the same score, the classes less one. So it is shrunk
    (S. Ibrahim, N. Ponomareva and R. Mazumder, Newer is not always better: Rethinking
    transferability metrics, their peculiarities, stability and performance, ECML PKDD 2022),
    by the share of O. Ledoit and M. Wolf (A well-conditioned estimator for large-dimensional
    covariance matrices, J. Multivariate Analysis 88, 2004).

    Parameters
    ----------
    X : ndarray, shape (n, d)
        Features.
    y : ndarray of int64, shape (n,)
        Codes.
    shrinkage : float, optional
        From 0, the score of 2019, to 1; by default that of Ledoit and Wolf.

    Returns
    -------
    float
        From 0 to the classes less one; greater is better.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    features = np.asarray(X, np.float64)
    features = features - features.mean(axis=0)
    n, d = features.shape
    share = ledoit_wolf_shrinkage(features, True) if shrinkage is None else shrinkage
    _, values, axes = np.linalg.svd(features, full_matrices=False)
    spread = values**2 / n
    kept = spread > spread.max(initial=0.0) * max(n, d) * np.finfo(np.float64).eps
    codes, of = np.unique(y, return_inverse=True)
    counts = np.bincount(of)
    means = np.stack([features[of == code].mean(axis=0) for code in range(len(codes))])
    # Means of rows have no part outside the rows' own directions.
    between = (means @ axes[kept].T) ** 2 * (counts / n)[:, None]
    shrunk = (1 - share) * spread[kept] + share * float(spread.sum()) / d
    return float((1 - share) * np.sum(between.sum(axis=0) / shrunk))
