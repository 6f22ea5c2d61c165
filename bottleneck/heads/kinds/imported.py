"""Any classifier of scikit-learn as a head, by its import path, where the rows fit in memory.

Features are standardised in front of it, as for the heads of the catalogue. There is no grid:
its parameters are given, and cross-validation says what they are worth.
"""

import inspect
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.features import as_feature_rows, require_finite
from bottleneck.heads.rows import Rows
from bottleneck.heads.selection.fitted import Fitted
from bottleneck.heads.selection.rules import present_classes, thin_classes
from bottleneck.heads.selection.splits import folds
from bottleneck.heads.skops_file import dump

_COPIES = 3
"""Matrices in memory at once: the rows, those of a fold, and them standardised."""

_HINT = "Give the path of a classifier: --head sklearn.svm.SVC --set kernel=rbf."


def is_import_path(head: str) -> bool:
    """Whether a head's name is an import path, not one of the catalogue."""
    return "." in head


def classifier_class(path: str) -> type:
    """Import a classifier of scikit-learn.

    Raises
    ------
    OptionError
        For what is not there or is no classifier.
    """
    module, _, name = path.rpartition(".")
    if module.partition(".")[0] != "sklearn":
        raise OptionError(f"expected a classifier of scikit-learn, got {path!r}", hint=_HINT)
    from sklearn.base import ClassifierMixin

    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"there is no {path!r}: {error}", hint=_HINT) from error
    if not (inspect.isclass(found) and issubclass(found, ClassifierMixin)):
        raise OptionError(f"expected a classifier, got {path!r}", hint=_HINT)
    return found


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` pairs; a value is JSON (``0.1``, ``true``, ``[1, 2]``), else text.

    Raises
    ------
    OptionError
        For a text without ``=``, and for numbers that are not finite.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise OptionError(f"expected name=value, got {text!r}", hint=_HINT)
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
        if not _finite(settings[name]):
            raise OptionError(
                f"expected finite numbers, got {text!r}",
                hint="Head files hold plain JSON, which has no infinity; a large number such as"
                " 1e10 does the same.",
            )
    return settings


def _finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def select_imported(
    X: ArrayLike | Rows,
    y: ArrayLike,
    *,
    classes: Sequence[str],
    keys: Sequence[str],
    groups: ArrayLike | None = None,
    head: str,
    settings: Mapping[str, Any],
    n_folds: int = 5,
    seed: int = 0,
) -> Fitted:
    """Fit a classifier of scikit-learn on all rows; cross-validate it.

    Parameters
    ----------
    X, y, classes, keys, groups, n_folds, seed
        As of :func:`~bottleneck.heads.select`; the rows are read into memory. ``seed`` is also
        the ``random_state`` of a classifier that has one.
    head : str
        Import path of the classifier.
    settings : mapping
        Its parameters.

    Raises
    ------
    HeadError
        When the rows do not fit in memory, or the classifier refuses them.
    OptionError
        For an unknown classifier or parameter.
    """
    start = time.perf_counter()
    made = _pipeline(classifier_class(head), head, settings, seed)
    rows = as_feature_rows(X)
    names, codes = present_classes(rows.shape[0], y, classes, keys)
    _require_memory(rows, head)
    require_finite(rows, keys)
    matrix: NDArray[np.float32] = np.array(rows.read(0, rows.shape[0], {}), np.float32)
    notes: list[str] = []
    cv: tuple[Mapping[str, Any], ...] = ()
    from sklearn.base import clone

    try:
        if n_folds:
            fold = folds(keys, np.asarray(y), groups, n_folds, seed)
            scores = [
                float(
                    np.mean(
                        clone(made).fit(matrix[fold != i], codes[fold != i]).predict(
                            matrix[fold == i]
                        )
                        == codes[fold == i]
                    )
                )
                for i in range(n_folds)
            ]  # fmt: skip
            mean, std = float(np.mean(scores)), float(np.std(scores))
            cv = ({"params": dict(settings), "mean": mean, "std": std},)
            notes += thin_classes(codes, names, n_folds)
        made.fit(matrix, codes)
    except (ValueError, TypeError) as error:
        raise HeadError(f"{head} refused its parameters or rows: {error}") from error
    return Fitted(
        kind=head,
        estimator=made,
        classes=names,
        dim=rows.shape[1],
        rows=rows.shape[0],
        best=dict(settings),
        cv=cv,
        folds=n_folds,
        seed=seed,
        notes=tuple(notes),
        seconds=time.perf_counter() - start,
    )


def require_savable(head: str, settings: Mapping[str, Any]) -> None:
    """Refuse a classifier that could not be saved, by a trial on a few made-up rows.

    Raises
    ------
    HeadError
        As :func:`dump`.
    OptionError
        For an unknown classifier or parameter.
    """
    made = _pipeline(classifier_class(head), head, settings, seed=0)
    try:
        made.fit(np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 2)
    except (ValueError, TypeError):
        return  # it has more to say on real rows
    dump(made)


def _pipeline(kind: type, path: str, settings: Mapping[str, Any], seed: int) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = set(inspect.signature(kind).parameters)
    unknown = sorted(set(settings) - known)
    if unknown:
        raise OptionError(
            f"{path} has no parameter {unknown[0]!r}", hint=f"It has: {', '.join(sorted(known))}"
        )
    drawn = {"random_state": seed} if "random_state" in known else {}
    try:
        return make_pipeline(StandardScaler(), kind(**{**drawn, **settings}))
    except TypeError as error:
        raise OptionError(f"{path} cannot be made by its parameters alone: {error}") from error


def _require_memory(rows: Rows, head: str) -> None:
    needed = _COPIES * 4 * rows.shape[0] * rows.shape[1]
    available = _available_memory()
    if needed > available:
        raise HeadError(
            f"{head} needs all rows in memory: {rows.shape[0]} x {rows.shape[1]} features take "
            f"about {needed / 1e9:.1f} GB with copies, {available / 1e9:.1f} GB are available",
            hint="The heads logreg, svm and ridge stream their rows; or use fewer rows.",
        )


def _available_memory() -> float:
    """Return the bytes that can be had without swapping; no limit where that is not told."""
    try:
        # Free pages alone would leave out the page cache, which gives way.
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, AttributeError):
        return float("inf")
