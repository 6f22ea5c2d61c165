"""Writes docs/commands.md and docs/reference.md: ``python docs/make_pages.py``.

Both follow from the package: its commands, its public names. A test compares the pages with what
this makes, so that no command, option or function is missing there.
"""

import inspect
import textwrap
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click

import bottleneck
from bottleneck import api, heads
from bottleneck.cli.main import COMMANDS

HERE = Path(__file__).parent

COMMANDS_HEAD = """# Commands

<!-- Written by docs/make_pages.py, which `make docs` runs. -->

Results go to standard output, everything else to standard error. Every option can be set in the
environment: `BOTTLENECK_EXTRACT_BATCH_SIZE=64`. The same options are those of the
[Python functions](reference.md) and of the steps of a pipeline.
"""


REFERENCE_HEAD = """# Python

<!-- Written by docs/make_pages.py, which `make docs` runs. -->

Every command is a function of the same name, with the same options, checks and results, imported
from the package itself: `from bottleneck import extract`. Only `backbones` is in `bottleneck.api`:
`bottleneck.backbones` is the package of them.
"""


def pages() -> dict[str, str]:
    """Return the text of each page by its name."""
    return {"commands.md": _commands(), "reference.md": _reference()}


def _commands() -> str:
    """Return a section per command, a row per option."""
    lines = [COMMANDS_HEAD]
    for name in COMMANDS:
        command = import_module(f"bottleneck.cli.{name}").command
        lines.append(_section(name, command))
        for word, action in getattr(command, "actions", {}).items():
            lines.append(_section(f"{name} {word}", action))
    return "\n".join(lines)


def _reference() -> str:
    """Return a section per function, and for each class what mkdocstrings replaces by its own."""
    public = {name: getattr(bottleneck, name) for name in bottleneck.__all__ if name[0] != "_"}
    functions = {name: one for name, one in public.items() if not isinstance(one, type)}
    functions["backbones"] = api.backbones
    classes = [thing for thing in public.values() if isinstance(thing, type)]
    estimators = [
        thing for name in heads.__all__ if isinstance(thing := getattr(heads, name), type)
    ]
    lines = [REFERENCE_HEAD, "## Functions", ""]
    for name in sorted(functions):
        lines += [_function(name, functions[name]), ""]
    for title, things in {"Classes": classes, "Heads": estimators}.items():
        lines += [f"## {title}", ""]
        for thing in things:
            lines += [f"::: {thing.__module__}.{thing.__qualname__}", ""]
    return "\n".join(lines)


def _function(name: str, function: Callable[..., object]) -> str:
    about = inspect.getdoc(function).partition("\nParameters\n")[0].strip()
    options = f"Options: see [{name}](commands.md#{name})." if name in COMMANDS else ""
    words, named = [], False
    for option in inspect.signature(function).parameters.values():
        if option.kind is option.KEYWORD_ONLY and not named:
            words.append("*")
            named = True
        default = "" if option.default is option.empty else f"={option.default!r}"
        words.append(option.name + default)
    call = f"{name}({', '.join(words)})"
    shown = textwrap.fill(call, 90, subsequent_indent="    ", break_long_words=False)
    return "\n".join([f"### {name}", "", "```text", shown, "```", "", about, "", options])


def _section(name: str, command: click.Command) -> str:
    with click.Context(command, info_name=f"bottleneck {name}") as context:
        lines = [f"## {name}", "", "```text", command.get_usage(context), "```", ""]
        lines += [_paragraphs(command.help), ""]
        rows = [_row(option, context) for option in command.params]
    rows = [row for row in rows if row]
    if rows:
        lines += ["| option | default | |", "| --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def _paragraphs(text: str) -> str:
    """Drop click's marks and the indentation of a docstring."""
    lines = [line.strip() for line in text.replace("\b", "").strip().splitlines()]
    return _plain("\n".join(lines))


def _row(option: click.Parameter, context: click.Context) -> str | None:
    if not isinstance(option, click.Option):
        return None
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    if isinstance(option.type, click.Choice):
        names += " " + _plain(" | ".join(option.type.choices))
    elif option.metavar:
        names += f" {_plain(option.metavar)}"
    default = option.get_default(context)
    if option.multiple and isinstance(default, tuple):
        default = ", ".join(default)
    # click marks "none given" by values of its own.
    shown = "" if option.is_flag or not isinstance(default, str | int | float) else f"`{default}`"
    return f"| {names} | {shown} | {_plain(option.help or '')} |"


def _plain(text: str) -> str:
    """Keep what Markdown would take for its own: columns of a table, tags."""
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for name, text in pages().items():
        HERE.joinpath(name).write_text(text)
