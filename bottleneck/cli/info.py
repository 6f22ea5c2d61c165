"""``bottleneck info``."""

import zipfile
from pathlib import Path
from typing import Any

import click

from bottleneck.cli.options import json_option
from bottleneck.cli.show import params, print_json, print_lines, print_table


@click.command(name="info")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@json_option
def command(file: Path, as_json: bool) -> None:
    """Say what a feature file, a head or a weights file is, and how it was made.

    Of weights: format, writer, known release, layers and shapes, and which backbone they fit.
    """
    make, show = {
        "weights": (_weights_document, _print_weights),
        "head": (_head_document, _print_head),
        "features": (_store_document, _print_store),
    }[_kind(file)]
    document = make(file)
    if as_json:
        print_json(document)
    else:
        show(document)


def _kind(file: Path) -> str:
    """Tell the three kinds apart by their content."""
    from bottleneck.weights import is_certainly_weights

    if is_certainly_weights(file):
        return "weights"
    return "head" if file.is_file() and zipfile.is_zipfile(file) else "features"


def _weights_document(file: Path) -> dict[str, Any]:
    from bottleneck import backbones

    return backbones.inspect_weights(file).to_json()


def _print_weights(document: dict[str, Any]) -> None:
    release = document["release"]
    print_lines(
        f"{document['file']}: weights, {document['format']}, written by {document['writer']}",
        f"known release: {release['file']} of {release['label']}"
        if release
        else "no known release",
        f"{len(document['layers'])} layers, {document['parameters']:,} parameters,"
        f" fingerprint {document['sha256'][:16]}",
        *document["remarks"],
    )
    print_table(
        ["layer", "kind", "tensors", "parameters"],
        [
            (
                layer["name"],
                layer["kind"] or "-",
                ", ".join(
                    f"{role} {'x'.join(map(str, shape))}" for role, shape in layer["shapes"].items()
                ),
                f"{layer['parameters']:,}",
            )
            for layer in document["layers"]
        ],
        right=["parameters"],
    )
    for fit in document["fits"]:
        left = ", ".join(fit["left_over"])
        print_lines(
            f"fits -b {fit['backbone']}"
            + (f"; left over: {left}" if left else ", nothing left over")
        )
    if not document["fits"]:
        print_lines("fits no backbone of the catalogue that was tried")


def _store_document(file: Path) -> dict[str, Any]:
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


def _head_document(file: Path) -> dict[str, Any]:
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


def _print_store(document: dict[str, Any]) -> None:
    outputs = ", ".join(f"{name} ({dim})" for name, dim in document["outputs"].items())
    status = ", ".join(f"{count} {name}" for name, count in document["status"].items())
    splits = ", ".join(f"{count} {name}" for name, count in document["splits"].items())
    classes = document["classes"]
    print_lines(
        f"{document['file']}: features, {document['bytes'] / 1e6:.1f} MB, by {document['creator']}",
        f"rows      {document['rows']}: {status}",
        f"outputs   {outputs}, {document['dtype']}",
        f"labels    {document['labelled']} rows, {len(classes)} classes: {_some(classes)}"
        if classes
        else "labels    none",
        f"splits    {splits}" if splits else None,
        f"groups    {document['groups']}" if document["groups"] else None,
        f"targets   {_some(document['targets'])}" if document["targets"] else None,
        *map(_run_line, document["runs"]),
    )
    _print_recipe(document)


def _run_line(run: dict[str, Any]) -> str:
    machine = run.get("machine", {})
    return (
        f"run       {run.get('time', '?')}: {run.get('images', '?')} images, "
        f"{run.get('images_per_second', '?')} images/s on {run.get('device', '?')}, "
        f"{machine.get('processor', '?')}, {machine.get('cores', '?')} cores"
    )


def _print_head(document: dict[str, Any]) -> None:
    report = document["report"]
    print_lines(
        f"{document['file']}: head {document['head']}, {params(report['best'])}",
        f"input     {document['feature']} ({document['features']})",
        f"{document['task']:9s} {len(document['classes'])}: {_some(document['classes'])}",
        f"trained   on {report['rows']} rows, {report['folds']} folds, "
        f"left out: {params(report['left_out'])}",
    )
    _print_recipe(document)


def _print_recipe(document: dict[str, Any]) -> None:
    print_lines(f"identity  {document['identity_sha256']}")
    print_table(
        ["recipe", "", "value"],
        [
            (part, name, value)
            for part in ("identity", "execution")
            for name, value in _flat(document["recipe"][part])
        ],
    )


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", "-" if value is None else str(value)))
    return rows


def _some(names: list[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names) - most} more)"
