"""``bottleneck evaluate``."""

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
from bottleneck.options import EvaluateOptions


@click.command(name="evaluate")
@options_of(EvaluateOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Judge a head on stored features of the same recipe."""
    from bottleneck import api

    result = api.evaluate(**options, progress=make_progress(quiet)).to_json()
    if as_json:
        print_json(result)
        return
    trained = result["trained_rows_included"]
    print_lines(
        f"{result['head']} ({params(result['best'])}) on {result['rows']} rows, "
        f"split {result['split']}" + (f", {trained} of them trained on" if trained else ""),
    )
    (_print_classes if result["task"] == "classes" else _print_targets)(result)


def _print_targets(result: dict[str, Any]) -> None:
    print_lines(
        target_summary(result["task"], result),
        *_intervals(result["intervals"], percent if result["task"] == "labels" else number),
        f"{result['failed_rows_skipped']} failed rows skipped"
        if result["failed_rows_skipped"]
        else None,
        f"{result['unlabelled_rows_skipped']} rows without a value skipped"
        if result["unlabelled_rows_skipped"]
        else None,
    )
    labels = result["task"] == "labels"
    of_labels = ["average_precision", "precision", "recall", "f1"]
    columns = of_labels if labels else ["r2", "mae", "rmse"]
    shown = percent if labels else number
    titles = [name.replace("_", " ") for name in columns] + (["rows"] if labels else [])
    print_table(
        ["target", *titles],
        [
            (
                entry["target"],
                *(shown(entry[name]) for name in columns),
                *([entry["support"]] if labels else []),
            )
            for entry in result["per_target"]
        ],
        right=titles,
    )


def _intervals(
    intervals: dict[str, list[float] | None], shown: Callable[[float | None], str]
) -> list[str]:
    known = [
        f"{name.replace('_', ' ')} {write(ends[0])} to {write(ends[1])}"
        for name, ends in intervals.items()
        if ends is not None
        for write in [number if name == "log_loss" else shown]  # no share
    ]
    return ["95% intervals:", *(f"  {one}" for one in known)] if known else []


def _print_classes(result: dict[str, Any]) -> None:
    loss = result["log_loss"]
    print_lines(
        f"accuracy {percent(result['accuracy'])}, balanced "
        f"{percent(result['balanced_accuracy'])}, macro F1 {percent(result['macro_f1'])}"
        + (f", log loss {loss:.4f}" if loss is not None else ""),
        *_intervals(result["intervals"], percent),
        ", ".join(
            f"{name.replace('_', ' ')} {percent(result[name])}"
            for name in ("top_5_accuracy", "calibration_error")
            if result[name] is not None
        )
        or None,
        f"{result['failed_rows_skipped']} failed rows skipped"
        if result["failed_rows_skipped"]
        else None,
    )
    print_table(
        ["class", "precision", "recall", "f1", "rows", "most often taken for"],
        [
            (
                entry["class"],
                *(percent(entry[name]) for name in ("precision", "recall", "f1")),
                entry["support"],
                _commonest_mistake(result, i),
            )
            for i, entry in enumerate(result["per_class"])
        ],
        right=["precision", "recall", "f1", "rows"],
    )


def _commonest_mistake(result: dict[str, Any], i: int) -> str:
    mistakes = [(count, -j) for j, count in enumerate(result["confusion"][i]) if j != i and count]
    if not mistakes:
        return ""
    count, negative = max(mistakes)
    return f"{result['per_class'][-negative]['class']} ({count})"
