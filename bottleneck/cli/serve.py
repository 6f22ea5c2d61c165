"""``bottleneck serve``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_lines
from bottleneck.options import ServeOptions


@click.command(name="serve")
@options_of(ServeOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Serve a deployed model over HTTP: POST an image to /predict, get its label as JSON.

    Requests that arrive together are computed together. /health says which model it is, /metrics
    counts in Prometheus's format. Ctrl-C ends it.
    """
    from bottleneck import api

    result = api.serve(**options, progress=make_progress(quiet)).to_json()
    if as_json:
        print_json(result)
        return
    told = ", ".join(f"{count} x {status}" for status, count in result["requests"].items())
    print_lines(
        f"{result['images']} images in {result['batches']} batches, {result['seconds']:.0f} s"
        + (f"; answers: {told}" if told else "")
    )
