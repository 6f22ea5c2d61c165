"""``bottleneck compare``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import number, params, percent, print_json, print_lines, print_table
from bottleneck.options import CompareOptions


@click.command(name="compare")
@options_of(CompareOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Compare backbones, layers and heads on the same images.

    All files list the same images; what failed in one is left out for all. Heads are selected
    by cross-validation on the training rows and judged on the test rows, or, without a test
    split, by nested cross-validation.
    """
    from bottleneck import api

    result = api.compare(**options, progress=make_progress(quiet)).to_json()
    if as_json:
        print_json(result)
    else:
        print_comparison(result)


def print_comparison(result: dict[str, Any]) -> None:
    """Print the leaderboard and what was found in the data."""
    data = result["data"]
    left_out = ", ".join(f"{count} {why}" for why, count in data["left_out"].items() if count)
    print_lines(
        f"{data['compared']} of {data['images']} images in {len(data['classes'])} classes"
        + (f" (left out: {left_out})" if left_out else ""),
        f"{data['train']} to learn from, {data['judged']} to judge by: {data['estimate']}, "
        f"strengths by {data['folds']} folds",
    )
    print_table(
        [
            "",
            "features",
            "head",
            "chosen",
            "accuracy",
            "95%",
            "macro F1",
            "behind best",
            "p",
            "images/s",
            "length",
            "fit",
        ],
        [_line(entry, result) for entry in result["leaderboard"]],
        right=["accuracy", "macro F1", "behind best", "p", "images/s", "length", "fit"],
        dispensable=["macro F1", "length", "fit", "chosen", "p"],
    )
    print_lines(*_take(result))
    near_best = [
        entry for entry in result["leaderboard"][1:] if not entry["versus_best"]["distinguishable"]
    ]
    sets, doubts = result["duplicates"], result["label_errors"]
    print_lines(
        f"= {len(near_best)} of {len(result['leaderboard']) - 1} are not distinguishable from the "
        f"best (max-type sign-flip test of all against the best, level {percent(result['alpha'])})"
        if len(result["leaderboard"]) > 1
        else None,
        f"likely label errors: {doubts['likely']}" if doubts["likely"] else None,
        _duplicates(sets),
        f"saved {result['saved']}" if result["saved"] else None,
        f"wrote {result['output']}, {result['page']['bytes'] / 1e6:.1f} MB"
        if result["page"]
        else None,
    )


def _take(result: dict[str, Any]) -> list[str | None]:
    """Say which to take, why, and how it is made again."""
    take, board = result["take"], result["leaderboard"]
    taken, baseline = board[take["entry"]], result["data"]["baseline"]
    name = result["features"][taken["features"]]["name"]
    why = (
        "nothing better can be told apart, and it is the cheapest of those"
        if take["candidates"] > 1
        else "every other one is clearly behind"
    )
    cost = f"{number(take['value'])} {take['unit']}"
    return [
        f"take {name} with {taken['head']}"
        + (f": {why} ({cost})" if len(board) > 1 else f" ({cost})"),
        f"  {take['extract']}" if take["extract"] else None,
        f"  {take['train']}",
        f"  always saying {baseline['class']} would be right for {percent(baseline['accuracy'])}",
    ]


def _duplicates(found: dict[str, Any]) -> str | None:
    """Say which images occur twice, and what was not looked for."""
    if not found["searched_near"]:
        near = f"nearly equal ones not looked for (more than {found['most_rows']:,} images)"
    elif found["exact"] or found["near"]:
        near = f"{found['near']} near sets"
    else:
        return None
    leaks = f"; {found['leaks']} across training and test ({found['leaked_rows']} test images)"
    return f"duplicates: {found['exact']} exact, {near}" + (leaks if found["test_split"] else "")


def _line(entry: dict[str, Any], result: dict[str, Any]) -> tuple[Any, ...]:
    features = result["features"][entry["features"]]
    versus = entry["versus_best"]
    low, high = entry["intervals"]["accuracy"]
    rate = features["cost"]["images_per_second"]
    mark = "1" if versus is None else "=" if not versus["distinguishable"] else ""
    p = None if versus is None else versus["p_adjusted"]
    return (
        mark,
        features["name"],
        entry["head"],
        params(entry["best"]),
        percent(entry["accuracy"]),
        f"{100 * low:.1f}-{100 * high:.1f}",
        percent(entry["macro_f1"]),
        None if versus is None else f"{100 * versus['difference']['mean']:.1f}",
        None if p is None else f"{p:.3f}" if p >= 0.001 else "<0.001",
        None if rate is None else f"{rate:.0f}",
        features["cost"]["length"],
        f"{entry['costs']['fit_seconds']:.1f} s",
    )
