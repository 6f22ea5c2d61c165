"""``bottleneck init``."""

import shlex
from typing import Any

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import print_json, print_lines, print_survey
from bottleneck.options import InitOptions


@click.command(name="init")
@options_of(InitOptions)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Look at your images, say what they are, and write a commented pipeline for them.

    Nothing is computed yet: `bottleneck run` runs the pipeline.
    """
    from bottleneck import api

    begun = api.init(**options)
    if as_json:
        print_json(begun.to_json())
        return
    print_survey(begun.survey)
    print_lines(
        f"{begun.output}: {', '.join(begun.steps)}",
        f"next: bottleneck run {shlex.quote(begun.output)}",
    )
