"""``bottleneck neighbors``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_table
from bottleneck.options import NeighborsOptions


@click.command(name="neighbors")
@options_of(NeighborsOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Show the images of a feature file that are most similar to IMAGE.

    IMAGE goes through the recipe of the file, so its features mean the same as those stored.
    """
    from bottleneck import api

    found = api.neighbors(**options, progress=make_progress(quiet))
    if as_json:
        print_json([one.to_json() for one in found])
        return
    print_table(
        ["cosine", "image", "label", "split"],
        [(f"{one.similarity:.4f}", one.key, one.label, one.split) for one in found],
        right=["cosine"],
    )
