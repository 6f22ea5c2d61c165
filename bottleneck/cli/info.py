"""``bottleneck info``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import params, print_json, print_lines, print_table
from bottleneck.options import InfoOptions


@click.command(name="info")
@options_of(InfoOptions)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Say what a feature file, a head or a weights file is, and how it was made.

    Of weights: format, writer, known release, layers and shapes, and which backbone they fit.
    """
    from bottleneck import api

    found = api.info(**options)
    if as_json:
        print_json(found.to_json())
        return
    show = {"weights": _print_weights, "head": _print_head, "features": _print_store}
    show[found.kind](found.to_json())


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


def _print_store(document: dict[str, Any]) -> None:
    outputs = ", ".join(f"{name} ({dim})" for name, dim in document["outputs"].items())
    status = ", ".join(f"{count} {name}" for name, count in document["status"].items())
    splits = ", ".join(f"{count} {name}" for name, count in document["splits"].items())
    classes = document["classes"]
    print_lines(
        f"{document['file']}: features, {document['bytes'] / 1e6:.1f} MB, by {document['creator']}",
        f"rows      {document['rows']}: {status}",
        _shards_line(document["shards"]) if "shards" in document else None,
        f"outputs   {outputs}, {document['dtype']}",
        f"labels    {document['labelled']} rows, {len(classes)} classes: "
        + _some([f"{name} ({count})" for name, count in document["per_class"].items()])
        if classes
        else "labels    none",
        f"splits    {splits}" if splits else None,
        f"groups    {document['groups']}" if document["groups"] else None,
        f"targets   {_some(document['targets'])}" if document["targets"] else None,
        f"outdated  {document['outdated']} rows are of formats of which some files are decoded to"
        " other values today: extract again with --reuse"
        if document["outdated"]
        else None,
        *map(_run_line, document["runs"]),
    )
    _print_recipe(document)


def _shards_line(shards: dict[str, Any]) -> str:
    corrected = f", {shards['corrected']} of them corrections" if shards["corrected"] else ""
    return (
        f"shards    {shards['published']} of {shards['all']}, of {shards['rows']} rows{corrected}"
        + (", sealed" if shards["sealed"] else "")
    )


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
