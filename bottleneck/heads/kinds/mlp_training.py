"""Training of the small network: batches shuffled out of a file, and Keras on its backend.

Keras is imported when a network is built: predicting needs none of this.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.backbones.keras_scope import import_training_keras
from bottleneck.heads.rows import FloatArray, Rows
from bottleneck.heads.solver.row_pass import passes
from bottleneck.heads.solver.scaling import standardise
from bottleneck.heads.solver.weighting import Weighting

if TYPE_CHECKING:
    from bottleneck.heads.kinds.mlp import MultilayerPerceptron

_RUN_ROWS = 128
"""Rows read in one piece, at most."""

_POOL_RUNS = 64
"""Pieces, from all over the file, whose rows are shuffled together."""

_POOL_BYTES = 40 << 20
"""What these take at most, which is 1280 float32 features: of longer rows pieces have fewer."""


def train(
    head: "MultilayerPerceptron",
    rows: Rows,
    y: NDArray[np.int64],
    learnt: NDArray[np.bool_],
    judged: NDArray[np.bool_],
) -> None:
    """Train a head on some rows until the loss on others falls no more, and give it its weights.

    Parameters
    ----------
    head : MultilayerPerceptron
        Its options decide; its learned attributes are set.
    rows : Rows, shape (n, d)
        Features.
    y : ndarray of int64, shape (n,)
        Codes.
    learnt, judged : ndarray of bool, shape (n,)
        Rows to learn from, and to judge every epoch by.

    Raises
    ------
    RuntimeUnavailableError
        When Keras or its backend cannot be imported.
    """
    with passes(rows, threads=head.threads) as run:
        scaling = standardise(run, Weighting(y, learnt[None]))
    mean, scale = scaling.mean[0], scaling.scale[0]
    model = build(rows.shape[1], int(y.max()) + 1, head)
    rng = np.random.default_rng(head.seed)
    best: list[NDArray[np.float64]] = []
    least, epoch = float("inf"), 0  # not from the losses: one that is NaN would be their minimum
    losses: list[float] = []
    for _ in range(head.epochs):
        for X, codes in batches(rows, y, learnt, head.batch_size, rng):
            Z = (X - mean.astype(X.dtype)) / scale.astype(X.dtype)
            model.train_on_batch(Z.astype(np.float32, copy=False), codes)
        weights = _unscaled([np.asarray(w, np.float64) for w in model.get_weights()], mean, scale)
        _take(head, weights)
        losses.append(_loss(head, rows, y, judged))
        if losses[-1] < least:
            best, least, epoch = weights, losses[-1], len(losses)
        if not np.isfinite(losses[-1]) or len(losses) - epoch >= head.patience:
            break
    if not best:
        raise ValueError("expected a finite loss, training diverged: give a smaller lr")
    _take(head, best)
    head.losses_, head.epoch_ = losses, epoch


def build(dim: int, n_classes: int, head: "MultilayerPerceptron") -> Any:
    """Build the Keras model, from standardised features to logits, compiled."""
    keras = import_training_keras()
    seeds = np.random.SeedSequence(head.seed).generate_state(3).tolist()
    first, second = (keras.initializers.GlorotUniform(seed=seed) for seed in seeds[:2])
    layers = [
        keras.layers.Input((dim,)),
        keras.layers.Dense(head.hidden, "relu", kernel_initializer=first, dtype="float32"),
        keras.layers.Dropout(head.dropout, seed=seeds[2], dtype="float32"),
        keras.layers.Dense(n_classes, kernel_initializer=second, dtype="float32"),
    ]
    model = keras.Sequential(layers)
    model.compile(
        optimizer=keras.optimizers.Adam(head.lr),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() == "jax",
    )
    return model


def batches(
    rows: Rows,
    y: NDArray[np.int64],
    members: NDArray[np.bool_],
    size: int,
    rng: np.random.Generator,
) -> Iterator[tuple[FloatArray, NDArray[np.int64]]]:
    """Yield every member row once, in batches, out of order.

    Runs of rows are read in random order; the rows of some at a time are shuffled together, so
    that a file sorted by class gives mixed batches and is never held. All batches but the last
    have ``size`` rows.

    Parameters
    ----------
    rows : Rows, shape (n, d)
        Features.
    y : ndarray of int64, shape (n,)
        Codes.
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
    left_y = np.empty(0, np.int64)
    scratch: dict[str, FloatArray] = {}
    for group in range(0, len(starts), runs):
        pool, codes = [left_X], [left_y]
        for start in starts[group : group + runs].tolist():
            stop = min(start + run, n)
            chosen = np.flatnonzero(members[start:stop])
            if len(chosen):
                pool.append(rows.read(start, stop, scratch)[chosen])
                codes.append(y[start:stop][chosen])
        X, own = np.concatenate(pool), np.concatenate(codes)
        order = rng.permutation(len(X))
        whole = len(X) // size * size
        for first in range(0, whole, size):
            picked = order[first : first + size]
            yield X[picked], own[picked]
        left_X, left_y = X[order[whole:]], own[order[whole:]]
    if len(left_X):
        yield left_X, left_y


def _unscaled(
    weights: list[NDArray[np.float64]], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Fold the standardisation into the first layer."""
    first, bias, second, intercept = weights
    folded = first / scale[:, None]
    return [folded, bias - mean @ folded, second, intercept]


def _take(head: "MultilayerPerceptron", weights: list[NDArray[np.float64]]) -> None:
    head.hidden_coef_, head.hidden_intercept_, head.coef_, head.intercept_ = weights


def _loss(
    head: "MultilayerPerceptron", rows: Rows, y: NDArray[np.int64], judged: NDArray[np.bool_]
) -> float:
    """Mean cross entropy on the held-out rows, by the forward pass that predicts."""

    def visit(
        total: NDArray[np.float64], start: int, stop: int, block: FloatArray, scratch: object
    ) -> None:
        chosen = np.flatnonzero(judged[start:stop])
        if len(chosen):
            logits = head.forward(block[chosen])
            own = logits[np.arange(len(chosen)), y[start:stop][chosen]]
            total += (np.logaddexp.reduce(logits, axis=1) - own).sum()

    with passes(rows, threads=head.threads) as run:
        parts = run.run(lambda: np.zeros(1), visit)
    return float(sum(float(part[0]) for part in parts) / judged.sum())
