"""Labels that are probably wrong: what a head says of rows it was not fitted on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class LabelDoubts:
    """How doubtful every label is.

    Parameters
    ----------
    order : ndarray of int64, shape (n,)
        Rows, the most doubtful label first.
    margin : ndarray of float64, shape (n,)
        Probability of the given label less the largest of another; -1 is certainly wrong.
    suggested : ndarray of int64, shape (n,)
        The likeliest other class.
    likely : ndarray of bool, shape (n,)
        Whether the label counts as a likely error.
    """

    order: NDArray[np.int64]
    margin: NDArray[np.float64]
    suggested: NDArray[np.int64]
    likely: NDArray[np.bool_]


def doubt_labels(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> LabelDoubts:
    """Rank rows by how little their label fits, and mark the likely errors.

    A head that gives a class high probabilities throughout needs more to convince. So a row
    counts as a member of another class when that class is the likeliest one and its
    probability is at least the mean that rows labelled so get themselves (C. Northcutt,
    L. Jiang and I. Chuang, Confident Learning, JAIR 70, 2021, section 3.1).

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        Codes as given.
    probabilities : ndarray of float64, shape (n, classes)
        Out of fold: of heads that were not fitted on the row.
    """
    n, n_classes = probabilities.shape
    rows = np.arange(n)
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -1
    suggested = others.argmax(axis=1)
    theirs = others[rows, suggested]
    counts = np.bincount(labels, minlength=n_classes)
    usual = np.bincount(labels, own, minlength=n_classes) / np.maximum(counts, 1)
    # A class without rows has no usual probability, and none of its rows can be missing.
    usual[counts == 0] = np.inf
    margin = own - theirs
    likely = (margin < 0) & (theirs >= usual[suggested])
    return LabelDoubts(
        order=np.argsort(margin, kind="stable"),
        margin=margin,
        suggested=suggested.astype(np.int64),
        likely=likely,
    )
