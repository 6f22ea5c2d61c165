"""``bottleneck bench``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_lines, print_table
from bottleneck.options import BenchOptions


@click.command(name="bench")
@options_of(BenchOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> int:
    """Measure a backbone on this machine: alone, the decoding alone, and both together.

    Without SOURCE, JPEGs of 500 x 375 pixels are drawn.
    """
    from bottleneck import api

    result = api.bench(**options, progress=make_progress(quiet)).to_json()
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
