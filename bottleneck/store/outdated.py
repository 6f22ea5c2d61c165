"""Rows whose files are decoded to something else today than when the features were made."""

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import RecipeMismatchError
from bottleneck.items import KINDS
from bottleneck.recipe import Recipe
from bottleneck.store.reader import FeatureStore


def outdated_rows(store: FeatureStore) -> NDArray[np.int64]:
    """List the rows of formats whose decoding has changed since the file was begun.

    Known by the endings of their keys. Only some files of such a format are decoded to something
    else, which ones only their bytes would tell. Rows that wait are among them: computed now,
    nothing would tell them from the others.
    """
    kind = next((kind for name, kind in KINDS.items() if name in store.recipe.identity), None)
    changed = kind.changed_since(_decoding(store.recipe)) if kind else ()
    if not changed:
        return np.empty(0, np.int64)
    return np.flatnonzero([key.lower().endswith(changed) for key in store.keys])


def _decoding(recipe: Recipe) -> int:
    version: int = recipe.execution.get("decoding", 1)
    return version


def outdated_note(store: FeatureStore) -> str | None:
    """Say how many rows are outdated, and name the first; None where none is."""
    rows = outdated_rows(store)
    if not len(rows):
        return None
    return (
        f"{store.location} was begun when some files of the formats of {len(rows)} of its rows "
        "were "
        f"decoded to other values than today, first {store.keys[int(rows[0])]!r}"
    )


def require_one_decoding(store: FeatureStore, recipe: Recipe) -> None:
    """Refuse a file with outdated rows where rows of another decoding are to stand beside them.

    Raises
    ------
    RecipeMismatchError
    """
    note = outdated_note(store)
    if note is not None and _decoding(recipe) != _decoding(store.recipe):
        raise RecipeMismatchError(
            note,
            hint=f"Extract into a new file with --reuse {store.location}: it takes over the other "
            "rows and computes these again. --overwrite computes all.",
        )
