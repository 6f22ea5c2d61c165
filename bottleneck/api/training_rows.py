"""Which rows a head is fitted on, and which it is judged by."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import HeadError, OptionError
from bottleneck.packed import PickedStrings
from bottleneck.progress import Progress

if TYPE_CHECKING:
    from bottleneck.heads.head import Head
    from bottleneck.store import FeatureStore, RowChoice


def held_out(
    store: "FeatureStore", fraction: float, seed: int, targets: Sequence[str] = ()
) -> NDArray[np.bool_]:
    """Choose test rows among all labelled rows of a file, finished or not.

    Rows that are extracted between training and evaluation must not move others across the
    line, so the status of the rows plays no part.

    Parameters
    ----------
    store : FeatureStore
        The file.
    fraction : float
        Share of the labelled rows.
    seed : int
        Another seed gives other rows.
    targets : sequence of str
        Columns of targets; rows that have them all count as labelled.

    Returns
    -------
    ndarray of bool, shape (len(store),)
        True for test rows.
    """
    from bottleneck.heads import holdout
    from bottleneck.heads.selection.targets import strata
    from bottleneck.manifest import UNLABELLED
    from bottleneck.targets import missing_rows

    if targets:
        columns = store.manifest.targets.columns(targets)
        labelled = np.flatnonzero(~missing_rows(columns))
        codes = strata(columns[labelled], "labels" if columns.dtype == np.uint8 else "numbers")
    else:
        labelled = np.flatnonzero(store.labels != UNLABELLED)
        codes = store.labels[labelled].astype(np.int64)
    mask = np.zeros(len(store), bool)
    if len(labelled):
        keys = PickedStrings(store.keys, labelled)
        mask[labelled] = holdout(keys, codes, store.manifest.groups[labelled], fraction, seed)
    return mask


def mask_of_test(
    store: "FeatureStore", holdout: float, seed: int, targets: tuple[str, ...]
) -> NDArray[np.bool_] | None:
    """Mark the rows a head is judged by, finished or not, shape (len(store),).

    Parameters
    ----------
    store : FeatureStore
        The file.
    holdout : float
        Share to hold out where the file has no splits; 0 for none.
    seed : int
        Decides which.
    targets : tuple of str
        Columns of targets that are asked for, if any.

    Returns
    -------
    ndarray of bool or None
        None where there is no test.

    Raises
    ------
    HeadError
        For a hold-out of a file that has splits, or in which nothing can be held out.
    """
    if store.splits.any():
        if holdout:
            raise HeadError(
                f"{store.location} says itself which rows are for training and which for the test",
                hint="Leave --holdout out.",
            )
        return store.select("test")
    if not holdout:
        return None
    held = held_out(store, holdout, seed, targets)
    if not held.any():
        raise HeadError(
            f"expected rows of {store.location} to hold out, found one row (or group) of each "
            "class: a "
            "head learns from it",
            hint="Leave --holdout out, or give more images of a class.",
        )
    return held


def training_rows(
    store: "FeatureStore", test: NDArray[np.bool_] | None, targets: tuple[str, ...]
) -> "RowChoice":
    """Choose the rows to fit on: those of ``train``, or all but the test's without splits.

    Raises
    ------
    HeadError
        For splits without a row to train on.
    """
    if not store.splits.any():
        everything = store.choose(targets=targets)
        return everything if test is None else everything.take(~test[everything.rows])
    train = store.choose("train", targets)
    if not len(train.rows):
        raise HeadError(
            f"expected rows of the split 'train' with features and labels in {store.location}, "
            f"found none ({train.failed} failed, {train.unlabelled} unlabelled, "
            f"{train.pending} pending)",
        )
    return train


def require_rows(train: "RowChoice", store: "FeatureStore", excluded: int) -> None:
    """Refuse tables that leave no row to train on.

    Raises
    ------
    HeadError
    """
    if excluded and not len(train.rows):
        raise HeadError(
            f"expected training rows of {store.location}, found all {excluded} excluded"
        )


def judged_rows(
    store: "FeatureStore",
    test: NDArray[np.bool_] | None,
    targets: tuple[str, ...],
    excluded: NDArray[np.bool_],
) -> "RowChoice | None":
    """Choose the rows to judge by, as ``evaluate`` does; None without any.

    Parameters
    ----------
    store : FeatureStore
        The file.
    test : ndarray of bool or None
        Of :func:`mask_of_test`.
    targets : tuple of str
        Those the head has learnt: a row need not have the others.
    excluded : ndarray of bool
        Rows that take no part.
    """
    if test is None:
        return None
    rows = store.choose("test" if store.splits.any() else None, targets)
    rows = rows.take((test & ~excluded)[rows.rows])
    return rows if len(rows.rows) else None


def require_labels_to_judge_by(
    store: "FeatureStore", test: NDArray[np.bool_] | None, targets: tuple[str, ...], head: str
) -> None:
    """Refuse test rows with other labels than 0 and 1, before a fit that they would lose.

    Raises
    ------
    OptionError
        Naming the row.
    """
    columns = store.manifest.targets.columns(targets)
    if test is None or columns.dtype == np.uint8:  # flags
        return
    wrong = test[:, None] & ~np.isnan(columns) & ~np.isin(columns, (0, 1))
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise OptionError(
            f"expected labels of 0 and 1 for the head {head}, got {columns[row, column]:g} in "
            f"target {targets[column]!r} of {store.keys[row]!r}, a row of the test",
            hint="Numbers are predicted by --head ridge.",
        )


def note_twins(
    head: "Head", store: "FeatureStore", rows: NDArray[np.int64], progress: Progress
) -> None:
    """Say how many rows to judge by are images that the head was fitted on, under other names."""
    twins = 0 if head.trained_on is None else int(head.trained_on.among(store, rows).sum())
    if twins:
        progress.note(
            f"{twins} of {len(rows)} rows to judge by are images that the head was trained on under"
            " other names, whose scores say nothing of new images: `bottleneck compare` lists them"
        )
