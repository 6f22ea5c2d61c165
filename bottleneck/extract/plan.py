"""Which rows of a file are still to be computed, and whether the file may be continued."""

import re
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ManifestError, OptionError, RecipeMismatchError
from bottleneck.manifest import Manifest
from bottleneck.recipe import Recipe, mismatch_message
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore

_MUST_AGREE = ("precision", "dtype")
"""Fields of the execution that rows of one file must share; the others may change midway."""

_OVERWRITE_HINT = "Give another -o, or --overwrite to replace the file and its finished rows."


@dataclass(frozen=True)
class MaxFailed:
    """How many images may fail before a finished run counts as a failure.

    Parameters
    ----------
    count : int or None
        An absolute number, or
    share : float or None
        a share of all rows, 0 to 1.
    """

    count: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``25`` or ``10%``.

        Raises
        ------
        OptionError
            For anything else.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
        if match and match[2] and float(match[1]) <= 100:
            return cls(share=float(match[1]) / 100)
        if match and not match[2] and "." not in match[1]:
            return cls(count=int(match[1]))
        raise OptionError(f"expected a number or a percentage for --max-failed, got {text!r}")

    def exceeded(self, failed: int, rows: int) -> bool:
        """Whether that many failures are too many."""
        return failed > (self.count if self.count is not None else (self.share or 0.0) * rows)

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{(self.share or 0) * 100:g}%"


def require_same_manifest(store: FeatureStore, manifest: Manifest) -> None:
    """Refuse to continue a file over other images.

    Raises
    ------
    ManifestError
        Naming the first difference and both fingerprints.
    """
    if store.manifest_sha256 != manifest.sha256:
        raise ManifestError(
            f"{store.path} was made for another list of images: "
            f"{manifest.describe_difference(store.manifest)} "
            f"(manifest {manifest.sha256[:12]} now, {store.manifest_sha256[:12]} in the file)",
            hint=_OVERWRITE_HINT,
        )


def require_same_recipe(store: FeatureStore, recipe: Recipe) -> list[str]:
    """Refuse to continue a file with another recipe.

    Returns
    -------
    list of str
        Differences that are allowed but worth a note.

    Raises
    ------
    RecipeMismatchError
        Naming every field that differs, with both values.
    """
    execution = recipe.execution_differences(store.recipe)
    fatal = recipe.identity_differences(store.recipe)
    fatal += [d for d in execution if d.field in _MUST_AGREE]
    if fatal:
        raise RecipeMismatchError(
            mismatch_message("this run", str(store.path), fatal), hint=_OVERWRITE_HINT
        )
    return [
        f"continuing with another {d.field}: {d.ours} now, {d.theirs} before" for d in execution
    ]


def rows_to_do(
    status: NDArray[np.uint8], *, retry_failed: bool = False, limit: int | None = None
) -> NDArray[np.int64]:
    """List the rows to compute.

    Parameters
    ----------
    status : ndarray of uint8, shape (n,)
        Status codes.
    retry_failed : bool
        Also rows that failed before.
    limit : int, optional
        At most this many, spread evenly over those that wait, so that a short trial sees
        every class.

    Returns
    -------
    ndarray of int64
        Ascending row numbers.
    """
    if retry_failed:
        rows = np.flatnonzero(status != RowStatus.DONE)
    else:
        rows = np.flatnonzero(status == RowStatus.PENDING)
    if limit is not None and limit < len(rows):
        rows = rows[np.arange(limit) * len(rows) // limit]
    return rows
