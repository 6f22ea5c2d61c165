"""``bottleneck plan``."""

import shlex
from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_lines
from bottleneck.options import PlanOptions


@click.command(name="plan")
@options_of(PlanOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """List images for many machines: a set, whose shards `extract --set` fills.

    The set holds the list in parts, and how features are made; neither changes any more. It may
    lie in a folder that all machines see, or in an object store.
    """
    from bottleneck import api

    planned = api.plan(**options, progress=make_progress(quiet)).to_json()
    if as_json:
        print_json(planned)
        return
    dims = " + ".join(f"{name} ({dim})" for name, dim in planned["outputs"].items())
    print_lines(
        f"{planned['set']}: {planned['rows']} images, {planned['classes']} classes, "
        f"{planned['backbone']} {dims}",
        f"{planned['shards']} shards of {planned['rows_per_shard']} rows; on every machine: "
        f"bottleneck extract --set {shlex.quote(planned['set'])}",
    )
