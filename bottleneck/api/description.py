"""What a file is: features, a head or weights, and how it was made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bottleneck.options import InfoOptions
from bottleneck.writing import kind_of


@dataclass(frozen=True)
class Description:
    """What a file is.

    Parameters
    ----------
    kind : {"features", "head", "weights"}
        What it holds.
    document : mapping
        Everything it says of itself, as JSON values.
    """

    kind: Literal["features", "head", "weights"]
    document: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return dict(self.document)

    def __repr__(self) -> str:
        return f"<Description of {self.document['file']}: {self.kind}>"


def describe(options: InfoOptions) -> Description:
    """Describe a file; see :func:`bottleneck.info`."""
    from bottleneck.weights import is_certainly_weights

    file = Path(options.file)
    if is_certainly_weights(file):
        from bottleneck import backbones

        return Description("weights", backbones.inspect_weights(file).to_json())
    if file.is_file() and kind_of(file) == "head":
        return Description("head", _head(file))
    return Description("features", _features(file))


def _features(file: Path) -> dict[str, Any]:
    from bottleneck.manifest import SPLITS, UNLABELLED
    from bottleneck.store import FeatureStore
    from bottleneck.store.runs import read_runs

    store = FeatureStore.open(file)
    manifest = store.manifest
    return {
        "kind": "features",
        "file": str(file),
        "creator": store.creator,
        "rows": len(store),
        "status": {status.label: count for status, count in store.counts().items()},
        "complete": store.complete,
        "outputs": store.outputs,
        "dtype": store.dtype.name,
        "bytes": file.stat().st_size,
        "classes": list(store.classes),
        "labelled": int((manifest.labels != UNLABELLED).sum()),
        "groups": len(manifest.group_names),
        "targets": list(manifest.targets.names),
        "splits": {
            name: int((manifest.splits == code).sum())
            for code, name in enumerate(SPLITS)
            if name and (manifest.splits == code).any()
        },
        "recipe": {"identity": store.recipe.identity, "execution": store.recipe.execution},
        "identity_sha256": store.identity_sha256,
        "manifest_sha256": store.manifest_sha256,
        "runs": read_runs(file),
    }


def _head(file: Path) -> dict[str, Any]:
    from bottleneck.heads import Head

    head = Head.load(file)
    return {
        "kind": "head",
        "file": str(file),
        "head": head.kind,
        "feature": head.output,
        "features": head.dim,
        "task": head.task,
        "classes": list(head.classes),
        "report": dict(head.report),
        "recipe": {"identity": head.recipe.identity, "execution": head.recipe.execution},
        "identity_sha256": head.recipe.identity_sha256,
    }
