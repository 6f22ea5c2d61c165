"""The images of a store that look most like a new one, to its backbone."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError, SourceError, StoreError
from bottleneck.extraction import embed, rebuild_embedder
from bottleneck.location import readable
from bottleneck.manifest import SPLITS
from bottleneck.sources import single_files
from bottleneck.store import FeatureStore

_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Neighbor:
    """One image of the store.

    Parameters
    ----------
    key : str
        Its key.
    label, split : str or None
        Where it has any.
    similarity : float
        Cosine of the features, 1 for the same direction.
    """

    key: str
    label: str | None
    split: str | None
    similarity: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "key": readable(self.key)}


def neighbors(
    features: str | Path,
    image: str | Path,
    *,
    count: int = 10,
    feature: str | None = None,
    weights: str | None = None,
) -> list[Neighbor]:
    """Embed an image by a store's own recipe and find the most similar ones in it.

    The search is exact and reads the file once, block by block.

    Parameters
    ----------
    features : str or Path
        A feature file of ours.
    image : str or Path
        An image file.
    count : int
        How many.
    feature : str, optional
        Which output; may be left out where there is only one.
    weights : str, optional
        Where the backbone's weights are now, if not where extraction found them.

    Raises
    ------
    SourceError
        When the image cannot be read.
    StoreError
        When no row is finished.
    RecipeMismatchError
        When this installation would compute other features.
    """
    if count < 1:
        raise OptionError(f"expected one or more neighbours, got {count}")
    store = FeatureStore.open(features)
    name = store.output_name(feature)
    if not store.done.any():
        raise StoreError(f"expected finished rows in {features}, found none")
    source = single_files([str(image)])
    embedder = rebuild_embedder(store.recipe, owner=str(store.path), weights=weights)
    (batch,) = embed(embedder, source, [np.zeros(1, np.int64)], workers=1)
    if batch.failures:
        failure = batch.failures[0]
        raise SourceError(f"cannot use {image}: {failure.status.label}, {failure.message}")
    return search(store, name, batch.features[name][0], count)


def search(
    store: FeatureStore, output: str, query: NDArray[np.floating], count: int
) -> list[Neighbor]:
    """Find the rows most similar to a feature, the nearest first; of equal ones the first.

    Parameters
    ----------
    query : ndarray of float32, shape (dim,)
        A feature of the store's recipe.
    """
    wanted = query.astype(np.float64)
    wanted /= np.linalg.norm(wanted) or 1.0
    best: list[tuple[float, int]] = []
    for rows, X in store.iter_batches(_BLOCK_ROWS, output):
        block = X.astype(np.float64)
        length = np.linalg.norm(block, axis=1)
        cosine = (block @ wanted) / np.where(length > 0, length, 1)
        near = np.argsort(-cosine, kind="stable")[:count]
        best += zip(cosine[near].tolist(), rows[near].tolist(), strict=True)
        best = sorted(best, key=lambda one: (-one[0], one[1]))[:count]
    manifest = store.manifest
    return [
        Neighbor(
            key=manifest.keys[row],
            label=manifest.classes[code] if (code := int(manifest.labels[row])) >= 0 else None,
            split=SPLITS[int(manifest.splits[row])] or None,
            similarity=cosine,
        )
        for cosine, row in best
    ]
