"""``bottleneck train``."""

from collections.abc import Callable
from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import (
    number,
    params,
    percent,
    print_json,
    print_lines,
    print_table,
    target_summary,
)
from bottleneck.options import TrainOptions

_METRICS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "accuracy": ("accuracy", percent),
    "mean_average_precision": ("mAP", percent),
    "r2": ("R2", number),
}
"""How a metric is called and written in the table of strengths."""


@click.command(name="train")
@options_of(TrainOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Fit a head on stored features, select its strength, judge it once on the test rows.

    Features are standardised; the strength is chosen by stratified cross-validation on the
    training rows only. Failed and unlabelled rows are left out and counted.
    """
    from bottleneck import api

    result = api.train(**options, progress=make_progress(quiet)).to_json()
    if as_json:
        print_json(result)
        return
    count = f"{len(result['targets']) or result['classes']} {result['task']}"
    print_lines(
        f"{result['head']} on {result['rows']} rows of {result['backbone']}/{result['feature']} "
        f"({result['features']} features, {count}), {result['seconds']:.1f} s"
    )
    if result["cv"]:
        metric, shown = _METRICS[result["metric"]]
        print_table(
            ["", "parameters", metric, "std"],
            [
                (
                    "best" if entry["params"] == result["best"] else "",
                    params(entry["params"]),
                    shown(entry["mean"]),
                    shown(entry["std"]),
                )
                for entry in result["cv"]
            ],
            right=[metric, "std"],
        )
    if result["nested"]:
        print_lines(
            f"nested cross-validation: {percent(result['nested']['mean'])} "
            f"(std {percent(result['nested']['std'])})"
        )
    for name in ("curve", "shots"):
        if result[name]:
            first = "share" if name == "curve" else "shots"
            print_table(
                [first, "rows", "accuracy", "std"],
                [
                    (f"{p[first]:g}", f"{p['rows']:.0f}", percent(p["mean"]), percent(p["std"]))
                    for p in result[name]
                ],
                right=[first, "rows", "accuracy", "std"],
            )
    if result["temperature"] is not None:
        print_lines(f"probabilities: softmax of the scores / {result['temperature']:.4g}")
    test = result["test"]
    print_lines(
        f"test {_summary(result['task'], test)} on {test['rows']} rows"
        if test
        else "no test rows: give --holdout 0.2, or images with a test split",
        f"always saying {baseline['class']} would give {percent(baseline['accuracy'])}"
        if (baseline := result["baseline"])
        else None,
        f"saved {result['output']}",
    )


def _summary(task: str, test: dict[str, Any]) -> str:
    if task == "classes":
        return f"accuracy {percent(test['accuracy'])}, macro F1 {percent(test['macro_f1'])}"
    return target_summary(task, test)
