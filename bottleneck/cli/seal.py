"""``bottleneck seal``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import print_json, print_lines
from bottleneck.options import SealOptions


@click.command(name="seal")
@options_of(SealOptions)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Write the checksum of every shard into a complete set, for `verify` to compare."""
    from bottleneck import api

    sealed = api.seal(**options).to_json()
    if as_json:
        print_json(sealed)
        return
    print_lines(
        f"{sealed['set']}: {sealed['shards']} shards sealed",
        f"{sealed['corrections']} of them are corrections" if sealed["corrections"] else None,
        f"{sealed['failed']} rows failed" if sealed["failed"] else None,
    )
