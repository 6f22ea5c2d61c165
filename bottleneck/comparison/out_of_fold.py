"""Out-of-fold predictions: for rows that took no part in fitting or in choosing.

Where there are test rows, heads are selected on the training rows and asked once about the
test rows. Where there are none, every row is predicted by a head that was selected without its
fold: nested cross-validation, whose inner loop is the same selection.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.comparison.alignment import Aligned, Features
from bottleneck.errors import HeadError
from bottleneck.heads.kind import TrainingData
from bottleneck.heads.registry import head_kind
from bottleneck.heads.rows import Rows
from bottleneck.heads.selection.estimates import few_shots, learning_curve
from bottleneck.heads.selection.splits import folds

if TYPE_CHECKING:
    from bottleneck.heads.head import Head


LABEL_JUDGE = "logreg"
"""The head whose probabilities tell which labels are doubtful."""


@dataclass(frozen=True, eq=False)
class Protocol:
    """Who learns and who judges, the same for all that is compared.

    Parameters
    ----------
    kind : {"test split", "nested cross-validation"}
        How the outer estimate is made.
    train : ndarray of int64, shape (m,)
        Positions of the rows that heads learn from.
    judged : ndarray of int64, shape (n,)
        Positions of the rows they are judged on.
    outer : ndarray of int32, shape (m,), or None
        Outer fold of each row, for nested cross-validation, where ``judged`` is ``train``.
    n_folds, seed : int
        Of the inner selection (and of the outer folds).
    groups : ndarray of int32, shape (all rows,)
        Which rows no fold tears apart, -1 for rows that are alone: groups, and images that
        occur more than once.
    screen : bool
        Whether the selection rules strengths out, see :func:`bottleneck.heads.select`.
    device : str or None
        What heads that Keras fits are fitted on, see :func:`bottleneck.heads.select`.
    """

    kind: str
    train: NDArray[np.int64]
    judged: NDArray[np.int64]
    outer: NDArray[np.int32] | None
    n_folds: int
    seed: int
    groups: NDArray[np.int32]
    screen: bool = False
    device: str | None = None


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one head says of the judged rows.

    Parameters
    ----------
    predicted : ndarray of int64, shape (n,)
        Codes.
    probabilities : ndarray of float64, shape (n, classes), or None
        None where the head has none.
    scores : ndarray of float64, shape (n, classes)
        The largest wins.
    final : Head
        The head selected on all training rows.
    chosen : tuple of mappings
        What each outer fold chose; one entry with a test split.
    seconds : float
        To choose and fit the final head.
    """

    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None
    scores: NDArray[np.float64]
    final: "Head"
    chosen: tuple[Mapping[str, float], ...]
    seconds: float


def make_protocol(
    aligned: Aligned,
    *,
    n_folds: int = 5,
    seed: int = 0,
    groups: NDArray[np.int32] | None = None,
    screen: bool = False,
    device: str | None = None,
) -> Protocol:
    """Decide who learns and who judges.

    Rows of the split ``val`` are left alone. Without any splits, all rows do both in turn.

    Parameters
    ----------
    aligned : Aligned
    n_folds, seed : int
    groups : ndarray of int32, shape (n,), optional
        Which rows no fold tears apart; by default the groups of the files.
    screen : bool
        Whether the selection rules strengths out.
    device : str, optional
        What heads that Keras fits are fitted on.

    Raises
    ------
    HeadError
        When there is nothing to learn from.
    """
    test, train = aligned.of_split("test"), aligned.of_split("train")
    if not aligned.splits.any():
        train = np.arange(len(aligned.y))
    if not len(train):
        raise HeadError(
            "expected rows of the split 'train' with features in all files, found none",
            hint="`bottleneck info` shows the splits of a file.",
        )
    groups = aligned.groups if groups is None else groups
    about = (n_folds, seed, groups, screen, device)
    if len(test):
        return Protocol("test split", train, test, None, *about)
    keys = [aligned.keys[i] for i in train]
    # Not the folds of the inner selection: those are dealt again among the rows that are left.
    outer = folds(keys, aligned.y[train], groups[train], n_folds, seed + 1)
    return Protocol("nested cross-validation", train, train, outer, *about)


def predict_outer(
    aligned: Aligned, features: Features, head: str, protocol: Protocol
) -> Predictions:
    """Select a head on some features and predict the judged rows."""

    def selected(positions: NDArray[np.int64]) -> "Head":
        return select_on(aligned, features, head, positions, protocol)

    final = selected(protocol.train)
    if protocol.outer is None:
        probabilities, scores = _asked(final, features.take(protocol.judged), aligned)
        return _predictions(probabilities, scores, final, [final.best])
    n = len(protocol.judged)
    scores = np.empty((n, len(aligned.classes)))
    shares: NDArray[np.float64] | None = np.empty_like(scores)
    chosen = []
    for fold in range(protocol.n_folds):
        outside = np.flatnonzero(protocol.outer == fold)
        one = selected(protocol.train[protocol.outer != fold])
        found, scores[outside] = _asked(one, features.take(protocol.train[outside]), aligned)
        if found is None or shares is None:
            shares = None
        else:
            shares[outside] = found
        chosen.append(one.best)
    return _predictions(shares, scores, final, chosen)


