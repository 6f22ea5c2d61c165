"""``bottleneck extract``."""

from functools import partial
from typing import Any

import click

from bottleneck.cli.options import json_option, quiet_option, step_option
from bottleneck.cli.progress import make_progress
from bottleneck.cli.show import print_json, print_lines
from bottleneck.errors import TooManyFailuresError
from bottleneck.steps.extract import ExtractStep

_option = partial(step_option, ExtractStep)


@click.command(name="extract")
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@_option(
    "output",
    "-o",
    "--output",
    metavar="FILE.h5",
    help="The feature file; {backbone} in it stands for the backbone's name.",
)
@_option(
    "backbone",
    "-b",
    "--backbone",
    metavar="NAME",
    multiple=True,
    default=[ExtractStep.backbone],
    help="See `bottleneck backbones`; repeat it for a file each from one pass.",
)
@_option(
    "weights",
    metavar="WHICH",
    help="bundled, imagenet, none (random) or a path; by default the best at hand.",
)
@_option("layers", "--layer", metavar="NAME", help="Layer to pool, repeatable; the last map.")
@_option("pool", help="How maps become vectors.")
@_option("size", metavar="N", help="Side of the input in pixels; the backbone's own.")
@_option("resize", help="How images are brought to that size.")
@_option("views", metavar="K", help="Rows per image: the plain one and random parts of it.")
@_option("batch_size", metavar="N|auto", help="Images per forward pass; auto measures.")
@_option("workers", metavar="N", help="Processes or threads that decode; one per core.")
@_option("worker_kind", help="auto: processes, and threads where those cannot be had.")
@_option("timeout", metavar="SECONDS", help="An image that takes longer in a process has failed.")
@_option("precision", help="Arithmetic of the network.")
@_option("dtype", help="Type of the features on disk.")
@_option("runtime", help="How the network is compiled.")
@_option(
    "devices",
    "--device",
    metavar="NAME",
    help="cpu, gpu or gpu:N; repeat it for a process on each. The first GPU, else the CPU.",
)
@_option(
    "reuse",
    metavar="OLD.h5",
    help="Take features of equal images from a file of the same recipe; repeatable.",
)
@_option(
    "targets",
    "--target",
    metavar="COLUMN",
    help="Column of the table to keep for `train --target`; repeatable.",
)
@_option("limit", metavar="N", help="Only N of the pending images now, evenly spread.")
@_option("overwrite", help="Begin anew even if the file exists.")
@_option("preallocate", "--preallocate/--no-preallocate", help="Reserve the disk space at once.")
@_option("retry_failed", help="Try images again that failed before.")
@_option("refresh", help="Compute images again whose bytes changed since.")
@_option("max_failed", metavar="N|P%", help="More failed images than this exit with 3.")
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> int:
    """Stream images through a frozen backbone and write their features to a file.

    SOURCE is a folder (a class per folder, with or without train/ val/ test/ above, or flat),
    a CSV or Parquet table (path, label, split, group), image files, a pattern, tar or WebDataset
    shards ('shard-{000..009}.tar'), a zip, Parquet with images, TFRecord, arrays (HDF5, NPZ, NPY,
    IDX), or the URL of any of these.

    If the file exists and was begun with the same images and the same recipe, only what is missing
    is computed: stop it when you like, and run the same command again.
    """
    names = options.pop("backbone")
    step = ExtractStep(**options, backbone=names[0])
    results = step.run_many(names, make_progress(quiet))
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
        "nothing to do: every image was finished before" if did_nothing else None,
        f"{result['ok']} done in {result['seconds']:.1f} s, {result['images_per_second']:.1f} "
        f"images/s"
        if result["ok"]
        else None,
        f"{result['copied']} of them copied from identical images" if result["copied"] else None,
        f"{result['reused']} of them taken over from older files" if result["reused"] else None,
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
    )
