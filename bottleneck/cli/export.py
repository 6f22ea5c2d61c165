"""``bottleneck export``."""

from typing import Literal

import click

from bottleneck.cli.options import json_option
from bottleneck.cli.show import print_json, print_lines
from bottleneck.errors import OptionError


@click.command(name="export")
@click.argument("features", metavar="FEATURES.h5")
@click.option("-o", "--output", metavar="FILE", required=True, help="Where to.")
@click.option(
    "--compress",
    type=click.Choice(["gzip", "lzf"]),
    help="Make a compressed feature file: it opens like the original but cannot be continued.",
)
@click.option(
    "--to",
    type=click.Choice(["npy", "parquet", "usearch"]),
    help="For other programs; by default what the ending of FILE says.",
)
@click.option("--feature", metavar="NAME", help="Output of the file, where it has several.")
@json_option
def command(
    *,
    features: str,
    output: str,
    compress: Literal["gzip", "lzf"] | None,
    to: Literal["npy", "parquet", "usearch"] | None,
    feature: str | None,
    as_json: bool,
) -> None:
    """Hand finished features on: to other programs, or as a smaller feature file.

    FILE.npy comes with FILE.csv (path, label, split, group of each row), FILE.parquet holds
    both, FILE.usearch is an index for approximate search by cosine with the same table beside
    it. Rows that are not finished stay behind.
    """
    from bottleneck.store.export import export_compressed
    from bottleneck.store.export_arrays import export_arrays

    if compress and (to or feature):
        raise OptionError("expected --compress, or --to and --feature, got both")
    result = (
        export_compressed(features, output, compression=compress)
        if compress
        else export_arrays(features, output, to=to, feature=feature)
    )
    if as_json:
        print_json(result.to_json())
        return
    before, after = result.bytes_before / 1e6, result.bytes_after / 1e6
    ratio = f" ({before / after:.2f}x)" if compress else ""
    print_lines(
        f"{result.output}: {result.rows} rows, {after:.1f} MB instead of {before:.1f} MB{ratio}"
    )
