"""``bottleneck export``."""

from typing import Literal

import click

from bottleneck.cli.options import json_option
from bottleneck.cli.show import print_json, print_lines
from bottleneck.errors import OptionError


@click.command(name="export")
@click.argument("features", metavar="FEATURES.h5")
@click.option("-o", "--output", metavar="FILE", required=True, help="The copy.")
@click.option(
    "--compress",
    type=click.Choice(["gzip", "lzf"]),
    help="Make a compressed feature file: it opens like the original but cannot be continued.",
)
@json_option
def command(
    features: str, output: str, compress: Literal["gzip", "lzf"] | None, as_json: bool
) -> None:
    """Hand finished features on as a smaller file."""
    from bottleneck.store.export import export_compressed

    if compress is None:
        raise OptionError("expected what to export to", hint="Say --compress gzip.")
    result = export_compressed(features, output, compression=compress)
    if as_json:
        print_json(result.to_json())
        return
    before, after = result.bytes_before / 1e6, result.bytes_after / 1e6
    print_lines(
        f"{result.output}: {result.rows} rows, {after:.1f} MB instead of {before:.1f} MB "
        f"({before / after:.2f}x)"
    )
