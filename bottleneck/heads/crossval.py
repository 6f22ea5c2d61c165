"""Cross-validation of one head over a grid, a fold at a time."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.catalogue import HeadSpec

_T = TypeVar("_T")


def cross_validate(
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    fold: NDArray[np.int32],
    spec: HeadSpec,
    grid: Sequence[Mapping[str, float]],
    *,
    seed: int,
    jobs: int,
) -> tuple[NDArray[np.float64], list[str]]:
    """Score every set of parameters on every held-out fold.

    Parameters
    ----------
    X : ndarray of float32, shape (n, d)
        Features of the training rows.
    y : ndarray of int64, shape (n,)
        Codes.
    fold : ndarray of int32, shape (n,)
        In which fold each row is held out.
    spec : HeadSpec
        The head.
    grid : sequence of mappings
        Parameters for :meth:`HeadSpec.build`, C ascending.
    seed, jobs : int
        As in :func:`~bottleneck.heads.select`.

    Returns
    -------
    accuracies : ndarray of float64, shape (folds, len(grid))
    notes : list of str
        What the solvers complained about, counted over the folds.
    """
    from joblib import Parallel, delayed

    n_folds = int(fold.max()) + 1
    results = Parallel(n_jobs=jobs)(
        delayed(_score_fold)(X, y, fold == i, spec=spec, grid=grid, seed=seed)
        for i in range(n_folds)
    )
    complaints = Counter(
        (params["C"], text)
        for _, raised in results
        for params, texts in zip(grid, raised, strict=True)
        for text in texts
    )
    notes = [
        f"cross-validation, C={c:g}, {count} of {n_folds} folds: {text}"
        for (c, text), count in sorted(complaints.items())
    ]
    return np.array([accuracies for accuracies, _ in results]), notes


def _score_fold(
    X: NDArray[np.float32],
    y: NDArray[np.int64],
    held: NDArray[np.bool_],
    *,
    spec: HeadSpec,
    grid: Sequence[Mapping[str, float]],
    seed: int,
) -> tuple[list[float], list[list[str]]]:
    # The scaler does not depend on the parameters: fitted once, and the fold copied once.
    scaler = spec.build(grid[0], seed)[:-1]
    train, test = scaler.fit_transform(X[~held]), scaler.transform(X[held])
    accuracies, raised = [], []
    for params in grid:
        classifier, texts = recording(
            lambda params=params: spec.build(params, seed)[-1].fit(train, y[~held])  # type: ignore[misc]
        )
        accuracies.append(float(np.mean(classifier.predict(test) == y[held])))
        raised.append(texts)
    return accuracies, raised


def recording(fit: Callable[[], _T]) -> tuple[_T, list[str]]:
    """Run a fit; return its result and, a line each, the solver's complaints about it.

    BLAS is held to one thread: L-BFGS makes many small calls, and threads that wait for each
    other there made the same fit 70 times slower (800 rows x 1280, two busy cores). Folds
    run side by side instead.

    A solver's complaint (not converged, ill-conditioned) belongs in the report, not bare on
    the screen. Other warnings go on their way.
    """
    from scipy.linalg import LinAlgWarning
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fit()
    texts = []
    for warning in caught:
        if issubclass(warning.category, (ConvergenceWarning, LinAlgWarning)):
            first = str(warning.message).strip().splitlines()[0]
            texts.append(f"{warning.category.__name__}: {first}")
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return result, texts
