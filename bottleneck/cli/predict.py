"""``bottleneck predict``."""

from typing import Any

import click

from bottleneck.cli.options import options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.errors import OptionError, TooManyFailuresError
from bottleneck.options import PredictOptions


@click.command(name="predict")
@options_of(PredictOptions)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Label images, by exactly the recipe of the features the head was trained on.

    Each image is a row of key, label, probability (where the head has any) and error. Of feature
    files nothing is computed again. With -o, a prediction that was stopped is resumed by the same
    command.
    """
    if as_json and options["format"] not in (None, "json"):
        raise OptionError(f"expected --json or --format {options['format']}, got both")
    if as_json:
        options["format"] = "json"
    from bottleneck import api

    options["output"] = options["output"] or "-"
    progress = make_progress(quiet, prints_rows=options["output"] == "-")
    result = api.predict(**options, progress=progress).to_json()
    if result["too_many_failed"]:
        raise TooManyFailuresError(
            f"{result['failed']} of {result['rows']} images failed, "
            f"more than --max-failed {options['max_failed']}",
            hint="The column `error` says why, image by image.",
        )
