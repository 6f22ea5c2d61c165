"""``bottleneck verify``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import print_json, print_lines
from bottleneck.options import VerifyOptions

_SHOWN = 10


@click.command(name="verify")
@options_of(VerifyOptions)
@json_option
def command(as_json: bool, **options: Any) -> int:
    """Check a feature file: layout, fingerprints, and the checksum of every finished row.

    Exits with 0 if the file is sound (with --fix: if all that was wrong could be mended).
    """
    from bottleneck import api

    file = options["file"]
    report = api.verify(**options)
    if as_json:
        print_json(report.to_json())
        return 0 if report.ok else 1
    shown = ", ".join(report.bad_keys[:_SHOWN])
    more = len(report.bad_rows) - _SHOWN
    print_lines(
        f"{file}: {report.checked} finished rows of {report.rows} checked",
        f"{len(report.bad_rows)} bad rows: {shown}{f', and {more} more' if more > 0 else ''}"
        if report.bad_rows
        else None,
        *report.problems,
        "the bad rows are pending now: run extract again"
        if report.fixed and report.bad_rows
        else None,
        "run verify with --fix to have them computed again"
        if report.bad_rows and not report.fixed
        else None,
        "sound" if report.ok and not report.bad_rows else None,
    )
    return 0 if report.ok else 1
