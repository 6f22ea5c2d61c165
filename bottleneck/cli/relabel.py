"""``bottleneck relabel``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of
from bottleneck.cli.show import print_json, print_lines, print_table
from bottleneck.options import RelabelOptions


@click.command(name="relabel")
@options_of(RelabelOptions)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Write a feature file with corrected labels; the features are not computed again.

    FIXES.csv has the columns path (as in the feature file) and label; an empty label takes the
    image out of training and judgement.
    """
    from bottleneck import api

    result = api.relabel(**options).to_json()
    if as_json:
        print_json(result)
        return
    changes = result["changes"]
    print_lines(
        f"{result['output']}: {result['changed']} of {result['rows']} labels changed",
        f"{result['unchanged']} corrections say what was there before"
        if result["unchanged"]
        else None,
        f"new classes: {', '.join(result['new_classes'])}" if result["new_classes"] else None,
        f"classes without an image now: {', '.join(result['lost_classes'])}"
        if result["lost_classes"]
        else None,
    )
    if changes:
        none = "(none)"
        rows = [(one["before"] or none, one["after"] or none, one["images"]) for one in changes]
        print_table(["before", "after", "images"], rows, right=["images"])
