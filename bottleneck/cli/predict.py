"""``bottleneck predict``."""

from functools import partial
from typing import Any

import click

from bottleneck.cli.options import quiet_option, step_option
from bottleneck.cli.progress import make_progress
from bottleneck.errors import OptionError, TooManyFailuresError
from bottleneck.steps.predict import PredictStep

_option = partial(step_option, PredictStep)


@click.command(name="predict")
@click.argument("head", metavar="HEAD")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@_option("output", "-o", "--output", metavar="FILE", help="Where rows go; standard output.")
@_option("format", help="By default what the output's ending says, else csv.")
@_option("weights", metavar="PATH", help="Where the backbone's weights are now.")
@_option("batch_size", metavar="N", help="Images per forward pass.")
@_option("workers", metavar="N", help="Threads that decode; one per core.")
@_option("runtime", help="How the network is compiled.")
@_option("max_failed", metavar="N|P%", help="More failed images than this exit with 3.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Label images, by exactly the recipe of the features the head was trained on.

    Each image is a row of key, label, probability (where the head has any) and error.
    """
    if as_json and options["format"] not in (None, "json"):
        raise OptionError(f"expected --json or --format {options['format']}, got both")
    if as_json:
        options["format"] = "json"
    result = PredictStep(**options).run(make_progress(quiet))
    if result["too_many_failed"]:
        raise TooManyFailuresError(
            f"{result['failed']} of {result['rows']} images failed, "
            f"more than --max-failed {options['max_failed']}",
            hint="The column `error` says why, image by image.",
        )
