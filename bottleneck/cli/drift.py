"""``bottleneck drift``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_lines, print_table
from bottleneck.errors import TooManyFailuresError
from bottleneck.options import DriftOptions

_SHOWN = 10


@click.command(name="drift")
@options_of(DriftOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Tell whether new images look like those a head was trained with.

    A two-sample test of their features, over all and for each predicted class, with a level that
    holds; and which images are unlike all that was learnt. Other shares of the classes are a
    difference too.
    """
    from bottleneck import api

    result = api.drift(**options, progress=make_progress(quiet)).to_json()
    if as_json:
        print_json(result)
    else:
        _print(result)
    if result["too_many_failed"]:
        raise TooManyFailuresError(
            f"{len(result['failed'])} images failed, more than --max-failed {options['max_failed']}"
        )


def _print(result: dict[str, Any]) -> None:
    if result["per_class"]:
        print_table(
            ["predicted class", "new", "held out", "adjusted p", ""],
            [
                (
                    one["class"],
                    one["new"],
                    one["reference"],
                    "too few" if one["p"] is None else f"{one['adjusted_p']:.3g}",
                    "differs" if one.get("drift") else "",
                )
                for one in result["per_class"]
            ],
            right=["new", "held out", "adjusted p"],
        )
    unlike = [one for one in result["images"] if one["unlike"]]
    if unlike:
        print_table(
            ["unlike all that was learnt", "predicted", "distance", "share as far"],
            [
                (one["key"], one["label"] or "", f"{one['distance']:.3f}", f"{one['p']:.3g}")
                for one in unlike[:_SHOWN]
            ],
            right=["distance", "share as far"],
        )
    said = "do not look like" if result["drift"] else "are not told apart from"
    print_lines(
        f"and {len(unlike) - _SHOWN} more" if len(unlike) > _SHOWN else None,
        f"the {result['rows']} new images {said} the {result['reference_rows']} of "
        f"{result['features']} (p = {result['p']:.3g}, level {result['level']:g}); "
        f"{result['unlike']} are unlike all that was learnt, "
        f"{result['expected_unlike']:.1f} expected",
    )
