"""``bottleneck view``."""

import sys
import webbrowser
from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_lines
from bottleneck.options import ViewOptions


@click.command(name="view")
@options_of(ViewOptions)
@click.option("--port", type=int, default=0, show_default=True, help="0 takes one that is free.")
@click.option(
    "--browser/--no-browser", default=True, help="Open it in the browser of this desktop."
)
@json_option
@quiet_option
def command(port: int, browser: bool, as_json: bool, quiet: bool, **options: Any) -> None:
    """Look at a feature file before anything is trained.

    The page of `compare` without heads: the images by class, split and key, a map of them,
    duplicates and leaks, and what looks alike; labels can be corrected there. It is served to
    this machine alone until Ctrl-C; with -o it is written as one file instead.
    """
    from bottleneck import api

    view = api.view(**options, progress=make_progress(quiet))
    document = view.to_json()
    if document["output"]:
        if as_json:
            print_json(document)
        else:
            print_lines(f"wrote {document['output']}, {document['page']['bytes'] / 1e6:.1f} MB")
        return
    with view.serve(port) as server:
        if as_json:
            print_json({**document, "url": server.url})
        else:
            print_lines(
                f"{view.document['data']['compared']} images at {server.url}", "Ctrl-C ends it"
            )
        if server.note and not quiet:
            click.echo(server.note, err=True)
        sys.stdout.flush()
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
