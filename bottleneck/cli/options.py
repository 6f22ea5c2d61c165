"""Options of the command line, made of those that :mod:`bottleneck.options` declares."""

import re
from collections.abc import Callable
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar

import click

from bottleneck import __version__, gpus
from bottleneck.declare import Declared, Options, declared, listed
from bottleneck.errors import BottleneckError
from bottleneck.location import cache_folder
from bottleneck.writing import write_text

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Callback = Callable[[click.Context, click.Parameter, Any], Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def _be_verbose(context: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        context.meta[VERBOSE] = True


VERBOSE = "bottleneck.verbose"
"""In the context of a command that is to say more."""

verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_be_verbose,
    help="Say more: the options in force and where each is from, the time of every line.",
)


def quiet_option(command: _Command) -> _Command:
    """Let a command be told to show less, or more."""
    quiet = click.option("-q", "--quiet", is_flag=True, help="No progress on standard error.")
    return quiet(verbose_option(command))


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
    # click 8.3 and later take a default, even None, for what was given: none where it is required.
    default = {} if option.required else {"default": None if option.several else option.default}
    return click.argument(
        option.name,
        metavar=option.about.metavar,
        nargs=-1 if option.several else 1,
        required=option.required,
        **default,
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
    if option.name in _DEVICES:
        settings["callback"] = _showing(settings.get("callback"))
    if option.name in _NAMES:
        settings["shell_complete"] = _completed(_NAMES[option.name])
    return click.option(*flags, option.name, **settings)


_DEVICES = ("device", "devices")


def _showing(then: _Callback | None) -> _Callback:
    """Make the callback of an option of devices, of which a command is shown the first GPU."""

    def show(context: click.Context, parameter: click.Parameter, given: Any) -> Any:
        found = then(context, parameter, given) if then is not None else given
        named = [device for device in listed(found or ()) if device != "cpu"]
        gpu = re.search(r":(\d+)$", named[0]) if named else None
        if gpu and gpus.shows_one():
            gpus.show_one(int(gpu[1]))
        return found

    return show


def _backbones(context: click.Context) -> list[str]:
    from bottleneck.backbones.catalogue import all_backbones
    from bottleneck.backbones.own import entries

    return [*(entry.name for entry in entries()), *(spec.name for spec in all_backbones())]


def _heads(context: click.Context) -> list[str]:
    from bottleneck.heads.registry import head_names

    return [*head_names()]


def _layers(context: click.Context) -> list[str]:
    """Name the layers of the backbone that was typed, the first one, or of the default.

    The network has to be built, which takes seconds; the names of one of the catalogue, which
    does not change, are kept for the next time.
    """
    from bottleneck.backbones.catalogue import all_backbones

    typed = listed(context.params.get("backbone") or ())
    if not typed:
        return []  # a command without one
    (backbone, *_) = typed
    if backbone not in {spec.name for spec in all_backbones()}:
        return _layers_of(backbone)
    kept = _cache() / f"{backbone}-{__version__}.txt"
    if not kept.exists():
        names = _layers_of(backbone)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, "".join(f"{name}\n" for name in names))
    return kept.read_text(encoding="utf-8").splitlines()


def _layers_of(backbone: str) -> list[str]:
    from bottleneck import api

    found: list[Any] = [*api.backbones(backbone, layers=True)]
    return [row.layer for row in found]


def _cache() -> Path:
    return cache_folder() / "layers"


_NAMES: dict[str, Callable[[click.Context], list[str]]] = {
    "backbone": _backbones,
    "head": _heads,
    "heads": _heads,
    "layers": _layers,
}
"""What a shell may complete, beside files and fixed words."""


def _completed(names: Callable[[click.Context], list[str]]) -> Callable[..., list[str]]:
    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
        before, comma, last = typed.rpartition(",")  # of several: logreg,kn
        try:
            offered = names(context)
        except (BottleneckError, OSError):  # a shell wants names, no reasons
            return []
        return [before + comma + name for name in offered if name.startswith(last)]

    return complete


def _type_of(option: Declared) -> Any:
    if option.words and option.kind is str:
        return click.Choice(option.words)
    return str if option.words else option.kind  # numbers or words: checked by the dataclass
