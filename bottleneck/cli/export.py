"""``bottleneck export``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import print_json, print_lines
from bottleneck.options import ExportOptions


@click.command(name="export")
@options_of(ExportOptions)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Hand finished features on: to other programs, or as a smaller feature file; or a head.

    FILE.npy comes with FILE.csv (path, label, split, group of each row), FILE.parquet holds
    both, FILE.usearch is an index for approximate search by cosine with the same table beside
    it. Rows that are not finished stay behind. A head becomes an ONNX model, FILE.onnx.
    """
    from bottleneck import api

    result = api.export(**options)
    if as_json:
        print_json(result.to_json())
    elif isinstance(result, api.HeadExport):
        print_lines(
            f"{result.output}: {result.head}, {result.features} features, {result.classes} classes"
        )
    else:
        before, after = result.bytes_before / 1e6, result.bytes_after / 1e6
        ratio = f" ({before / after:.2f}x)" if options["compress"] else ""
        print_lines(
            f"{result.output}: {result.rows} rows, {after:.1f} MB instead of {before:.1f} MB{ratio}"
        )
