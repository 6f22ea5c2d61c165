"""``bottleneck train``."""

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from bottleneck.cli.options import json_option, quiet_option, step_option
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
from bottleneck.heads.catalogue import HEAD_NAMES
from bottleneck.steps.train import TrainStep

_option = partial(step_option, TrainStep)

_METRICS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "accuracy": ("accuracy", percent),
    "mean_average_precision": ("mAP", percent),
    "r2": ("R2", number),
}
"""How a metric is called and written in the table of strengths."""


@click.command(name="train")
@click.argument("features", metavar="FEATURES.h5")
@_option("output", "-o", "--output", metavar="HEAD", help="Where to save the head.")
@_option("head", metavar="NAME", help=f"{', '.join(HEAD_NAMES)}, or a path: sklearn.svm.SVC.")
@_option(
    "settings", "--set", metavar="K=V", help="Parameter of mlp or of a classifier by its path."
)
@_option("C", "--C", metavar="GRID", help="Strengths to try: lo:hi:n (log scale) or a,b,c.")
@_option("cv", metavar="K", help="Folds of the cross-validation; 0 for none with a single C.")
@_option("feature", metavar="NAME", help="Output of the file, where it has several.")
@_option("holdout", metavar="P", help="Share held out for the test, where there are no splits.")
@_option("seed", help="Decides folds and hold-out, with the images' keys.")
@_option("jobs", metavar="N", help="Threads that share the work; -1 for all cores.")
@_option("engine", help="What logreg and svm are fitted with; keras is for a GPU.")
@_option("one_se", help="Take the smallest C within one standard error of the best.")
@_option("nested", help="Also estimate the accuracy with the choice of C included.")
@_option("curve", metavar="SHARES", help="Also fit on shares of the rows: 0.1,0.3,1.")
@_option("shots", metavar="COUNTS", help="Also fit on a few rows per class: 1,2,4,8,16.")
@_option(
    "targets",
    "--target",
    metavar="NAME",
    help="Predict this target, not the class; repeatable. logreg: labels, ridge: numbers.",
)
@_option("calibrate", help="Also make probabilities of the scores, on rows left out.")
@json_option
@quiet_option
def command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Fit a head on stored features, select its strength, judge it once on the test rows.

    Features are standardised; the strength is chosen by stratified cross-validation on the
    training rows only. Failed and unlabelled rows are left out and counted.
    """
    result = TrainStep(**options).run(make_progress(quiet))
    if as_json:
        print_json(result)
        return
    count = f"{len(result['targets']) or result['classes']} {result['task']}"
    print_lines(
        f"{result['head']} on {result['rows']} rows of {result['backbone']}/{result['feature']} "
        f"({result['features']} features, {count}), {result['seconds']:.1f} s"
    )
    if result["cv"]:
        metric, shown = _METRICS[result["metric"]]
        print_table(
            ["", "parameters", metric, "std"],
            [
                (
                    "best" if entry["params"] == result["best"] else "",
                    params(entry["params"]),
                    shown(entry["mean"]),
                    shown(entry["std"]),
                )
                for entry in result["cv"]
            ],
            right=[metric, "std"],
        )
    if result["nested"]:
        print_lines(
            f"nested cross-validation: {percent(result['nested']['mean'])} "
            f"(std {percent(result['nested']['std'])})"
        )
    for name in ("curve", "shots"):
        if result[name]:
            first = "share" if name == "curve" else "shots"
            print_table(
                [first, "rows", "accuracy", "std"],
                [
                    (f"{p[first]:g}", f"{p['rows']:.0f}", percent(p["mean"]), percent(p["std"]))
                    for p in result[name]
                ],
                right=[first, "rows", "accuracy", "std"],
            )
    if result["temperature"] is not None:
        print_lines(f"probabilities: softmax of the scores / {result['temperature']:.4g}")
    test = result["test"]
    print_lines(
        f"test {_summary(result['task'], test)} on {test['rows']} rows"
        if test
        else "no test rows: give --holdout 0.2, or images with a test split",
        f"saved {result['output']}",
    )


def _summary(task: str, test: dict[str, Any]) -> str:
    if task == "classes":
        return f"accuracy {percent(test['accuracy'])}, macro F1 {percent(test['macro_f1'])}"
    return target_summary(task, test)
