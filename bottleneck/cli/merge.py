"""``bottleneck merge``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import print_json, print_lines, print_note
from bottleneck.options import MergeOptions


@click.command(name="merge")
@options_of(MergeOptions)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Join feature files of one recipe, as from several machines, into one.

    The inputs list the same images and have finished others of them; or, with --concatenate,
    they list different images. Stopped and run again, it resumes.
    """
    from bottleneck import api

    result = api.merge(**options)
    for note in result.notes:
        print_note(note)
    if as_json:
        print_json(result.to_json())
        return
    print_lines(
        f"{result.output}: {result.rows} images, {result.copied} rows copied",
        f"{result.already_done} were there before" if result.already_done else None,
        f"{result.failed} failed rows taken over" if result.failed else None,
        f"{result.damaged} rows left out: their checksums do not match" if result.damaged else None,
        f"{result.changed} rows were computed from different bytes; the first file's were kept"
        if result.changed
        else None,
        f"{result.pending} still to do" if result.pending else "complete",
    )
