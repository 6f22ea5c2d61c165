"""The manifest of a file that holds several views of every image."""

from dataclasses import replace
from itertools import chain

import numpy as np

from bottleneck.manifest import SPLITS, Manifest


def viewed(manifest: Manifest, views: int) -> Manifest:
    """Give every image a row per view: ``a.jpg#0``, ``a.jpg#1``, ...

    The views of an image share its label, targets and split, and its group; an image without one
    becomes a group of its own, so that folds and holdouts keep its views together.

    Parameters
    ----------
    manifest : Manifest
        A row per image.
    views : int
        Views per image; 1 changes nothing.
    """
    if views == 1:
        return manifest
    rows = list(chain.from_iterable([row] * views for row in range(len(manifest))))
    listed = Manifest.build(
        [f"{key}#{view}" for key in manifest.keys for view in range(views)],
        (_label(manifest, row) for row in rows),
        (SPLITS[manifest.splits[row]] for row in rows),
        (_group(manifest, row) for row in rows),
    )
    return replace(listed, targets=manifest.targets.take(np.array(rows)))


def _label(manifest: Manifest, row: int) -> str | None:
    code = int(manifest.labels[row])
    return manifest.classes[code] if code >= 0 else None


def _group(manifest: Manifest, row: int) -> str:
    code = int(manifest.groups[row])
    return manifest.group_names[code] if code >= 0 else manifest.keys[row]
