"""What commands print: one JSON document, or lines and tables for people."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click


def print_json(document: Any) -> None:
    """Print exactly one JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def print_lines(*lines: str | None) -> None:
    """Print the lines that are not empty."""
    for line in filter(None, lines):
        click.echo(printable(line))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[str] = ()
) -> None:
    """Print a table; the columns named in ``right`` are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    numeric = set(right)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify = "right" if column in numeric else "left"
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        # Text, not markup: a class may be called "[red]".
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(width=None if _is_terminal() else 160, highlight=False)
    console.print(table)


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
