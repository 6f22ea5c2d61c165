"""What a feature file is to a notebook: columns for tables, a few lines of HTML."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError
from bottleneck.frames import html_table, numbered
from bottleneck.location import readable
from bottleneck.manifest import SPLITS, UNLABELLED
from bottleneck.targets import MISSING

if TYPE_CHECKING:
    from bottleneck.store.reader import FeatureStore

_MOST_CLASSES = 20


def columns_of_store(
    store: "FeatureStore", split: str | None, output: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Return the finished rows of a split as columns, and their keys.

    Columns are ``label``, ``split`` and ``group``, where the file has any, its targets, and the
    features of an output (of the only one, or of all of them), bit for bit.

    Raises
    ------
    OptionError
        For a split or output that there is not, and where a target is named like another column.
    """
    outputs = [*store.outputs] if output is None else [store.output_name(output)]
    rows = np.flatnonzero(store.select(split) & store.done)
    manifest = store.manifest
    columns: dict[str, Any] = {}
    if store.classes:
        columns["label"] = _named(store.classes, manifest.labels[rows])
    if (store.splits > 0).any():
        columns["split"] = [SPLITS[code] or None for code in store.splits[rows].tolist()]
    if len(manifest.group_names):
        columns["group"] = _named(manifest.group_names, manifest.groups[rows])
    taken = {"key", *(one for name in outputs for one in numbered(name, store.outputs[name]))}
    for name in manifest.targets.names:
        if name in columns or name in taken:
            raise OptionError(f"expected another name for the target {name!r} in a table")
        values = manifest.targets.columns([name])[rows, 0]
        flags = values.dtype == np.uint8  # yes or no, or not known
        columns[name] = [None if v == MISSING else v for v in values.tolist()] if flags else values
    for name in outputs:
        columns[name] = np.asarray(store.features(name)[rows])
    return columns, [readable(store.keys[row]) for row in rows.tolist()]


def _named(names: Any, codes: NDArray[np.integer[Any]]) -> list[str | None]:
    return [readable(names[code]) if code != UNLABELLED else None for code in codes.tolist()]


def html_of_store(store: "FeatureStore") -> str:
    """Say what a file is: its rows by status, outputs, splits, and the images of each class."""
    counts = ", ".join(f"{count} {status.label}" for status, count in store.counts().items())
    splits = np.bincount(store.splits, minlength=len(SPLITS)).tolist()
    labels = store.labels[store.labels != UNLABELLED]
    per_class = np.bincount(labels, minlength=len(store.classes)).tolist()
    rows = [*zip(map(readable, store.classes), per_class, strict=True)]
    if len(rows) > _MOST_CLASSES:
        more = len(rows) - _MOST_CLASSES
        rows = [*rows[:_MOST_CLASSES], (f"and {more} more", sum(per_class[_MOST_CLASSES:]))]
    return html_table(
        f"Features {store.path.name}",
        {
            "rows": f"{len(store)}: {counts}",
            "outputs": ", ".join(f"{name} ({dim})" for name, dim in store.outputs.items()),
            "type": store.dtype.name,
            "backbone": store.recipe.backbone,
            "splits": ", ".join(
                f"{count} {name}"
                for name, count in zip(SPLITS, splits, strict=True)
                if name and count
            )
            or None,
            "targets": ", ".join(store.manifest.targets.names) or None,
            "recipe": store.identity_sha256[:16] or None,
        },
        rows,
        ("class", "images"),
    )
