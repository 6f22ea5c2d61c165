"""``bottleneck finetune``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import percent, print_json, print_lines, print_table
from bottleneck.options import FinetuneOptions


@click.command(name="finetune")
@options_of(FinetuneOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Train the last layers of a head's backbone together with the head, from where they are.

    The model begins as accurate as the head. A validation share of the training images decides
    when to stop; where no epoch is better, the model is the head. On the test split both are
    compared, row by row. Stopped, it is resumed by the same command.
    """
    from bottleneck import api

    result = api.finetune(**options, progress=make_progress(quiet)).to_json()
    if as_json:
        print_json(result)
        return
    print_table(
        ["epoch", "loss", "validation", "log loss"],
        [_line(one) for one in result["selection"]["history"]],
        right=["epoch", "loss", "validation", "log loss"],
    )
    if len(result["steps"]) > 1:
        print_table(
            ["from layer", "layers", "validation", "gain", "95%"],
            [_step(one) for one in result["steps"]],
            right=["layers", "validation", "gain"],
        )
    print_lines(
        f"{len(result['layers'])} layers behind {result['cut']} and the head, "
        f"{result['trainable_parameters']:,} parameters; best after "
        f"{result['selection']['best_epoch']} epochs",
        result["verdict"],
        f"saved {result['output']} in {result['seconds']:.0f} s on {result['device']}",
    )


def _line(one: dict[str, Any]) -> tuple[Any, ...]:
    loss = "" if one["loss"] is None else f"{one['loss']:.4f}"
    return one["epoch"], loss, percent(one["val_accuracy"]), f"{one['val_log_loss']:.4f}"


def _step(one: dict[str, Any]) -> tuple[Any, ...]:
    gain = one["gain"]
    told = ("", "") if gain is None else (
        f"{100 * gain['mean']:+.1f}", f"{100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}"
    )  # fmt: skip
    return (one["from"], one["layers"], percent(one["val_accuracy"]), *told)
