"""Which rows training leaves for the test where a file has no splits of its own."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bottleneck.store import FeatureStore


def held_out(store: "FeatureStore", fraction: float, seed: int) -> NDArray[np.bool_]:
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

    Returns
    -------
    ndarray of bool, shape (len(store),)
        True for test rows.
    """
    from bottleneck.heads import holdout
    from bottleneck.manifest import UNLABELLED

    labelled = np.flatnonzero(store.labels != UNLABELLED)
    keys = [store.keys[int(row)] for row in labelled]
    mask = np.zeros(len(store), bool)
    mask[labelled] = holdout(
        keys, store.labels[labelled], store.manifest.groups[labelled], fraction, seed
    )
    return mask
