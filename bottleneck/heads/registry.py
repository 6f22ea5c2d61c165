"""The kinds of head by name: ours, those of other packages, and scikit-learn's by import path.

A package adds a kind by an entry point of the group ``bottleneck.heads``, whose name is what
people type and whose value names a :class:`~bottleneck.heads.kind.HeadKind`. Nothing is imported
before a kind is asked for.
"""

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from bottleneck.errors import OptionError

if TYPE_CHECKING:
    from bottleneck.heads.kind import HeadKind

GROUP = "bottleneck.heads"

_HOMES = {
    "logreg": "bottleneck.heads.kinds.logreg",
    "svm": "bottleneck.heads.kinds.svm",
    "ridge": "bottleneck.heads.kinds.ridge",
    "lda": "bottleneck.heads.kinds.lda",
    "nearest_mean": "bottleneck.heads.kinds.nearest_mean",
    "knn": "bottleneck.heads.kinds.knn",
    "mlp": "bottleneck.heads.kinds.mlp",
    "stack": "bottleneck.heads.kinds.stack",
}

HEAD_NAMES: tuple[str, ...] = tuple(_HOMES)
"""The kinds of this package."""


def head_names() -> tuple[str, ...]:
    """Return the names of all kinds that are installed, ours first."""
    others = {point.name for point in entry_points(group=GROUP)} - set(HEAD_NAMES)
    return (*HEAD_NAMES, *sorted(others))


def head_kind(name: str) -> "HeadKind":
    """Return the kind of a name, or of an estimator's import path; case does not matter.

    Raises
    ------
    OptionError
        For an unknown name; the hint lists the nearest ones. For an entry point that cannot be
        imported, or that is no kind.
    """
    if "." in name:
        from bottleneck.heads.kinds.imported import ImportedKind

        return ImportedKind(name)
    lower = name.lower()
    if lower in _HOMES:
        found: HeadKind = import_module(_HOMES[lower]).KIND
        return found
    for point in entry_points(group=GROUP):
        if point.name.lower() == lower:
            return _loaded(point.name, point.load)
    names = head_names()
    near = difflib.get_close_matches(lower, names) or names
    raise OptionError(
        f"expected a head of {', '.join(names)}, got {name!r}",
        hint=f"Did you mean {' or '.join(near)}? Any other estimator of scikit-learn goes by "
        "its import path: sklearn.svm.SVC.",
    )


def _loaded(name: str, load: object) -> "HeadKind":
    assert callable(load)
    try:
        found: HeadKind = load()
        said = found.name
    except (ImportError, AttributeError) as error:
        raise OptionError(
            f"the head {name!r} of another package cannot be used: {error}",
            hint=f"Its entry point of {GROUP} has to name a HeadKind.",
        ) from error
    if said != name:
        raise OptionError(f"expected the head {name!r} of another package, got {said!r}")
    return found
