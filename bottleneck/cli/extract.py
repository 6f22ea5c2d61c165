"""``bottleneck extract``."""

from dataclasses import fields
from typing import Any

import click

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_lines, print_survey
from bottleneck.errors import TooManyFailuresError
from bottleneck.options import ExtractOptions, SurveyOptions


@click.command(name="extract")
@options_of(ExtractOptions)
@click.option(
    "--dry-run", is_flag=True, help="Only say which images, classes and splits those are."
)
@json_option
@quiet_option
def command(dry_run: bool, as_json: bool, quiet: bool, **options: Any) -> int:
    """Stream images through a frozen backbone and write their features to a file.

    SOURCE is a folder (a class per folder, with or without train/ val/ test/ above, or flat),
    a table (CSV, JSON lines, Parquet: path, label, split, group), image files, a pattern, tar or
    WebDataset shards ('shard-{000..009}.tar'), a zip, Parquet with images, TFRecord, arrays (HDF5,
    NPZ, NPY, IDX), or the URL of any of these.

    If the file exists and was begun with the same images and the same recipe, only what is missing
    is computed: stop it when you like, and run the same command again.
    """
    from bottleneck import api

    if dry_run:
        asked = {one.name for one in fields(SurveyOptions)} & options.keys()
        survey = api.survey(**{name: options[name] for name in asked if options[name] is not None})
        if as_json:
            print_json(survey.to_json())
        else:
            print_survey(survey)
        return 0
    found = api.extract_many(**options, progress=make_progress(quiet))
    results = [result.to_json() for result in found]
    if as_json:
        print_json(results[0] if len(results) == 1 else {"files": results})
    else:
        for result in results:
            _print_result(result)
    if any(result["interrupted"] for result in results):
        raise KeyboardInterrupt
    for result in results:
        if result["too_many_failed"]:
            raise TooManyFailuresError(
                f"{result['failed_total']} of {result['rows']} images failed, "
                f"more than --max-failed {options['max_failed']}",
                hint=f"The others are safe in {result['output']}; each reason is in "
                f"{result['output']}.failures.jsonl.",
            )
    return 0


def _print_result(result: dict[str, Any]) -> None:
    dims = " + ".join(f"{name} ({dim})" for name, dim in result["outputs"].items())
    reasons = ", ".join(f"{count} {reason}" for reason, count in result["reasons"].items())
    spent = ", ".join(f"{stage} {took:.1f}" for stage, took in result["stages"].items())
    did_nothing = not (result["ok"] or result["failed"] or result["pending"])
    print_lines(
        f"{result['output']}: {result['rows']} images, {result['backbone']} {dims}",
        f"nothing to do: every image{' of this part' if result['left_to_others'] else ''} was "
        f"finished before"
        if did_nothing
        else None,
        f"{result['ok']} done in {result['seconds']:.1f} s, {result['images_per_second']:.1f} "
        f"images/s"
        if result["ok"]
        else None,
        f"{result['copied']} of them copied from identical images" if result["copied"] else None,
        f"{result['reused']} of them taken over from older files" if result["reused"] else None,
        f"{result['first_of_several']} are the first page or frame of a file that has more"
        if result["first_of_several"]
        else None,
        *(
            (f"seconds: {spent}", f"limited by {result['limit']}: {result['advice']}")
            if result["seconds"] >= 1 and result["limit"]
            else ()
        ),
        f"{result['already_done']} were done before"
        if result["already_done"] and not did_nothing
        else None,
        f"{result['failed_total']} failed: {reasons}" if reasons else None,
        f"{result['pending']} still to do: run the same command again"
        if result["pending"]
        else None,
        f"{result['left_to_others']} belong to other parts: bottleneck merge joins them"
        if result["left_to_others"]
        else None,
    )
