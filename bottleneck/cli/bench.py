"""``bottleneck bench``."""

from functools import partial
from typing import Any

import click

from bottleneck.cli.options import json_option, quiet_option, step_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_lines, print_table
from bottleneck.steps.extract import ExtractStep

_option = partial(step_option, ExtractStep)


@click.command(name="bench")
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option(
    "-b", "--backbone", metavar="NAME", default=ExtractStep.backbone, show_default=True,
    help="See `bottleneck backbones`.",
)  # fmt: skip
@_option("weights", help="bundled, imagenet, none (as fast as any) or a path.", metavar="WHICH")
@_option("size", help="Side of the input in pixels; the backbone's own.", metavar="N")
@_option("precision", help="Arithmetic of the network.")
@_option("runtime", help="How the network is compiled.")
@click.option(
    "--batch-size", "batch_sizes", metavar="N", multiple=True, type=int,
    default=(1, 8, 16, 32, 64), show_default=True, help="Batch sizes to try, repeatable.",
)  # fmt: skip
@click.option(
    "--images", metavar="N", default=256, show_default=True, help="Read at most so many images."
)
@click.option(
    "--seconds", metavar="S", default=2.0, show_default=True, help="Try each batch size so long."
)
@_option("workers", help="What decodes; one per core.", metavar="N")
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, sources: tuple[str, ...], **options: Any) -> int:
    """Measure a backbone on this machine: alone, the decoding alone, and both together.

    Without SOURCE, JPEGs of 500 x 375 pixels are drawn.
    """
    from bottleneck.bench import bench

    result = bench(sources, **options, progress=make_progress(quiet)).to_json()
    if as_json:
        print_json(result)
    else:
        _print_result(result)
    return 0


def _print_result(result: dict[str, Any]) -> None:
    calibration = result["calibration"]
    print_lines(
        f"{result['backbone']} {result['size']}px, {result['precision']} on {result['runtime']} "
        f"{result['runtime_version']}, {result['device']}, {result['cores']} cores",
        *(
            f"int8 features of {name}: cosine to float32 {cosine['mean']:.4f}, least "
            f"{cosine['min']:.4f}, over {calibration['judged']} images"
            for name, cosine in calibration.get("cosine", {}).items()
        ),
    )
    rates = [(f"network alone, batches of {n}", rate) for n, rate in result["forward"].items()]
    rates.append(("decoding alone", result["decoding"]))
    rates.append((f"image files to feature file, batches of {result['batch_size']}",
                  result["end_to_end"]))  # fmt: skip
    print_table(["", "images/s"], [(what, f"{rate:.1f}") for what, rate in rates])
    print_lines(f"limited by: {result['limit']}")
