"""``bottleneck edit``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import print_json, print_lines
from bottleneck.options import EditOptions

_MOST_NAMED = 8


@click.command(name="edit")
@options_of(EditOptions)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Make a backbone of another one: cut it off, take layers out, put layers in.

    Layers keep their weights where shapes allow it; new ones, and those that do not fit any more,
    are random and listed. The result is a backbone like any other: -b keras:NEW.keras, or by a name
    of your own after `bottleneck backbones add`.
    """
    from bottleneck import api

    result = api.edit(**options).to_json()
    if as_json:
        print_json(result)
        return
    lines = [f"{result['backbone']}: {result['kept']} layers keep their weights"]
    for what, names in (
        ("taken out", result["dropped"]),
        ("put in, random unless their file has weights", result["new"]),
        ("random, since their shapes changed", [one["layer"] for one in result["random"]]),
    ):
        if names:
            more = ", ..." if len(names) > _MOST_NAMED else ""
            lines.append(f"{what}: {len(names)} ({', '.join(names[:_MOST_NAMED])}{more})")
    print_lines(
        *lines,
        f"saved {result['output']}: {result['parameters']:,} parameters, {result['dim']} channels;"
        f" use it as -b keras:{result['output']}",
    )
