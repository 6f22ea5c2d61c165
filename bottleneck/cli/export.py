"""``bottleneck export``."""

from pathlib import Path
from typing import Literal

import click

from bottleneck.cli.options import json_option
from bottleneck.cli.show import print_json, print_lines
from bottleneck.errors import OptionError


@click.command(name="export")
@click.argument("source", metavar="FEATURES.h5|HEAD")
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
    source: str,
    output: str,
    compress: Literal["gzip", "lzf"] | None,
    to: Literal["npy", "parquet", "usearch"] | None,
    feature: str | None,
    as_json: bool,
) -> None:
    """Hand finished features on: to other programs, or as a smaller feature file; or a head.

    FILE.npy comes with FILE.csv (path, label, split, group of each row), FILE.parquet holds
    both, FILE.usearch is an index for approximate search by cosine with the same table beside
    it. Rows that are not finished stay behind. A head becomes an ONNX model, FILE.onnx.
    """
    from bottleneck.store.export import export_compressed
    from bottleneck.store.export_arrays import export_arrays
    from bottleneck.writing import kind_of

    if Path(source).is_file() and kind_of(Path(source)) == "head":
        if compress or to or feature:
            raise OptionError("expected no --compress, --to or --feature for a head")
        _export_head(source, output, as_json)
        return
    if compress and (to or feature):
        raise OptionError("expected --compress, or --to and --feature, got both")
    result = (
        export_compressed(source, output, compression=compress)
        if compress
        else export_arrays(source, output, to=to, feature=feature)
    )
    if as_json:
        print_json(result.to_json())
        return
    before, after = result.bytes_before / 1e6, result.bytes_after / 1e6
    ratio = f" ({before / after:.2f}x)" if compress else ""
    print_lines(
        f"{result.output}: {result.rows} rows, {after:.1f} MB instead of {before:.1f} MB{ratio}"
    )


def _export_head(source: str, output: str, as_json: bool) -> None:
    from bottleneck.heads import Head
    from bottleneck.heads.onnx import write_onnx
    from bottleneck.writing import prepare_output

    if Path(output).suffix.lower() != ".onnx":
        raise OptionError(
            f"expected an output that ends in .onnx for the head {source}, got {output}",
            hint="A head is exported as an ONNX model.",
        )
    place = prepare_output(output, kind="other", inputs=[source])
    head = Head.load(source)
    write_onnx(head, place)
    size = place.stat().st_size
    if as_json:
        print_json({"output": output, "head": head.kind, "features": head.dim, "bytes": size})
        return
    print_lines(f"{output}: {head.kind}, {head.dim} features, {len(head.classes)} classes")
