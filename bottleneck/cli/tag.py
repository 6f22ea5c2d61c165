"""``bottleneck tag``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_table
from bottleneck.errors import TooManyFailuresError
from bottleneck.options import TagOptions


@click.command(name="tag")
@options_of(TagOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Say which tags a network has for songs, by its own top: no head is trained.

    Sources are those of `extract`. A song that cannot be decoded has a reason instead.
    """
    from bottleneck import api

    found = api.tag(**options, progress=make_progress(quiet))
    if as_json:
        print_json(found.to_json())
    else:
        print_table(
            ["song", "tags"],
            [
                (
                    one.key,
                    one.error or ", ".join(f"{tag} {part:.3f}" for tag, part in one.tags.items()),
                )
                for one in found.items
            ],
        )
    if found.too_many_failed:
        raise TooManyFailuresError(
            f"{found.failed} of {len(found.items)} songs failed, more than --max-failed "
            f"{options['max_failed']}",
            hint="The column of the tags says why, song by song.",
        )
