"""``bottleneck rescue``."""

import click

from bottleneck.cli.options import json_option
from bottleneck.cli.show import print_json, print_lines


@click.command(name="rescue")
@click.argument("broken", metavar="BROKEN.h5")
@click.option("-o", "--output", metavar="NEW.h5", required=True, help="The new file.")
@click.option(
    "--like",
    metavar="GOOD.h5",
    help="A sound file of the same images and options, if BROKEN does not tell them any more.",
)
@json_option
def command(broken: str, output: str, like: str | None, as_json: bool) -> None:
    """Save the sound rows of a feature file whose metadata was damaged.

    Only rows whose checksums match are taken; the others are pending in the new file, and
    `extract` computes them.
    """
    from bottleneck.store.rescue import rescue

    result = rescue(broken, output, like=like)
    if as_json:
        print_json(result.to_json())
    else:
        print_lines(
            f"{result.output}: {result.saved} of {result.rows} rows saved, "
            f"{result.failed} failed before, {result.pending} to be computed again"
        )
