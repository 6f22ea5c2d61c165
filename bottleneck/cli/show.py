"""What commands print: one JSON document, or lines and tables for people."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from bottleneck.location import readable

if TYPE_CHECKING:
    from bottleneck.pipeline import Outcome
    from bottleneck.sources import Survey

_GAP = 3
"""Characters between two columns."""

_LEAST_ROOM = 12
"""A name is not shortened to less."""


def print_json(document: Any) -> None:
    """Print exactly one JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def print_lines(*lines: str | None) -> None:
    """Print the lines that are not empty."""
    for line in filter(None, lines):
        click.echo(printable(line))


def print_note(text: str) -> None:
    """Say on standard error what somebody should know of a result."""
    click.echo(f"note: {printable(text)}", err=True)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Iterable[str] = (),
    dispensable: Sequence[str] = (),
) -> None:
    """Print a table.

    Parameters
    ----------
    columns : sequence of str
        Titles.
    rows : iterable of sequences
        Cells of each line.
    right : iterable of str
        Columns that are aligned to the right.
    dispensable : sequence of str
        Columns to leave out, in this order, where a terminal is too narrow for all. Names that
        are still too long are shortened in the middle.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    numeric = set(right)
    console = Console(width=None if _is_terminal() else 160, highlight=False)
    columns, lines = fitted(
        columns, [[_cell(value) for value in row] for row in rows], console.width, dispensable
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify = "right" if column in numeric else "left"
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for line in lines:
        # Text, not markup: a class may be called "[red]".
        table.add_row(*map(Text, line))
    console.print(table)


def fitted(
    columns: Sequence[str],
    lines: Sequence[Sequence[str]],
    width: int,
    dispensable: Sequence[str] = (),
) -> tuple[list[str], list[list[str]]]:
    """Make a table as narrow as the terminal, as far as it can be read then.

    Returns
    -------
    columns : list of str
        The titles that are left.
    lines : list of list of str
        Their cells; the longest columns shortened in the middle.
    """
    left_out = [name for name in dispensable if name in columns]
    shown = [*range(len(columns))]

    def widths() -> list[int]:
        return [max(map(len, [columns[i], *(line[i] for line in lines)])) for i in shown]

    while left_out and sum(widths()) + _GAP * len(shown) > width:
        shown.remove(columns.index(left_out.pop(0)))
    room = widths()
    while (excess := sum(room) + _GAP * len(shown) - width) > 0:
        longest = max(range(len(room)), key=room.__getitem__)
        least = max(_LEAST_ROOM, len(columns[shown[longest]]))
        if room[longest] <= least:
            break
        rest = max((one for one in room if one < room[longest]), default=least)
        room[longest] = max(least, room[longest] - excess, min(rest, room[longest] - 1))
    cells = [[shortened(line[i], n) for i, n in zip(shown, room, strict=True)] for line in lines]
    return [columns[i] for i in shown], cells


def shortened(text: str, room: int) -> str:
    """Leave out the middle of a text that is too long: both ends tell names apart."""
    if len(text) <= room:
        return text
    head = (room - 1) // 2
    return f"{text[:head]}…{text[len(text) - (room - 1 - head) :]}"


def printable(text: str) -> str:
    """Escape what a terminal would obey or choke on: control characters, bytes that are no text.

    File names and class names may hold anything.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is no UTF-8
        return readable(character)
    return character.encode("unicode_escape").decode()


def percent(value: float | None) -> str:
    """Write a share as a percentage; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f}%"


def number(value: float | None) -> str:
    """Write a number with four digits; a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"


def target_summary(task: str, judged: Mapping[str, Any]) -> str:
    """Write what a head of labels or numbers is worth, in one line."""
    if task == "labels":
        return (
            f"mAP {percent(judged['mean_average_precision'])}, "
            f"micro F1 {percent(judged['micro_f1'])}, macro F1 {percent(judged['macro_f1'])}"
        )
    return f"R2 {number(judged['r2'])}, mean absolute error {number(judged['mae'])}"


def score(task: str, judged: Mapping[str, Any]) -> str:
    """Write what a head is worth, in one line."""
    if task == "classes":
        return f"accuracy {percent(judged['accuracy'])}"
    return target_summary(task, judged)


def params(values: Mapping[str, Any]) -> str:
    """Write parameters as ``C=0.01, alpha=50``."""
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in values.items()
    )


def _cell(value: Any) -> str:
    return "-" if value is None else printable(str(value))


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def print_survey(survey: "Survey") -> None:
    """Print what images were found, and the first rows."""
    print_lines(*survey.lines(), *(f"warning: {one}" for one in survey.warnings))
    shown = [
        name
        for name in ("key", "label", "split", "group")
        if any(row[name] is not None for row in survey.first)
    ]
    print_table(shown, [[row[name] for name in shown] for row in survey.first])
    if survey.images > len(survey.first):
        print_lines(f"... and {survey.images - len(survey.first)} more; nothing was computed")


def print_outcome(outcome: "Outcome") -> None:
    """Print what became of a step of a pipeline."""
    gist = _gist(outcome.to_json())
    print_lines(f"{outcome.name}: {outcome.action} ({outcome.why}){gist}")


def print_outcomes(outcomes: "Sequence[Outcome]", *, as_json: bool) -> None:
    """Print a pipeline's document, or the heads that it judged, the best first."""
    documents = [outcome.to_json() for outcome in outcomes]
    if as_json:
        print_json(documents)
        return
    results = [one["result"] for one in documents if one["run"] == "evaluate" and one["result"]]
    judged = [result for result in results if result["task"] == "classes"]
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


def _gist(outcome: Mapping[str, Any]) -> str:
    result, kind = outcome["result"], outcome["run"]
    if outcome["action"] != "ran":
        return ""
    if kind == "extract":
        told = (
            f"{result['ok']} images, {result['failed_total']} failed, "
            f"{result['images_per_second']:.1f} images/s"
        )
    elif kind == "train":
        told = f"best {params(result['best'])}, {result['seconds']:.1f} s"
    elif kind == "evaluate":
        told = score(result["task"], result)
    elif kind == "compare":
        best = result["leaderboard"][0]
        name = result["features"][best["features"]]["name"]
        page = f", {result['output']}" if result["output"] else ""
        told = f"best {name} with {best['head']}, accuracy {percent(best['accuracy'])}{page}"
    elif kind == "race":
        told = f"takes {result['pick']}, {result['seconds']:.1f} s"
    else:
        told = f"{result['rows']} images"
    return f": {told}"
