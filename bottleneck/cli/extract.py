"""``bottleneck extract``."""

from dataclasses import fields
from typing import Any

import click
from click.core import ParameterSource

from bottleneck.cli.options import json_option, options_of, quiet_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_lines, print_survey
from bottleneck.errors import OptionError, TooManyFailuresError
from bottleneck.options import ExtractOptions, ExtractSetOptions, SurveyOptions


@click.command(name="extract")
@options_of(ExtractOptions)
@click.option(
    "--set",
    "chosen_set",
    metavar="PHOTOS.set",
    help="Fill shards of a set that `bottleneck plan` made, with others who do the same.",
)
@click.option(
    "--scratch", metavar="FOLDER", help="With --set: where shards are filled, on a local disk."
)
@click.option(
    "--on",
    metavar="ENGINE",
    help="With --set: by the nodes of a cluster: ray (found, or started), ray://HOST:PORT.",
)
@click.option(
    "--dry-run", is_flag=True, help="Only say which images, classes and splits those are."
)
@json_option
@quiet_option
def command(
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    chosen_set: str | None,
    **options: Any,
) -> int:
    """Stream images through a frozen backbone and write their features to a file.

    SOURCE is a folder (a class per folder, with or without train/ val/ test/ above, or flat),
    a table (CSV, JSON lines, Parquet: path, label, split, group), image files, a pattern, tar or
    WebDataset shards ('shard-{000..009}.tar'), a zip, Parquet with images, TFRecord, arrays (HDF5,
    NPZ, NPY, IDX), or the URL of any of these.

    If the file exists and was begun with the same images and the same recipe, only what is missing
    is computed: stop it when you like, and run the same command again.

    With --set PHOTOS.set, which `bottleneck plan` made, there is neither SOURCE nor -o: any number
    of machines fill its shards, those of --part I/N or --ranges A-B, or whatever is free.
    """
    from bottleneck import api

    if chosen_set is not None:
        given = _given({**options, "dry_run": dry_run})
        return _fill_set(chosen_set, given, as_json=as_json, quiet=quiet)
    for name in ("scratch", "on"):
        if options.pop(name) is not None:
            raise OptionError(f"expected --set with --{name}, got none")
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


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return what was said, on the command line or in the environment; not the defaults."""
    context = click.get_current_context()
    default = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    return {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) not in default and value not in (None, ())
    }


def _fill_set(chosen: str, given: dict[str, Any], *, as_json: bool, quiet: bool) -> int:
    from bottleneck import api

    known = {one.name for one in fields(ExtractSetOptions)}
    wrong = sorted(given.keys() - known)
    if wrong:
        raise OptionError(
            f"expected only how to work with --set, got {', '.join(wrong)}",
            hint="What is extracted, and from which images, was said once: bottleneck plan.",
        )
    run = api.extract_set(chosen, **given, progress=make_progress(quiet)).to_json()
    if as_json:
        print_json(run)
    else:
        print_lines(
            f"{run['set']}: {run['published']} shards published in {run['seconds']:.1f} s, "
            f"{run['images_per_second']:.1f} images/s",
            f"{run['already_done']} of {run['ranges']} were there before"
            if run["already_done"]
            else None,
            f"{run['others']} were made by others meanwhile" if run["others"] else None,
            f"{run['duplicates']} were made twice: those of others count"
            if run["duplicates"]
            else None,
            f"{run['failed']} images failed" if run["failed"] else None,
            f"{run['pending']} shards still to do: run the same command again"
            if run["pending"]
            else f"all {run['ranges']} shards of this part are there"
            if given.keys() & {"part", "ranges"}
            else "complete",
        )
    if run["interrupted"]:
        raise KeyboardInterrupt
    if run["too_many_failed"]:
        raise TooManyFailuresError(
            f"{run['failed']} of {run['ok'] + run['failed']} images failed, more than "
            f"--max-failed allows",
            hint=f"The others are safe; each reason is in {run['set']}/failures.",
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
