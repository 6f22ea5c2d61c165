"""``bottleneck merge``."""

import click

from bottleneck.cli.options import json_option
from bottleneck.cli.show import print_json, print_lines


@click.command(name="merge")
@click.argument("inputs", metavar="A.h5 B.h5 ...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="ALL.h5", required=True, help="The joined file.")
@click.option(
    "--concatenate",
    "concatenate_lists",
    is_flag=True,
    help="Put different lists of images one behind the other.",
)
@json_option
def command(inputs: tuple[str, ...], output: str, concatenate_lists: bool, as_json: bool) -> None:
    """Join feature files of one recipe, as from several machines, into one.

    The inputs list the same images and have finished others of them; or, with --concatenate,
    they list different images. Stopped and run again, it goes on.
    """
    from bottleneck.store.merge import merge

    result = merge(inputs, output, concatenate_lists=concatenate_lists)
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
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
