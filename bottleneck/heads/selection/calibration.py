"""Probabilities of scores that are none: one temperature, fitted on rows left out.

``softmax(scores / temperature)`` with the temperature of the least log loss (C. Guo et al., On
Calibration of Modern Neural Networks, ICML 2017, section 4.2). One number for all classes, so
that the likeliest class stays the one of the highest score; scores are of heads that were not
fitted on the row, since those on a head's own rows are too sure.
"""

import numpy as np
from numpy.typing import NDArray

_WIDEST = 12.0
"""Natural logarithm of the largest factor between scores and logits."""


def two_columns(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one column of scores as its negative and itself, more columns as they are."""
    return np.concatenate([-scores, scores], axis=1) if scores.shape[1] == 1 else scores


def fit_temperature(scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    """Find the temperature of the least log loss.

    Parameters
    ----------
    scores : ndarray of float64, shape (n, classes)
        Of rows the heads were not fitted on.
    y : ndarray of int64, shape (n,)
        Codes.

    Returns
    -------
    float
        Above zero; infinite certainty or none is cut off at a factor of e^12.
    """
    from scipy.optimize import minimize_scalar

    behind = scores - scores[np.arange(len(y)), y][:, None]

    # Convex in the factor 1 / temperature, so that there is one minimum in its logarithm too.
    def loss(log_factor: float) -> float:
        logits = np.exp(log_factor) * behind
        top = logits.max(axis=1)
        return float(np.mean(top + np.log(np.exp(logits - top[:, None]).sum(axis=1))))

    found = minimize_scalar(loss, bounds=(-_WIDEST, _WIDEST), method="bounded")
    return float(np.exp(-found.x))
