"""The small network as a head: given settings, cross-validated, fitted on all rows."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.features import as_feature_rows, require_finite
from bottleneck.heads.kinds.mlp import VALIDATION, MultilayerPerceptron
from bottleneck.heads.rows import Rows
from bottleneck.heads.selection.fitted import Fitted
from bottleneck.heads.selection.rules import check_protocol, present_classes, thin_classes
from bottleneck.heads.selection.splits import folds, holdout

SETTINGS: Mapping[str, Any] = {
    "hidden": 256,
    "dropout": 0.5,
    "epochs": 50,
    "lr": 1e-3,
    "batch_size": 256,
}
"""What can be set, and what it is by default."""


def select_mlp(
    X: ArrayLike | Rows,
    y: ArrayLike,
    *,
    classes: Sequence[str],
    keys: Sequence[str],
    groups: ArrayLike | None = None,
    settings: Mapping[str, Any] | None = None,
    n_folds: int = 5,
    seed: int = 0,
    jobs: int = -1,
) -> Fitted:
    """Cross-validate the small network, then train it on all rows.

    Every training holds out a tenth of its rows, stratified and by their keys, to know when to
    stop.

    Parameters
    ----------
    X, y, classes, keys, groups, n_folds, seed, jobs
        As of :func:`~bottleneck.heads.select`; ``seed`` also decides the training.
    settings : mapping, optional
        Of :data:`SETTINGS`; see :class:`~bottleneck.heads.kinds.mlp.MultilayerPerceptron`.

    Raises
    ------
    HeadError
        For rows that cannot be learnt from, or a training that diverged.
    OptionError
        For an unknown setting, a value out of range, or no jobs.
    RuntimeUnavailableError
        When Keras or its backend is missing.
    """
    start = time.perf_counter()
    params = checked_settings(settings or {})
    check_protocol((), n_folds, jobs)
    rows = as_feature_rows(X)
    names, codes = present_classes(rows.shape[0], y, classes, keys)
    require_finite(rows, keys)
    shared = None if groups is None else np.asarray(groups)

    def fit(members: NDArray[np.bool_]) -> MultilayerPerceptron:
        at = np.flatnonzero(members)
        held = np.zeros(len(codes), bool)
        held[at] = holdout(
            [keys[int(i)] for i in at],
            codes[at],
            None if shared is None else shared[at],
            fraction=VALIDATION,
            seed=seed,
        )
        threads = None if jobs < 0 else jobs
        made = MultilayerPerceptron(**params, seed=seed, threads=threads)
        try:
            return made.fit(rows, codes, members=members, held_out=held)
        except ValueError as error:
            raise HeadError(f"the head mlp cannot be trained: {error}") from error

    cv: tuple[Mapping[str, Any], ...] = ()
    notes: list[str] = []
    if n_folds:
        fold = folds(keys, np.asarray(y), groups, n_folds, seed)
        scores = []
        for i in range(n_folds):
            predicted = fit(fold != i).predict(rows)
            scores.append(float(np.mean(predicted[fold == i] == codes[fold == i])))
        cv = ({"params": params, "mean": float(np.mean(scores)), "std": float(np.std(scores))},)
        notes += thin_classes(codes, names, n_folds)
    final = fit(np.ones(len(codes), bool))
    if final.epoch_ == params["epochs"]:
        notes.append(f"the loss still fell in the last of {params['epochs']} epochs: more may help")
    return Fitted(
        kind="mlp",
        estimator=final,
        classes=names,
        dim=rows.shape[1],
        rows=rows.shape[0],
        best=params,
        cv=cv,
        folds=n_folds,
        seed=seed,
        notes=tuple(notes),
        seconds=time.perf_counter() - start,
        engine="keras",
    )


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in defaults.

    Raises
    ------
    OptionError
        For an unknown setting or a value out of range.
    """
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise OptionError(
            f"the head mlp has no setting {unknown[0]!r}", hint=f"It has: {', '.join(SETTINGS)}"
        )
    params = {**SETTINGS, **settings}
    for name in ("hidden", "epochs", "batch_size"):
        if type(params[name]) is not int or params[name] < 1:
            raise OptionError(f"expected {name} to be 1 or more, got {params[name]!r}")
    for name, least in (("dropout", 0.0), ("lr", 1e-12)):
        if type(params[name]) not in (int, float) or not least <= params[name] < 1:
            raise OptionError(f"expected {name} from {least:g} to below 1, got {params[name]!r}")
    return params
