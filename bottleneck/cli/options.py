"""Options that several commands share; defaults come from the steps, so there is one of each."""

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_args, get_type_hints

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress on standard error.")


def step_option(
    step: type, name: str, *flags: str, help: str, **more: Any
) -> Callable[[_Command], _Command]:
    """Make the option of a step's field: its default and its choices are the field's.

    Parameters
    ----------
    step : type
        The step's dataclass.
    name : str
        The field.
    *flags : str
        ``-b``, ``--backbone``; by default the field's name with dashes.
    help : str
        Its line in the help.
    **more
        For :func:`click.option`.
    """
    field = next(field for field in fields(step) if field.name == name)
    hint = get_type_hints(step)[name]
    settings: dict[str, Any] = {"help": help, "show_default": True}
    if field.default is MISSING:
        settings["required"] = True
    elif hint is bool:
        settings |= {"is_flag": True, "show_default": False}
    elif field.default not in (None, ()):
        settings["default"] = field.default
    settings |= _type_of(hint) if "type" not in more else {}
    settings |= more
    return click.option(*(flags or (f"--{name.replace('_', '-')}",)), name, **settings)


def _type_of(hint: Any) -> dict[str, Any]:
    options = [option for option in get_args(hint) if option is not type(None)]
    if options and all(isinstance(option, str) for option in options):
        return {"type": click.Choice(options)}
    if hint == tuple[str, ...]:
        return {"multiple": True, "type": str}
    if len(options) == 1:
        return _type_of(options[0]) or {"type": options[0]}
    return {"type": hint} if hint in (int, float, str) else {}
