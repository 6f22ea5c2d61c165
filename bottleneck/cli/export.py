"""``bottleneck export``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_lines
from bottleneck.options import ExportOptions


@click.command(name="export")
@options_of(ExportOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Hand finished features on: to other programs, or as a smaller feature file; or a head.

    FILE.npy comes with FILE.csv (path, label, split, group of each row), FILE.parquet holds
    both, FILE.usearch is an index for approximate search by cosine with the same table beside
    it. Rows that are not finished stay behind. --to fiftyone, cleanlab and tensorboard write a
    folder for that program, lightly a CSV table, atlas a Parquet table: docs/compare.md.

    A head becomes an ONNX model, FILE.onnx, of features; with --deploy a model of pixels, that
    needs nothing of this package.
    """
    from bottleneck import api

    result = api.export(**options, progress=make_progress(quiet))
    if as_json:
        print_json(result.to_json())
    elif isinstance(result, api.HeadExport):
        print_lines(
            f"{result.output}: {result.head}, {result.features} features, {result.classes} classes"
        )
    elif options["deploy"]:
        told = result.to_json()
        print_lines(
            f"{told['output']}: {told['backbone']} and {told['head']} as one model "
            f"({told['format']}, {told['precision']}), {told['classes']} classes, "
            f"{told['bytes'] / 1e6:.1f} MB",
            f"checked on {told['checked']} images: {told['same_labels']} of the labels of predict, "
            f"largest difference {told['largest_difference']:.1e}, cosine {told['cosine']:.4f}",
        )
    else:
        told = result.to_json()
        before, after = told["bytes_before"] / 1e6, told["bytes_after"] / 1e6
        ratio = f" ({before / after:.2f}x)" if options["compress"] else ""
        print_lines(
            f"{told['output']}: {told['rows']} rows, {after:.1f} MB instead of {before:.1f} MB"
            f"{ratio}"
        )
