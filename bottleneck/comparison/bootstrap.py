"""Confidence intervals by resampling the judged rows."""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
"""Draws: enough for the 2.5% and 97.5% quantiles to be steady in the third digit."""

LEVEL = 0.95
"""Share of the draws inside an interval."""


def bootstrap_intervals(
    confusion: NDArray[np.int64], *, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Give percentile intervals of the scores that a confusion matrix decides.

    Drawing as many rows with replacement is a multinomial draw of the matrix's cells, so rows
    need not be touched again (B. Efron and R. Tibshirani, An Introduction to the Bootstrap,
    1993, section 13.3).

    Parameters
    ----------
    confusion : ndarray of int64, shape (classes, classes)
        Rows are true classes, columns predicted ones.
    seed : int
        Of the draws.

    Returns
    -------
    dict of str to (low, high)
        ``accuracy``, ``balanced_accuracy`` and ``macro_f1``.
    """
    n = int(confusion.sum())
    k = len(confusion)
    truth, predicted = np.nonzero(confusion)
    rng = np.random.default_rng(seed)
    shares = confusion[truth, predicted] / n
    correct = truth == predicted
    scores = np.empty((RESAMPLES, 3))
    for draw in scores:
        counts = rng.multinomial(n, shares / shares.sum()).astype(np.float64)
        right = np.bincount(truth, counts * correct, minlength=k)
        support = np.bincount(truth, counts, minlength=k)
        called = np.bincount(predicted, counts, minlength=k)
        with np.errstate(invalid="ignore"):
            recall, f1 = right / support, 2 * right / (support + called)
        draw[:] = right.sum() / n, np.nanmean(recall), np.nanmean(f1)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(scores, [tail, 100 - tail], axis=0)
    names = ("accuracy", "balanced_accuracy", "macro_f1")
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}
