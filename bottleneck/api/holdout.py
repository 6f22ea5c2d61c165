"""Which rows training leaves for the test where a file has no splits of its own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bottleneck.store import FeatureStore


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
        keys = [store.keys[int(row)] for row in labelled]
        mask[labelled] = holdout(keys, codes, store.manifest.groups[labelled], fraction, seed)
    return mask
