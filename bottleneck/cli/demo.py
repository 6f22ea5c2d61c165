"""``bottleneck demo``."""

from pathlib import Path

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_lines, print_outcome, print_outcomes
from bottleneck.options import DemoOptions


@click.command(name="demo")
@options_of(DemoOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, folder: str) -> None:
    """Run the whole job on real images that come with the package.

    FOLDER (bottleneck-demo) gets a thousand images and the pipelines to copy from. Features, two
    heads and their judgement are made there; run it again, and what is done is skipped.
    """
    from bottleneck import api

    each = None if as_json else print_outcome
    outcomes = api.demo(folder, each=each, progress=make_progress(quiet))
    print_outcomes(outcomes, as_json=as_json)
    if not as_json:
        print_lines(
            f"more to copy from: {Path(folder, 'pipelines')}",
            "your own images: bottleneck init FOLDER",
        )
