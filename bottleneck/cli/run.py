"""``bottleneck run``."""

from pathlib import Path
from typing import Any

import click

from bottleneck.cli.options import json_option, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import params, percent, print_json, print_lines, print_table


@click.command(name="run")
@click.argument("pipeline", metavar="PIPELINE.toml", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only tell what would run.")
@click.option("--force", is_flag=True, help="Run every step; feature files are begun anew.")
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Set an option: NAME.option=value of one step, option=value of all that have it.",
)
@json_option
@quiet_option
def command(
    *,
    pipeline: Path,
    dry_run: bool,
    force: bool,
    settings: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Run the steps of a pipeline file in order; skip those that are up to date."""
    from bottleneck.pipeline import load_pipeline, run_pipeline

    outcomes = []
    steps = load_pipeline(pipeline, settings)
    for outcome in run_pipeline(steps, make_progress(quiet), dry_run=dry_run, force=force):
        outcomes.append(outcome.to_json())
        if not as_json:
            print_lines(f"{outcome.name}: {outcome.action} ({outcome.why}){_gist(outcomes[-1])}")
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
