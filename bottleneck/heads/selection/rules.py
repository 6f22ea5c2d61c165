"""What every selection shares: the checks before it, the choice itself, and the notes after it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.heads.catalogue import NO_STRENGTH, HeadSpec


def check_protocol(values: Sequence[float], n_folds: int, jobs: int) -> None:
    """Refuse to choose among strengths without folds, and to work without threads.

    Raises
    ------
    OptionError
    """
    if jobs == 0:
        raise OptionError("expected 1 or more jobs, or -1 for all cores, got 0")
    if n_folds == 0 and len(values) > 1:
        raise OptionError(
            f"expected 2 or more folds to choose among {len(values)} values of C, got 0",
            hint="Give one value of C to fit without cross-validation.",
        )


def with_strength(spec: HeadSpec) -> HeadSpec:
    """Return a head that has a strength C, or refuse it.

    Raises
    ------
    OptionError
    """
    if not spec.linear:
        raise OptionError(f"expected a head with a strength C, got {spec.name}", hint=NO_STRENGTH)
    return spec


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


def choose_strength(cv: list[dict[str, Any]], one_se_folds: int | None) -> float:
    """Return the C of the highest mean, of equals the smallest; or of one within its error."""
    top = max(cv, key=lambda entry: float(entry["mean"]))
    # Means of the same accuracies may differ in the last bit.
    margin = 1e-12 if one_se_folds is None else float(top["std"]) / one_se_folds**0.5
    return next(
        float(entry["params"]["C"]) for entry in cv if entry["mean"] >= top["mean"] - margin
    )


def thin_classes(codes: NDArray[np.int64], names: tuple[str, ...], n_folds: int) -> list[str]:
    """Note the classes with fewer rows than folds."""
    counts = np.bincount(codes)
    thin = [names[i] for i in np.flatnonzero(counts < n_folds)]
    if not thin:
        return []
    shown = ", ".join(thin[:5]) + (", ..." if len(thin) > 5 else "")
    return [f"classes with fewer rows than the {n_folds} folds: {len(thin)} ({shown})"]


def edge_note(best: float, values: tuple[float, ...]) -> list[str]:
    """Note that the best strength is the first or the last one tried."""
    if len(values) > 1 and best in (values[0], values[-1]):
        side = "smallest" if best == values[0] else "largest"
        return [f"the best C={best:g} is the {side} of the grid; a wider grid may do better"]
    return []
