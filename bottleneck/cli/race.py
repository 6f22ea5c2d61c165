"""``bottleneck race``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import percent, print_json, print_lines, print_table
from bottleneck.errors import TooManyFailuresError
from bottleneck.options import RaceOptions


@click.command(name="race")
@options_of(RaceOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> int:
    """Find out which backbone to take, before all images are extracted.

    All begin on a small sample of the training images, which doubles from round to round; who is
    clearly behind leaves. The features are in ordinary files, and the command printed at the end
    finishes the best one: nothing is computed twice. Test images are not looked at.
    """
    from bottleneck import api

    result = api.race(**options, progress=make_progress(quiet)).to_json()
    if as_json:
        print_json(result)
    else:
        print_race(result)
    if result["too_many_failed"]:
        raise TooManyFailuresError(
            f"{result['failed']} images failed, more than --max-failed {options['max_failed']}",
            hint="Each reason is beside the feature files, in *.failures.jsonl.",
        )
    return 0


def print_race(result: dict[str, Any]) -> None:
    """Print the leaderboard, why the others left, and the command to run."""
    rounds = " then ".join(str(one["images"]) for one in result["rounds"])
    print_lines(
        f"{rounds} of {result['training_images']} training images in {result['seconds']:.0f} s; "
        f"stopped because {result['stopped']}"
    )
    print_table(
        [
            *("", "backbone", "images", "accuracy", "95%", "few shots", "behind best"),
            *("LogME", "H-score", "all images", "on disk", "licence"),
        ],
        [_line(one) for one in result["leaderboard"]],
        right=[
            *("images", "accuracy", "few shots", "behind best", "LogME", "H-score"),
            *("all images", "on disk"),
        ],
        dispensable=["licence", "H-score", "LogME", "on disk", "few shots", "95%"],
    )
    stayed = [one for one in result["leaderboard"][1:] if one["left"] is None]
    print_lines(
        *(
            f"round {one['round']}: {one['name']} left, {one['left']}"
            for one in reversed(result["leaderboard"])
            if one["left"] is not None
        ),
        f"= not distinguishable from {result['pick']}: {', '.join(one['name'] for one in stayed)}"
        if stayed
        else None,
        f"wrote {result['output']}; next, for the rest of the images:",
        f"  {result['command']}",
    )


def _line(one: dict[str, Any]) -> tuple[Any, ...]:
    low, high = one["interval"]
    behind = one["behind"]["mean"]
    return (
        "1" if one["rank"] == 1 else "=" if one["left"] is None else "",
        one["name"],
        one["judged"],
        percent(one["accuracy"]),
        f"{100 * low:.1f}-{100 * high:.1f}",
        percent(one["few_shot"]),
        f"{100 * behind:.1f}" if one["rank"] > 1 else None,
        f"{one['log_me']:.2f}",
        f"{one['h_score']:.2f}",
        _time(one["seconds_for_all"]),
        f"{one['bytes_for_all'] / 1e6:.1f} MB",
        one["licence"] or "",
    )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
