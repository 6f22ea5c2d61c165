"""What every selection shares: the checks before it, the choice itself, and the notes after it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import HeadError, OptionError


def check_protocol(candidates: int, parameter: str, n_folds: int, jobs: int) -> None:
    """Refuse to choose among candidates without folds, and to work without threads.

    Raises
    ------
    OptionError
    """
    if jobs == 0:
        raise OptionError("expected 1 or more jobs, or -1 for all cores, got 0")
    if n_folds == 0 and candidates > 1:
        raise OptionError(
            f"expected 2 or more folds to choose among {candidates} values of {parameter}, got 0",
            hint=f"Give one value of {parameter} to fit without cross-validation.",
        )


def present_classes(
    n: int, y: ArrayLike, classes: Sequence[str], keys: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the classes with rows, and each row's index into them.

    Raises
    ------
    HeadError
        For no rows, arrays that do not fit together, or fewer than two classes.
    """
    store_codes = np.asarray(y)
    if n == 0:
        raise HeadError(
            "expected labelled training rows, got none",
            hint="See `bottleneck info` for how many rows are done and labelled.",
        )
    if store_codes.shape != (n,) or len(keys) != n:
        raise HeadError(
            f"expected a label and a key for each of {n} rows,"
            f" got labels of shape {store_codes.shape} and {len(keys)} keys"
        )
    present, codes = np.unique(store_codes, return_inverse=True)
    if present[0] < 0 or present[-1] >= len(classes):
        raise HeadError(
            f"expected labels from 0 to {len(classes) - 1}, got {present[0]} to {present[-1]}",
            hint="Leave unlabelled rows (-1) out.",
        )
    names = tuple(classes[code] for code in present)
    if len(names) < 2:
        raise HeadError(
            f"expected rows of two or more classes, got {n} rows of {names[0]!r} only",
            hint="A head tells classes apart; give it images of another class.",
        )
    return names, codes.astype(np.int64)


def choose(cv: Sequence[Mapping[str, Any]], prefers: str, one_se_folds: int | None) -> int:
    """Return the place of the highest mean, of equals the preferred; or of one within its error."""
    top = max(cv, key=lambda entry: float(entry["mean"]))
    # Means of the same accuracies may differ in the last bit.
    margin = 1e-12 if one_se_folds is None else float(top["std"]) / one_se_folds**0.5
    good = [at for at, entry in enumerate(cv) if entry["mean"] >= top["mean"] - margin]
    return good[0] if prefers == "smallest" else good[-1]


def thin_classes(codes: NDArray[np.int64], names: tuple[str, ...], n_folds: int) -> list[str]:
    """Note the classes with fewer rows than folds."""
    counts = np.bincount(codes)
    thin = [names[i] for i in np.flatnonzero(counts < n_folds)]
    if not thin:
        return []
    shown = ", ".join(thin[:5]) + (", ..." if len(thin) > 5 else "")
    return [f"classes with fewer rows than the {n_folds} folds: {len(thin)} ({shown})"]


def edge_note(parameter: str, best: float, values: Sequence[float]) -> list[str]:
    """Note that the best value is the first or the last one tried."""
    if len(values) > 1 and best in (values[0], values[-1]):
        side = "smallest" if best == values[0] else "largest"
        told = f"the best {parameter}={best:g} is the {side} of the grid"
        return [f"{told}; a wider grid may do better"]
    return []
