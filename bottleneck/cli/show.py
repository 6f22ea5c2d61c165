"""What commands print: one JSON document, or lines and tables for people."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

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
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


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
