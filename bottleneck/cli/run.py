"""``bottleneck run``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_outcome, print_outcomes
from bottleneck.options import RunOptions


@click.command(name="run")
@options_of(RunOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Run the steps of a pipeline file in order; skip those that are up to date."""
    from bottleneck import api

    each = None if as_json else print_outcome
    outcomes = api.run(**options, each=each, progress=make_progress(quiet))
    print_outcomes(outcomes, as_json=as_json)
