"""Rows of a feature file, ours or another program's."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.matrix import ArrayRows, FileRows

if TYPE_CHECKING:
    from bottleneck.store import FeatureStore


def rows_of_file(
    store: "FeatureStore", output: str, rows: NDArray[np.int64] | None = None
) -> ArrayRows | FileRows:
    """Read an output of a feature file; by default all its rows."""
    if not store.live:
        return ArrayRows(store.features(output), rows)
    extent = store.layout.features[output]
    shape = (extent.n_rows, extent.row_shape[0])
    found = FileRows(store.path, extent.offset, shape, extent.dtype, rows)
    sides = store.recipe.execution.get("maps", {}).get(output)
    found.map_shape = None if sides is None else tuple(sides)
    return found
