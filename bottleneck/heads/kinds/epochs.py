"""What networks trained in epochs share: rows that tell when to stop, and shuffled batches."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.kind import TrainingData
from bottleneck.heads.rows import FloatArray, Rows
from bottleneck.heads.selection.splits import holdout
from bottleneck.packed import PickedStrings

VALIDATION = 0.1
"""Share of the training rows that tells when to stop."""

_RUN_ROWS = 128
"""Rows read in one piece, at most."""

_POOL_RUNS = 64
"""Pieces, from all over the file, whose rows are shuffled together."""

_POOL_BYTES = 40 << 20
"""What these take at most, which is 1280 float32 features: of longer rows pieces have fewer."""


def sides_of(
    codes: NDArray[np.int64],
    members: NDArray[np.bool_] | None,
    held_out: NDArray[np.bool_] | None,
    *,
    seed: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows to learn from and which to judge by, these stratified by codes.

    Raises
    ------
    ValueError
        When there are none on either side.
    """
    used = np.ones(len(codes), bool) if members is None else members
    if held_out is None:
        at = np.flatnonzero(used)
        held_out = np.zeros(len(codes), bool)
        held_out[at] = holdout(
            [str(i) for i in at], codes[at], None, fraction=VALIDATION, seed=seed
        )
    learnt, judged = used & ~held_out, used & held_out
    if not learnt.any() or not judged.any():
        raise ValueError("expected rows to learn from and rows to judge by, got too few")
    return learnt, judged


def held_out_by_key(
    data: TrainingData, codes: NDArray[np.int64], member: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Choose the rows among some that tell when to stop: by their keys, groups whole."""
    at = np.flatnonzero(member)
    held = np.zeros(len(codes), bool)
    groups = None if data.groups is None else np.asarray(data.groups)[at]
    keys = PickedStrings(data.keys, at)
    held[at] = holdout(keys, codes[at], groups, fraction=VALIDATION, seed=data.seed)
    return held


def cross_entropy(logits: NDArray[np.float64], codes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the loss of each row: float64, shape (n,)."""
    own = logits[np.arange(len(logits)), codes]
    found: NDArray[np.float64] = np.logaddexp.reduce(logits, axis=1) - own
    return found


def batches(
    rows: Rows,
    y: NDArray[Any],
    members: NDArray[np.bool_],
    size: int,
    rng: np.random.Generator,
) -> Iterator[tuple[FloatArray, NDArray[Any]]]:
    """Yield every member row once, in batches, out of order.

    Runs of rows are read in random order; the rows of some at a time are shuffled together, so
    that a file sorted by class gives mixed batches and is never held. All batches but the last
    have ``size`` rows.

    Parameters
    ----------
    rows : Rows, shape (n, d)
        Features.
    y : ndarray, shape (n,) or (n, targets)
        Codes or targets.
    members : ndarray of bool, shape (n,)
        Which rows.
    size : int
        Rows per batch.
    rng : Generator
        Decides the order.
    """
    n = rows.shape[0]
    pool_rows = _POOL_BYTES // (rows.shape[1] * np.dtype(rows.dtype).itemsize)
    run = max(1, min(_RUN_ROWS, pool_rows // _POOL_RUNS))
    runs = max(1, min(_POOL_RUNS, pool_rows // run))
    starts = rng.permutation(np.arange(0, n, run))
    left_X = np.empty((0, rows.shape[1]), rows.dtype)
    left_y = y[:0]
    scratch: dict[str, FloatArray] = {}
    for group in range(0, len(starts), runs):
        pool, truth = [left_X], [left_y]
        for start in starts[group : group + runs].tolist():
            stop = min(start + run, n)
            chosen = np.flatnonzero(members[start:stop])
            if len(chosen):
                pool.append(rows.read(start, stop, scratch)[chosen])
                truth.append(y[start:stop][chosen])
        X, own = np.concatenate(pool), np.concatenate(truth)
        order = rng.permutation(len(X))
        whole = len(X) // size * size
        for first in range(0, whole, size):
            picked = order[first : first + size]
            yield X[picked], own[picked]
        left_X, left_y = X[order[whole:]], own[order[whole:]]
    if len(left_X):
        yield left_X, left_y
