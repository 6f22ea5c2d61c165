"""Options of the command line, made of those that :mod:`bottleneck.options` declares."""

from collections.abc import Callable
from dataclasses import MISSING
from typing import Any, TypeVar

import click

from bottleneck.declare import Declared, Options, declared, listed

_Command = TypeVar("_Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress on standard error.")


def options_of(options: type[Options]) -> Callable[[_Command], _Command]:
    """Give a command every argument and option of a dataclass.

    Parameters
    ----------
    options : type
        The dataclass; defaults, choices and help are those of its fields.
    """

    def decorate(command: _Command) -> _Command:
        for option in reversed(declared(options)):
            command = (_argument if option.about.argument else _option)(option)(command)
        return command

    return decorate


def _argument(option: Declared) -> Callable[[_Command], _Command]:
    return click.argument(
        option.name,
        metavar=option.about.metavar,
        nargs=-1 if option.several else 1,
        required=option.required,
        default=None if option.required or option.several else option.default,
    )


def _option(option: Declared) -> Callable[[_Command], _Command]:
    about, dashed = option.about, option.name.replace("_", "-")
    settings: dict[str, Any] = {"help": about.help, "metavar": about.metavar, "show_default": True}
    flags = about.flags or (f"--{dashed}",)
    if option.required:
        settings["required"] = True
    elif option.kind is bool:
        settings |= {"is_flag": True, "show_default": False, "default": option.default}
        if option.default and not about.flags:
            flags = (f"--{dashed}/--no-{dashed}",)
    elif option.several:
        # None where the field's is (): click shows no empty default then.
        many = listed(option.default or ()) if option.kind is str else option.default
        settings |= {"multiple": True, "default": many or None}
        # click hands on () where nothing is given, whatever the default.
        settings["callback"] = lambda context, parameter, given: given or option.default
    elif option.default is not None and option.default is not MISSING:
        settings["default"] = option.default
    if option.kind is not bool:
        settings["type"] = _type_of(option)
    if option.name in _NAMES:
        settings["shell_complete"] = _completed(_NAMES[option.name])
    return click.option(*flags, option.name, **settings)


def _backbones() -> list[str]:
    from bottleneck.backbones.catalogue import all_backbones

    return [spec.name for spec in all_backbones()]


def _heads() -> list[str]:
    from bottleneck.heads.registry import head_names

    return [*head_names()]


_NAMES: dict[str, Callable[[], list[str]]] = {
    "backbone": _backbones,
    "head": _heads,
    "heads": _heads,
}
"""What a shell may complete, beside files and fixed words."""


def _completed(names: Callable[[], list[str]]) -> Callable[..., list[str]]:
    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
        before, comma, last = typed.rpartition(",")  # of several: logreg,kn
        return [before + comma + name for name in names() if name.startswith(last)]

    return complete


def _type_of(option: Declared) -> Any:
    if option.words and option.kind is str:
        return click.Choice(option.words)
    return str if option.words else option.kind  # numbers or words: checked by the dataclass
