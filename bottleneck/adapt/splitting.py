"""Which images fine-tuning learns from, which decide when to stop, and which judge."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bottleneck.adapt.training import Rows
from bottleneck.errors import HeadError, ManifestError
from bottleneck.manifest import SPLITS, UNLABELLED
from bottleneck.options import FinetuneOptions
from bottleneck.sources import Source

if TYPE_CHECKING:
    from bottleneck.heads.head import Head


@dataclass(frozen=True, eq=False)
class Split:
    """Which images are for what."""

    train: Rows
    fit: Rows
    validation: Rows
    test: Rows | None
    groups: NDArray[np.int64]
    seen: bool
    """Whether the head was trained on the validation rows."""


def split_of(head: "Head", source: Source, options: FinetuneOptions) -> Split:
    """Say what each image is for; see :mod:`bottleneck.adapt.finetune`."""
    from bottleneck.heads import holdout

    manifest = source.manifest
    codes = {name: code for code, name in enumerate(head.classes)}
    unknown = [
        manifest.classes[label]
        for label in np.unique(manifest.labels[manifest.labels != UNLABELLED])
        if manifest.classes[label] not in codes
    ]
    if unknown:
        raise HeadError(
            f"expected the classes of the head, {', '.join(head.classes)}, got also"
            f" {', '.join(unknown)} in {source.name}",
            hint="Train a head on all classes first.",
        )
    labelled = np.flatnonzero(manifest.labels != UNLABELLED).astype(np.int64)
    to_code = np.array([codes.get(name, -1) for name in manifest.classes], np.int64)
    y = to_code[manifest.labels[labelled]]
    groups = np.asarray(manifest.groups, np.int64)
    has_splits = bool(np.any(manifest.splits))

    def of(name: str) -> Rows:
        mask = np.asarray(manifest.splits)[labelled] == SPLITS.index(name)
        return Rows(labelled[mask], y[mask])

    everything = of("train") if has_splits else Rows(labelled, y)
    if not len(everything.rows):
        raise ManifestError(f"expected labelled images to train on in {source.name}, found none")
    test = of("test") if has_splits else Rows(labelled[:0], y[:0])
    given = of("val") if has_splits else Rows(labelled[:0], y[:0])
    if len(given.rows):
        return Split(everything, everything, given, test, groups, seen=False)
    absent = [name for name, code in codes.items() if code not in everything.y]
    if absent:  # the head is fitted anew on a part of them
        raise HeadError(
            f"expected training images of every class of the head, got none of"
            f" {', '.join(absent)} in {source.name}",
            hint="Give all the images, or train a head on these classes first.",
        )
    mask = holdout(
        [manifest.keys[int(row)] for row in everything.rows],
        everything.y,
        groups[everything.rows],
        options.validation,
        options.seed,
    )
    return Split(
        everything,
        Rows(everything.rows[~mask], everything.y[~mask]),
        Rows(everything.rows[mask], everything.y[mask]),
        test if len(test.rows) else None,
        groups,
        seen=True,
    )
