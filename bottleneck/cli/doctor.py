"""``bottleneck doctor``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import print_json, print_table
from bottleneck.options import DoctorOptions


@click.command(name="doctor")
@options_of(DoctorOptions)
@json_option
def command(as_json: bool, **options: Any) -> int:
    """Check this installation: versions, devices, clashes, and one tiny real run."""
    from bottleneck import api

    findings = api.doctor(**options)
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        print_table(["", "what", "found"], [(f.state, f.what, f.detail) for f in findings])
    return int(any(finding.state == "problem" for finding in findings))
