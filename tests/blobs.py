"""Small feature files to compare, and images to show: classes around centres."""

import numpy as np
from fakes import fake_recipe, write_png

from bottleneck.manifest import Manifest
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore, Writer, create, writer_lock
from bottleneck.store.writer import FailedRow

CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox")


def write_blobs(
    folder,
    name,
    *,
    noise=1.0,
    n=240,
    classes=CLASSES,
    dims=None,
    split=True,
    groups=None,
    order=None,
    failed=(),
    labels=None,
    keys=None,
    digests=None,
    seed=0,
    backbone=None,
    dtype="float32",
):
    """Write a feature file of classes that lie around centres: more noise, more mistakes.

    The labels and the images are the same for every file; row i shows image i.
    """
    k = len(classes)
    keys = keys or [f"{classes[i % k]}/{i}.png" for i in range(n)]
    labels = labels or [classes[i % k] for i in range(n)]
    splits = ["test" if (i // k) % 4 == 0 else "train" for i in range(n)] if split else None
    order = np.arange(n) if order is None else order
    manifest = Manifest.build(
        [keys[i] for i in order],
        [labels[i] for i in order],
        [splits[i] for i in order] if splits else None,
        [groups[i] for i in order] if groups else None,
    )
    rng = np.random.default_rng(seed)
    dims = dims or {"avg": 12}
    values = {}
    for output, dim in dims.items():
        centres = np.random.default_rng(99).normal(size=(k, dim)) * 2
        truth = np.arange(n) % k
        values[output] = (centres[truth] + noise * rng.normal(size=(n, dim))).astype(dtype)
    if digests is None:
        digests = np.random.default_rng(5).integers(0, 256, (n, 16), np.uint8)
    path = folder / name
    recipe = fake_recipe(
        {"backbone": backbone or path.stem, "outputs": {o: {"layer": None} for o in dims}},
        {"dtype": dtype, "device": "cpu"},
    )
    create(path, manifest=manifest, recipe=recipe, dims=dims, dtype=dtype)
    place = {int(i): row for row, i in enumerate(order)}
    good = np.array([i for i in range(n) if i not in set(failed)])
    rows = np.array([place[int(i)] for i in good])
    by_row = np.argsort(rows)
    with writer_lock(path), Writer(path, FeatureStore.open(path).layout) as writer:
        writer.write(
            rows[by_row],
            {output: X[good[by_row]] for output, X in values.items()},
            digests[good[by_row]],
        )
        writer.fail(
            FailedRow(place[i], keys[i], RowStatus.TRUNCATED, "broken", digests[i]) for i in failed
        )
    return path


def write_pictures(folder, keys):
    """Write an image of noise for every key."""
    rng = np.random.default_rng(1)
    for key in keys:
        write_png(folder / key, rng.integers(0, 256, (20, 30, 3)))
    return folder
