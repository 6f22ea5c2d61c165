"""``bottleneck export``."""

from pathlib import Path
from typing import Literal

import click

from bottleneck.cli.options import json_option
from bottleneck.cli.show import print_json, print_lines
from bottleneck.errors import OptionError


@click.command(name="export")
@click.argument("source", metavar="FEATURES.h5|HEAD")
@click.option("-o", "--output", metavar="FILE", required=True, help="The copy, or MODEL.onnx.")
@click.option(
    "--compress",
    type=click.Choice(["gzip", "lzf"]),
    help="Make a compressed feature file: it opens like the original but cannot be continued.",
)
@json_option
def command(
    source: str, output: str, compress: Literal["gzip", "lzf"] | None, as_json: bool
) -> None:
    """Hand finished features on as a smaller file, or a head as an ONNX model."""
    from bottleneck.output import kind_of

    if Path(source).is_file() and kind_of(Path(source)) == "head":
        _export_head(source, output, compress, as_json)
        return
    from bottleneck.store.export import export_compressed

    if compress is None:
        raise OptionError("expected what to export to", hint="Say --compress gzip.")
    result = export_compressed(source, output, compression=compress)
    if as_json:
        print_json(result.to_json())
        return
    before, after = result.bytes_before / 1e6, result.bytes_after / 1e6
    print_lines(
        f"{result.output}: {result.rows} rows, {after:.1f} MB instead of {before:.1f} MB "
        f"({before / after:.2f}x)"
    )


def _export_head(source: str, output: str, compress: str | None, as_json: bool) -> None:
    from bottleneck.heads import Head
    from bottleneck.heads.onnx import write_onnx
    from bottleneck.output import prepare_output

    if compress is not None or Path(output).suffix.lower() != ".onnx":
        raise OptionError(
            f"expected an output that ends in .onnx for the head {source}, got {output}",
            hint="A head is exported as an ONNX model, without --compress.",
        )
    place = prepare_output(output, kind="other", inputs=[source])
    head = Head.load(source)
    write_onnx(head, place)
    size = place.stat().st_size
    if as_json:
        print_json({"output": output, "head": head.kind, "features": head.dim, "bytes": size})
        return
    print_lines(f"{output}: {head.kind}, {head.dim} features, {len(head.classes)} classes")
