"""``bottleneck rescue``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import print_json, print_lines
from bottleneck.options import RescueOptions


@click.command(name="rescue")
@options_of(RescueOptions)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Save the sound rows of a feature file whose metadata was damaged.

    Only rows whose checksums match are taken; the others are pending in the new file, and
    `extract` computes them.
    """
    from bottleneck import api

    result = api.rescue(**options)
    if as_json:
        print_json(result.to_json())
    else:
        print_lines(
            f"{result.output}: {result.saved} of {result.rows} rows saved, "
            f"{result.failed} failed before, {result.pending} to be computed again"
        )
