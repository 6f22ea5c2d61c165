"""What a comparison finds in the data: mistakes, doubtful labels, duplicates, leaks, a map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.alignment import Aligned, Features
from bottleneck.comparison.duplicates import (
    MOST_ROWS,
    Duplicates,
    exact_duplicates,
    near_duplicates,
)
from bottleneck.comparison.label_errors import doubt_labels
from bottleneck.comparison.leaderboard import Contender
from bottleneck.comparison.outer import Protocol
from bottleneck.comparison.projection import MAP_ROWS, MapKind, has_umap, pca_plane, umap_plane
from bottleneck.heads.splits import shuffled_ranks
from bottleneck.manifest import SPLITS

MOST_MISTAKES = 400
"""Mistakes listed per head; the most confident ones."""

MOST_DOUBTS = 200
MOST_SETS = 200
"""Sets of duplicates listed; leaks come first."""


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


def duplicate_sets(aligned: Aligned, features: Features, threshold: float) -> dict[str, Any]:
    """List images that occur more than once, those across training and test rows first.

    Parameters
    ----------
    features : Features
        Decide what is nearly the same.
    threshold : float
        Least cosine of centred features.

    Returns
    -------
    dict
        ``threshold``, ``searched_near``, ``exact`` and ``near`` (sets), ``leaks`` (sets across
        training and test rows), ``leaked_rows`` (judged rows in such sets), ``conflicts`` (sets
        with several labels), and ``sets``: of each ``images``, ``exact``, ``similarity``,
        ``leak`` and ``conflict``.
    """
    exact = exact_duplicates(aligned.digests)
    searched = len(aligned.y) <= MOST_ROWS
    everything = np.arange(len(aligned.y))
    near = near_duplicates(features.take(everything), threshold) if searched else []
    known = {one.rows for one in exact}
    # A near set that is only the exact one again says nothing new.
    found = [*exact, *(one for one in near if not _covered(one, known))]
    test = aligned.splits == SPLITS.index("test")
    lines = [_set_line(aligned, one, test) for one in found]
    lines.sort(key=lambda line: (not line["leak"], not line["exact"], -line["similarity"]))
    leaked = {i for line in lines if line["leak"] for i in line["images"] if test[i]}
    return {
        "threshold": threshold,
        "searched_near": searched,
        "exact": sum(line["exact"] for line in lines),
        "near": sum(not line["exact"] for line in lines),
        "leaks": sum(line["leak"] for line in lines),
        "leaked_rows": len(leaked),
        "conflicts": sum(line["conflict"] for line in lines),
        "sets": lines[:MOST_SETS],
    }


def _covered(one: Duplicates, exact: set[tuple[int, ...]]) -> bool:
    return any(set(one.rows) <= set(rows) for rows in exact)


def _set_line(aligned: Aligned, one: Duplicates, test: NDArray[np.bool_]) -> dict[str, Any]:
    rows = np.array(one.rows)
    return {
        "images": [int(row) for row in rows],
        "exact": one.exact,
        "similarity": one.similarity,
        "leak": bool(test[rows].any() and not test[rows].all()),
        "conflict": len(np.unique(aligned.y[rows])) > 1,
    }


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
        (PCA) and ``points``, x and y from 0 to 1.
    """
    n = len(aligned.y)
    shown = np.arange(n)
    if n > MAP_ROWS:
        shown = np.sort(np.argsort(shuffled_ranks(aligned.keys, seed))[:MAP_ROWS])
    maps = []
    for i in which:
        rows = features[i].take(shown)
        plane, shares = pca_plane(rows)
        maps.append(_map_line(i, "PCA", plane, shares))
        if kind == "umap" or (kind == "auto" and i == which[0] and _can_umap(len(shown))):
            maps.append(_map_line(i, "UMAP", umap_plane(rows, seed), None))
    return {"images": [int(row) for row in shown], "maps": maps}


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
