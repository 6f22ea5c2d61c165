"""``bottleneck run``."""

from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import params, percent, print_json, print_lines, print_table
from bottleneck.options import RunOptions


@click.command(name="run")
@options_of(RunOptions)
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Run the steps of a pipeline file in order; skip those that are up to date."""
    from bottleneck import api

    def ended(outcome: Any) -> None:
        if not as_json:
            gist = _gist(outcome.to_json())
            print_lines(f"{outcome.name}: {outcome.action} ({outcome.why}){gist}")

    progress = make_progress(quiet)
    outcomes = [one.to_json() for one in api.run(**options, each=ended, progress=progress)]
    if as_json:
        print_json(outcomes)
        return
    judged = [o["result"] for o in outcomes if o["run"] == "evaluate" and o["result"]]
    if judged:
        judged.sort(key=lambda result: -result["accuracy"])
        print_table(
            ["head", "backbone", "parameters", "split", "rows", "accuracy", "macro F1"],
            [
                (
                    r["head"],
                    r["backbone"],
                    params(r["best"]),
                    r["split"],
                    r["rows"],
                    percent(r["accuracy"]),
                    percent(r["macro_f1"]),
                )
                for r in judged
            ],
            right=["rows", "accuracy", "macro F1"],
        )


def _gist(outcome: dict[str, Any]) -> str:
    result = outcome["result"]
    if outcome["action"] != "ran":
        return ""
    if outcome["run"] == "extract":
        return (
            f": {result['ok']} images, {result['failed_total']} failed, "
            f"{result['images_per_second']:.1f} images/s"
        )
    if outcome["run"] == "train":
        return f": best {params(result['best'])}, {result['seconds']:.1f} s"
    if outcome["run"] == "evaluate":
        return f": accuracy {percent(result['accuracy'])}"
    if outcome["run"] == "compare":
        best = result["leaderboard"][0]
        name = result["features"][best["features"]]["name"]
        page = f", {result['output']}" if result["output"] else ""
        return f": best {name} with {best['head']}, accuracy {percent(best['accuracy'])}{page}"
    return f": {result['rows']} images"