def select_on(
    aligned: Aligned,
    features: Features,
    head: str,
    positions: NDArray[np.int64],
    protocol: Protocol,
    *,
    grid: Sequence[float] | None = None,
) -> "Head":
    """Select a head on some rows; a grid of one value is fitted as it is."""
    from bottleneck.heads import select

    alone = len(head_kind(head).candidates(grid, {})) == 1
    return select(
        features.take(positions),
        aligned.y[positions],
        classes=aligned.classes,
        head=head,
        keys=[aligned.keys[i] for i in positions],
        groups=protocol.groups[positions],
        n_folds=0 if alone else protocol.n_folds,  # nothing to choose
        seed=protocol.seed,
        grid=grid,
        screen=protocol.screen,
        device=protocol.device,
    )


def _asked(
    head: "Head", rows: Rows, aligned: Aligned
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
    """Return probabilities, if there are any, and scores of all classes: (n, classes).

    Classes without training rows have probability zero and score minus infinity.
    """
    codes = [aligned.classes.index(name) for name in head.classes]

    def widened(found: NDArray[np.float64], absent: float) -> NDArray[np.float64]:
        wide = np.full((len(found), len(aligned.classes)), absent)
        wide[:, codes] = found
        return wide

    probabilities, scores = head.answers(rows)
    told = None if probabilities is None else widened(probabilities, 0.0)
    return told, widened(scores, -np.inf)


def out_of_fold(
    aligned: Aligned, features: Features, protocol: Protocol, best: Mapping[str, Any]
) -> NDArray[np.float64]:
    """Predict every row, of whatever split, by a logistic regression without its fold.

    Parameters
    ----------
    best : mapping
        Holds the strength ``C``.

    Returns
    -------
    ndarray of float64, shape (n, classes)
        Probabilities.
    """
    everything = np.arange(len(aligned.y))
    fold = folds(aligned.keys, aligned.y, protocol.groups, protocol.n_folds, protocol.seed)
    found = np.zeros((len(everything), len(aligned.classes)))
    for i in range(protocol.n_folds):
        inside, outside = everything[fold != i], everything[fold == i]
        one = select_on(aligned, features, LABEL_JUDGE, inside, protocol, grid=[float(best["C"])])
        probabilities, _ = _asked(one, features.take(outside), aligned)
        assert probabilities is not None
        found[outside] = probabilities
    return found


def _predictions(
    probabilities: NDArray[np.float64] | None,
    scores: NDArray[np.float64],
    final: "Head",
    chosen: Sequence[Mapping[str, float]],
) -> Predictions:
    return Predictions(
        predicted=scores.argmax(axis=1).astype(np.int64),
        probabilities=probabilities,
        scores=scores,
        final=final,
        chosen=tuple(chosen),
        seconds=final.seconds,
    )


SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
"""Shares of the training rows (of four folds in five)."""

SHOTS = (1, 2, 4, 8, 16)
"""Training rows per class."""

_REPEATS = 5


def learning_curves(
    aligned: Aligned, features: Features, head: str, protocol: Protocol, best: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Fit on parts of the training rows and score on folds of them; test rows play no part.

    The parameters are those chosen on all training rows.

    Returns
    -------
    curve, shots : list of dict
        As :func:`bottleneck.heads.selection.estimates.learning_curve` and
        :func:`bottleneck.heads.selection.estimates.few_shots` make them: ``share`` or ``shots``,
        ``rows``, ``mean`` and ``std`` of the accuracy.
    """
    train = protocol.train
    keys = [aligned.keys[i] for i in train]
    y = np.unique(aligned.y[train], return_inverse=True)[1].astype(np.int64)
    fold = folds(keys, aligned.y[train], protocol.groups[train], protocol.n_folds, protocol.seed)
    least = int(np.bincount(y).min()) * (protocol.n_folds - 1) // protocol.n_folds
    kind = head_kind(head)
    shots = [count for count in SHOTS if kind.few_rows <= count <= max(1, least)]
    data = TrainingData(
        rows=features.take(train),
        y=y,
        outputs=int(y.max()) + 1,
        task="classes",
        keys=keys,
        groups=protocol.groups[train],
        seed=protocol.seed,
        engine=kind.engines[0],
    )
    about: dict[str, Any] = {"best": best, "seed": protocol.seed}
    with kind.trainer(data) as trainer:
        curve = learning_curve(
            trainer, y, keys, fold, shares=SHARES, few_rows=kind.few_rows, **about
        )
        return curve, few_shots(trainer, y, keys, fold, shots=shots, repeats=_REPEATS, **about)
