"""What a comparison finds in the data: mistakes, doubtful labels, duplicates, leaks, a map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.alignment import Aligned, Features
from bottleneck.comparison.duplicates import (
    NearDuplicates,
    exact_sets,
    keep_together,
    most_rows,
    near_duplicates,
)
from bottleneck.comparison.leaderboard import Contender
from bottleneck.comparison.out_of_fold import Protocol
from bottleneck.comparison.projection import (
    MAP_ROWS,
    SAMPLE_ROWS,
    MapKind,
    has_umap,
    principal_axes,
    umap_plane,
)
from bottleneck.heads.selection.splits import shuffled_ranks
from bottleneck.manifest import SPLITS


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


MOST_MISTAKES = 400
"""Mistakes listed per head; the most confident ones."""

MOST_DOUBTS = 200
MOST_SETS = 200
"""Sets of duplicates listed; leaks come first."""

MOST_LEAKED = 200
"""Leaked test images listed with the training image behind each, the most similar first."""

MOST_IMAGES = 24
"""Images listed of a set: test images first where it is a leak, but some of either side."""


def mistakes(aligned: Aligned, protocol: Protocol, one: Contender) -> dict[str, Any]:
    """List a head's mistakes, the most confident first.

    Returns
    -------
    dict
        ``total``, ``by`` (``probability``, or ``margin``: how much the wrong class's score is
        above the true one's) and ``rows``: of each ``image``, ``predicted``, ``confidence``.
    """
    truth, said = aligned.y[protocol.judged], one.predictions
    wrong = np.flatnonzero(said.predicted != truth)
    if said.probabilities is not None:
        by, confidence = "probability", said.probabilities[wrong, said.predicted[wrong]]
    else:
        lead = said.scores[wrong, said.predicted[wrong]] - said.scores[wrong, truth[wrong]]
        by, confidence = "margin", lead
    # A class the head never saw has no score: then the mistake is as sure as can be.
    confidence = np.nan_to_num(confidence, posinf=1e9)
    order = np.argsort(-confidence, kind="stable")[:MOST_MISTAKES]
    return {
        "total": len(wrong),
        "by": by,
        "rows": [
            {
                "image": int(protocol.judged[wrong[i]]),
                "predicted": int(said.predicted[wrong[i]]),
                "confidence": float(confidence[i]),
            }
            for i in order
        ],
    }


def label_doubts(aligned: Aligned, probabilities: NDArray[np.float64], by: str) -> dict[str, Any]:
    """List the labels that are probably wrong, the most doubtful first.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (n, classes)
        Out of fold.
    by : str
        Which head gave them.

    Returns
    -------
    dict
        ``likely`` (how many count as likely errors), ``by`` and ``rows``: of each ``image``,
        ``suggested``, ``given_probability``, ``suggested_probability``, ``likely``.
    """
    doubts = doubt_labels(aligned.y, probabilities)
    negative = doubts.order[doubts.margin[doubts.order] < 0]
    return {
        "likely": int(doubts.likely.sum()),
        "by": by,
        "rows": [
            {
                "image": int(row),
                "suggested": int(doubts.suggested[row]),
                "given_probability": float(probabilities[row, aligned.y[row]]),
                "suggested_probability": float(probabilities[row, doubts.suggested[row]]),
                "likely": bool(doubts.likely[row]),
            }
            for row in negative[:MOST_DOUBTS]
        ],
    }


@dataclass(frozen=True, eq=False)
class Twins:
    """Images that occur more than once.

    Parameters
    ----------
    exact : ndarray of int64, shape (n,)
        Number of the set of equal files of each row, -1 for none.
    near : NearDuplicates or None
        Nearly equal ones; None where there are too many rows to look.
    features : str
        Which features decided what is nearly equal.
    threshold : float or None
        Least cosine as asked for; None where it is from the data.
    most_rows : int
        Among how many rows nearly equal ones are looked for, at the length of the features.
    """

    exact: NDArray[np.int64]
    near: NearDuplicates | None
    features: str
    threshold: float | None
    most_rows: int

    def groups(self, aligned: Aligned, n_folds: int) -> NDArray[np.int32]:
        """Return which rows belong to one fold: groups and duplicates, joined."""
        sets = [self.exact] if self.near is None else [self.exact, self.near.sets]
        return keep_together(aligned.groups, sets, n_folds)


def find_twins(aligned: Aligned, threshold: float | None) -> Twins:
    """Look for images that occur more than once.

    The longest features decide (the first of several), before anything is judged: so folds are
    the same for all that is compared.

    Parameters
    ----------
    threshold : float or None
        Least cosine of centred features; None takes it from the data.
    """
    features = max(aligned.features, key=lambda one: one.dim)
    near = None
    most = most_rows(features.dim)
    if len(aligned.y) <= most:
        near = near_duplicates(
            features.take(np.arange(len(aligned.y))),
            aligned.y,
            train=_of_split(aligned, "train"),
            test=_of_split(aligned, "test"),
            threshold=threshold,
        )
    return Twins(exact_sets(aligned.digests), near, features.name, threshold, most)


def duplicate_sets(aligned: Aligned, twins: Twins) -> dict[str, Any]:
    """List images that occur more than once, those across training and test rows first.

    Returns
    -------
    dict
        ``threshold`` (the least cosine asked for, or null: from the data), ``least_cosine`` (the
        smallest and the largest that rows needed), ``features``, ``searched_near``,
        ``most_rows`` (up to which near ones are looked for with features of this length), ``exact``
        and ``near`` (sets), ``test_split`` (whether there are test rows and training rows),
        ``leaks`` (sets across them), ``leaked_rows`` (test rows that equal or nearly equal a
        training row), ``conflicts`` (sets with several labels); ``sets``: of each ``images``,
        ``size``, ``exact``, ``similarity``, ``leak`` and ``conflict``; ``leaked``: of each leaked
        ``image`` the ``nearest`` training image, its ``similarity`` and how many are ``as_near``;
        ``sets_left_out`` and ``leaked_left_out``: how many more there are than are listed.
    """
    train, test = _of_split(aligned, "train"), _of_split(aligned, "test")
    exact, near = twins.exact, twins.near
    lines = _set_lines(aligned, exact, None, train, test)
    if near is not None:
        lines += _set_lines(aligned, _news(near.sets, exact), near.similarity, train, test)
    lines.sort(key=lambda line: (not line["leak"], not line["exact"], -line["similarity"]))
    leaked = _leaked(exact, near, train, test)
    return {
        "threshold": twins.threshold,
        "least_cosine": None
        if near is None
        else [float(near.least.min()), float(near.least.max())],
        "features": twins.features,
        "searched_near": near is not None,
        "most_rows": twins.most_rows,
        "exact": sum(line["exact"] for line in lines),
        "near": sum(not line["exact"] for line in lines),
        "test_split": bool(train.any() and test.any()),
        "leaks": sum(line["leak"] for line in lines),
        "leaked_rows": len(leaked),
        "conflicts": sum(line["conflict"] for line in lines),
        "sets": lines[:MOST_SETS],
        "sets_left_out": max(0, len(lines) - MOST_SETS),
        "leaked": leaked[:MOST_LEAKED],
        "leaked_left_out": max(0, len(leaked) - MOST_LEAKED),
    }


def _of_split(aligned: Aligned, name: str) -> NDArray[np.bool_]:
    chosen: NDArray[np.bool_] = aligned.splits == SPLITS.index(name)
    return chosen


def _news(near: NDArray[np.int64], exact: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the near sets without those that are one exact set again."""
    rows = np.flatnonzero(near >= 0)
    least = np.full(int(near.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    most = np.full(len(least), -1)
    np.minimum.at(least, near[rows], exact[rows])
    np.maximum.at(most, near[rows], exact[rows])
    again = (least == most) & (least >= 0)
    return np.where((near >= 0) & ~again[near], near, -1) if len(again) else near


def _set_lines(
    aligned: Aligned,
    sets: NDArray[np.int64],
    similarity: NDArray[np.float32] | None,
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    rows = np.flatnonzero(sets >= 0)
    rows = rows[np.argsort(sets[rows], kind="stable")]
    if not len(rows):
        return []
    lines = []
    for own in np.split(rows, np.flatnonzero(np.diff(sets[rows])) + 1):
        leak = bool(test[own].any() and train[own].any())
        lines.append(
            {
                "images": _shown(own, test if leak else None),
                "size": len(own),
                "exact": similarity is None,
                "similarity": 1.0 if similarity is None else float(similarity[own].min()),
                "leak": leak,
                "conflict": len(np.unique(aligned.y[own])) > 1,
            }
        )
    return lines


def _shown(rows: NDArray[np.int64], test: NDArray[np.bool_] | None) -> list[int]:
    """Return the rows of a set to list: of a leak some of either side."""
    if len(rows) > MOST_IMAGES and test is not None:
        sides = [rows[test[rows]], rows[~test[rows]]]
        short = min(MOST_IMAGES // 2, len(sides[0]), len(sides[1]))
        rows = np.concatenate([sides[0][: max(short, MOST_IMAGES - len(sides[1]))], sides[1]])
    return [int(row) for row in rows[:MOST_IMAGES]]


def _leaked(
    exact: NDArray[np.int64],
    near: NearDuplicates | None,
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    """List the test rows with a training row behind them, the most similar first."""
    equal = np.bincount(exact[train & (exact >= 0)], minlength=int(exact.max(initial=0)) + 1)
    first = np.full(len(equal), -1)
    behind = np.flatnonzero(train & (exact >= 0))[::-1]
    first[exact[behind]] = behind
    lines = []
    for row in np.flatnonzero(test).tolist():
        same = int(equal[exact[row]]) if exact[row] >= 0 else 0
        close = 0 if near is None else int(near.train_rows[row])
        if not same and not close:
            continue
        nearest, similarity = (
            (int(first[exact[row]]), 1.0)
            if same or near is None
            else (int(near.nearest_train[row]), float(near.train_similarity[row]))
        )
        lines.append(
            {
                "image": row,
                "nearest": nearest,
                "similarity": similarity,
                "as_near": max(same, close),
            }
        )
    return sorted(lines, key=lambda line: -line["similarity"])


def make_maps(
    aligned: Aligned, features: Sequence[Features], which: Sequence[int], kind: MapKind, seed: int
) -> dict[str, Any]:
    """Lay images out in the plane, the same ones for all features.

    Parameters
    ----------
    which : sequence of int
        Positions of the features to map, the best first.
    kind : {"auto", "pca", "umap"}
        PCA always; UMAP too if asked for; under ``auto`` of the first features, if its extra
        is installed.

    Returns
    -------
    dict
        ``images``, and ``maps``: of each ``features``, ``method``, ``shares`` of the variance
        (PCA) and ``points``, x and y from 0 to 1; UMAP lays out the first of the images only.
    """
    shown = spread_rows(aligned, seed, MAP_ROWS)
    sample = shown[:SAMPLE_ROWS]
    maps = []
    for i in which:
        rows = features[i].take(sample)
        axes = principal_axes(rows, 2)
        maps.append(_map_line(i, "PCA", axes.project(features[i].take(shown)), axes.shares))
        if kind == "umap" or (kind == "auto" and i == which[0] and _can_umap(len(sample))):
            maps.append(_map_line(i, "UMAP", umap_plane(rows, seed), None))
    return {"images": [int(row) for row in shown], "maps": maps}


def spread_rows(aligned: Aligned, seed: int, most: int) -> NDArray[np.int64]:
    """Choose rows to show: all, or a sample; the first of them are a sample of them too."""
    n = len(aligned.y)
    if n <= SAMPLE_ROWS:
        return np.arange(n)
    return np.argsort(shuffled_ranks(aligned.keys, seed))[:most]


def _can_umap(n: int) -> bool:
    return n > 20 and has_umap()


def _map_line(
    features: int, method: str, plane: NDArray[np.float64], shares: list[float] | None
) -> dict[str, Any]:
    low = plane.min(axis=0)
    # One scale for both directions: a distance means the same across and down.
    span = float((plane.max(axis=0) - low).max()) or 1.0
    points = np.round((plane - low) / span, 4)
    return {
        "features": features,
        "method": method,
        "shares": shares,
        "points": [[float(x), float(y)] for x, y in points],
    }
