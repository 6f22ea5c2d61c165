"""New labels for the images of a feature file, from a table of corrections."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bottleneck.manifest import Manifest
from bottleneck.options import RelabelOptions
from bottleneck.sources.corrections import label_names, read_corrections
from bottleneck.store import FeatureStore
from bottleneck.store.merge import copy_with
from bottleneck.store.runs import append_run, read_runs, runs_path


@dataclass(frozen=True)
class Relabelled:
    """What became of the labels.

    Parameters
    ----------
    output : str
        The new file.
    rows : int
        Its rows.
    changed, unchanged : int
        Corrections that changed a label, and that say what was there before.
    changes : tuple of dict
        Label before and after (None for none), and how many images, the most frequent first.
    new_classes, lost_classes : tuple of str
        Classes that only the new file has, or only the old one.
    """

    output: str
    rows: int
    changed: int
    unchanged: int
    changes: tuple[dict[str, Any], ...]
    new_classes: tuple[str, ...]
    lost_classes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def apply_corrections(options: RelabelOptions) -> Relabelled:
    """Write a feature file with corrected labels; the features are the same, bit for bit.

    Raises
    ------
    ManifestError
        When the table names an image that the file does not have, or says more than labels.
    """
    store = FeatureStore.open(options.features)
    fixes = read_corrections(str(options.fixes), store.manifest, store.location, labels=True)
    before = label_names(store.manifest)
    after = [*before]
    for row, label in zip(fixes.rows.tolist(), fixes.labels, strict=True):
        after[row] = label
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    manifest = _with_labels(store.manifest, after)
    path = copy_with(store, manifest, options.output)
    result = Relabelled(
        output=str(options.output),
        rows=len(manifest),
        changed=len(changed),
        unchanged=len(fixes.rows) - len(changed),
        changes=tuple(
            {"before": old, "after": new, "images": count}
            for (old, new), count in Counter(changed).most_common()
        ),
        new_classes=tuple(sorted({*manifest.classes} - {*store.classes})),
        lost_classes=tuple(sorted({*store.classes} - {*manifest.classes})),
    )
    _keep_history(store.path, path, {"relabelled": len(changed), "fixes": str(options.fixes)})
    return result


def _with_labels(manifest: Manifest, labels: list[str | None]) -> Manifest:
    labelled = Manifest.build(manifest.keys, labels)
    return replace(manifest, labels=labelled.labels, classes=labelled.classes)


def _keep_history(old: Path, new: Path, change: Mapping[str, Any]) -> None:
    """Carry the log of runs on, and add what was done now."""
    if not read_runs(new) and runs_path(old).exists():
        runs_path(new).write_bytes(runs_path(old).read_bytes())
    append_run(new, {**change, "from": str(old)})
