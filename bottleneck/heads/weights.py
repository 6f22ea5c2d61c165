"""Weights in and out of estimators: what the head's file holds of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError
from bottleneck.heads.catalogue import HEADS, Task


def linear_estimator(
    kind: str,
    task: Task,
    best: Mapping[str, float],
    coef: NDArray[np.float64],
    intercept: NDArray[np.float64],
) -> Any:
    """Make the fitted estimator of linear weights.

    Parameters
    ----------
    kind : str
        Name of the head.
    task : {"classes", "labels", "numbers"}
        What it predicts.
    best : mapping
        Its parameters.
    coef, intercept : ndarray of float64, shapes (columns, d) and (columns,)
        On the features as they are.
    """
    estimator: Any
    if task == "labels":
        from bottleneck.heads.kinds.logreg import MultiLabelLogisticRegression

        estimator = MultiLabelLogisticRegression(C=best["C"], standardize=True)
    elif task == "numbers":
        from bottleneck.heads.kinds.ridge import Ridge

        estimator = Ridge(alpha=best["alpha"], standardize=True)
    else:
        estimator = HEADS[kind].build(best)
        estimator.classes_ = np.arange(2 if len(coef) == 1 else len(coef))
    estimator.coef_, estimator.intercept_ = coef, intercept
    estimator.n_features_in_ = coef.shape[1]
    return estimator


def weights_of(estimator: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays that :func:`estimator_of` makes the estimator of again."""
    return {name: getattr(estimator, f"{name}_") for name in _names(estimator)}


def _names(estimator: Any) -> tuple[str, ...]:
    linear = ("coef", "intercept")
    hidden = ("hidden_coef", "hidden_intercept")
    return hidden + linear if hasattr(estimator, "hidden_coef_") else linear


def estimator_of(
    kind: str,
    task: Task,
    best: Mapping[str, float],
    arrays: Mapping[str, NDArray[Any]],
    path: Path,
) -> Any:
    """Put weights back into an estimator of the catalogue.

    Raises
    ------
    HeadError
        For a head that is not known, or arrays that are not its.
    """
    if kind not in HEADS:
        raise HeadError(
            f"expected a head of {', '.join(HEADS)}, got {kind!r} in {path}",
            hint="Update the package: pip install --upgrade bottleneck-features",
        )
    if not HEADS[kind].linear:
        return _network(best, arrays, path)
    coef, intercept = _taken(arrays, ("coef", "intercept"), path)
    plain = coef.dtype == intercept.dtype == np.float64 and coef.ndim == 2
    if not plain or intercept.shape != coef.shape[:1]:
        raise damaged(
            path,
            "expected float64 weights (columns, features) and intercepts (columns,), found "
            f"{coef.dtype} {coef.shape} and {intercept.dtype} {intercept.shape}",
        )
    return linear_estimator(kind, task, best, coef, intercept)


def _taken(
    arrays: Mapping[str, NDArray[Any]], names: Sequence[str], path: Path
) -> list[NDArray[Any]]:
    missing = set(names) - arrays.keys()
    if missing:
        raise damaged(path, f"no {' and no '.join(sorted(missing))}")
    found = [arrays[name] for name in names]
    if not all(array.dtype.kind != "f" or np.isfinite(array).all() for array in found):
        raise damaged(path, "weights that are not finite")
    return found


def _network(best: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], path: Path) -> Any:
    names = ("hidden_coef", "hidden_intercept", "coef", "intercept")
    found = _taken(arrays, names, path)
    shapes = [array.shape for array in found]
    first, bias, second, last = shapes
    fit = len(first) == len(second) == 2 and bias == first[1:] == second[:1] and last == second[1:]
    if not fit or any(array.dtype != np.float64 for array in found):
        raise damaged(path, f"expected float64 weights of two layers, found {shapes}")
    estimator = HEADS["mlp"].build(best)
    for name, array in zip(names, found, strict=True):
        setattr(estimator, f"{name}_", array)
    estimator.classes_, estimator.n_features_in_ = np.arange(last[0]), first[0]
    return estimator


def imported_estimator(content: bytes, path: Path) -> Any:
    """Read a classifier that skops wrote; whatever it raises is damage."""
    from bottleneck.heads.skops_file import load

    try:
        return load(content)
    except HeadError:
        raise
    except Exception as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def damaged(path: Path, what: str) -> HeadError:
    """Return the error for a head's file that contradicts itself."""
    return HeadError(f"the head {path} is damaged: {what}", hint="Train it again.")
