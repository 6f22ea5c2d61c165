"""Make the small file of the current format version: python tests/store/versions/make.py.

Files of earlier versions are never made again: they are what readers of today must still read.
"""

from pathlib import Path

import numpy as np

from bottleneck.manifest import Manifest
from bottleneck.recipe import Recipe
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer, create, writer_lock
from bottleneck.store.format import FORMAT_VERSION

ROWS = 6
IDENTITY = {"backbone": "fake", "outputs": {"avg": {"layer": "top", "pool": "avg"}}, "size": 8}
EXECUTION = {"runtime": "numpy", "precision": "float32", "dtype": "float16"}


def features():
    """Return what the file holds: row i is i, i + 1/2, i + 1, ..."""
    return (np.arange(ROWS)[:, None] + np.arange(5) / 2).astype("<f2")


def digests():
    """Return what the file holds: row i is sixteen times i + 1."""
    return np.repeat(np.arange(1, ROWS + 1, dtype="u1")[:, None], 16, axis=1)


def main():
    path = Path(__file__).with_name(f"v{FORMAT_VERSION}.h5")
    create(
        path,
        manifest=Manifest.build(
            ["a/1.png", "a/2.png", "a/10.png", "b/ü.png", "b/x.png", "c.png"],
            ["a", "a", "a", "b", "b", None],
            ["train", "train", "test", "train", "test", ""],
            ["g1", "g1", None, "g2", None, None],
        ),
        recipe=Recipe(IDENTITY, EXECUTION),
        dims={"avg": 5},
        dtype="float16",
        preallocate=False,
    )
    with writer_lock(path), Writer(path, FeatureStore.open(path).layout) as writer:
        rows = np.array([0, 1, 3])
        writer.write(rows, {"avg": features()[rows]}, digests()[rows])
        writer.fail([FailedRow(2, "a/10.png", RowStatus.TRUNCATED, "cut", digests()[2])])


if __name__ == "__main__":
    main()
