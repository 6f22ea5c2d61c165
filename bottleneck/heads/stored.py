"""Rows of a feature file, ours or another program's."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bottleneck.heads.matrix import ArrayRows, FileRows, MapShape
from bottleneck.recipe import Recipe

if TYPE_CHECKING:
    from bottleneck.store import FeatureStore


def rows_of_file(
    store: "FeatureStore", output: str, rows: NDArray[np.int64] | None = None
) -> ArrayRows | FileRows:
    """Read an output of a feature file; by default all its rows."""
    found: ArrayRows | FileRows
    if store.live:
        extent = store.layout.features[output]
        shape = (extent.n_rows, extent.row_shape[0])
        found = FileRows(store.path, extent.offset, shape, extent.dtype, rows)
    else:
        found = ArrayRows(store.features(output), rows)
    found.map_shape = shape_of_maps(store.recipe, output)
    return found


def shape_of_maps(recipe: Recipe, output: str) -> MapShape | None:
    """Return of which maps an output has the numbers; None for pooled features."""
    sides = recipe.execution.get("maps", {}).get(output)
    return None if sides is None else tuple(sides)
