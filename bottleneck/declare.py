"""Options declared once: a dataclass per function, with the help beside each field.

The command line, pipelines, environment variables, Python's signatures and their docstrings are
all derived from these fields, and every value is checked here, wherever it comes from.
"""

import functools
import inspect
import numbers
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from bottleneck.errors import OptionError
from bottleneck.progress import AUTO, Progress

Role = Literal["reads", "writes", "images"]
Holds = Literal["head", "features", "images"]

_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
}


@dataclass(frozen=True)
class Option:
    """What is said about an option beside its type and its default.

    Parameters
    ----------
    help : str
        A line for the command's help and the function's docstring.
    *flags : str
        On the command line, where they are not the name with dashes: ``-o``, ``--output``.
    metavar : str, optional
        What stands for the value in the help.
    least : float, optional
        The smallest value.
    role : {"reads", "writes", "images"}, optional
        For paths: of files that are read, of files that are made, or where images are.
    holds : {"head", "features", "images"}, optional
        What the file is expected to hold, where only that will do.
    argument : bool
        Without a flag on the command line.
    commas : bool
        Several values are written in one string, with commas.
    check : callable, optional
        Makes of a name and a value what is kept, or refuses it; instead of the rules of types.
    """

    help: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    least: float | None = None
    role: Role | None = None
    holds: Holds | None = None
    argument: bool = False
    commas: bool = False
    check: Callable[[str, Any], Any] | None = None


@dataclass(frozen=True)
class Declared:
    """An option as its dataclass declares it.

    Parameters
    ----------
    name : str
        The field.
    about : Option
        Its help and more.
    kind : type
        ``bool``, ``int``, ``float`` or ``str``, of each value.
    words : tuple of str
        Fixed values: all there are for ``str``, those beside numbers for ``int``.
    optional, several : bool
        Whether it may be None, or a sequence.
    default : object
        ``dataclasses.MISSING`` for what has to be given.
    """

    name: str
    about: Option
    kind: type
    words: tuple[str, ...]
    optional: bool
    several: bool
    default: Any

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    def checked(self, value: Any) -> Any:
        """Return a value in the type of the field, sequences as tuples, paths as strings.

        Raises
        ------
        OptionError
            For another type, an unknown word or a value too small.
        """
        if value is None and self.optional:
            return None
        if self.about.check is not None:
            return self.about.check(self.name, value)
        if self.about.commas and not isinstance(value, str) and isinstance(value, Iterable):
            return ",".join(str(item) for item in value)
        if not self.several:
            return self._one(value)
        if isinstance(value, str | Path | int | float):
            value = (value,)
        if not isinstance(value, Iterable):
            raise self._refused(value)
        return tuple(self._one(item, value) for item in value)

    def _one(self, value: Any, whole: Any = None) -> Any:
        """Check one value; ``whole`` is the list it is of, for the message."""
        if isinstance(value, Path):
            value = str(value)
        if value in self.words:
            return value
        number = None if isinstance(value, bool) else value
        if self.kind is str and isinstance(number, int | float) and not self.several:
            value = str(value)  # C = 0.1 and max_failed = 5 read better without quotes
        elif self.kind is int and self.words and isinstance(value, str) and value.isdecimal():
            value = int(value)
        elif self.kind is float and isinstance(number, numbers.Real):
            value = float(number)
        elif self.kind is int and isinstance(number, numbers.Integral):
            value = int(number)
        if (self.kind is str and self.words) or type(value) is not self.kind:
            raise self._refused(value if whole is None else whole)
        least = self.about.least
        if least is not None and isinstance(value, int | float) and value < least:
            raise OptionError(f"expected {self.name} to be at least {least:g}, got {value:g}")
        return value

    def _refused(self, value: Any) -> OptionError:
        what = _KINDS[self.kind]
        if self.words:
            words = ", ".join(map(repr, self.words))
            what = f"one of {words}" if self.kind is str else f"{what} or {words}"
        elif self.several:
            what = f"a list of {what.split()[-1]}s"
        return OptionError(f"expected {self.name} to be {what}, got {value!r}")


@dataclass(frozen=True)
class Options:
    """Base of all options: checks them, and carries who is told about progress.

    Parameters
    ----------
    progress : Progress
        Who is told how it goes; by default a line in a notebook, nobody elsewhere.
    """

    progress: Progress = field(
        default=AUTO,
        kw_only=True,
        compare=False,
        repr=False,
        metadata={
            "help": "Who is told how it goes; by default a line in a notebook, nobody elsewhere."
        },
    )

    def __post_init__(self) -> None:
        for option in declared(type(self)):
            # Frozen for everybody else.
            object.__setattr__(self, option.name, option.checked(getattr(self, option.name)))

    def values(self) -> dict[str, Any]:
        """Return the options by name, without ``progress``."""
        return {option.name: getattr(self, option.name) for option in declared(type(self))}

    def paths(self, *roles: Role) -> tuple[str, ...]:
        """Return the paths of some roles that were given, in the order of the fields."""
        found: list[str] = []
        for option in declared(type(self)):
            if option.about.role in roles:
                value = getattr(self, option.name)
                found += value if isinstance(value, tuple) else [value] if value else []
        return tuple(found)


def declared(options: type[Options]) -> tuple[Declared, ...]:
    """List the options a dataclass declares, in the order of its signature."""
    hints = get_type_hints(options, include_extras=True)
    return tuple(
        _declared(entry.name, hints[entry.name], entry.default)
        for entry in sorted(fields(options), key=lambda entry: bool(entry.kw_only))
        if get_origin(hints[entry.name]) is Annotated
    )


def _declared(name: str, hint: Any, default: Any) -> Declared:
    plain, about = get_args(hint)
    members = _members(plain)
    sequences = [one for one in members if get_origin(one) is not None]
    scalars = {*members, *(m for one in sequences for a in get_args(one) for m in _members(a))}
    words = tuple(one for one in members if isinstance(one, str))
    kinds = [one for one in (str, bool, int, float) if one in scalars]
    return Declared(
        name=name,
        about=about,
        kind=kinds[0] if kinds else str,
        words=words,
        optional=NoneType in members,
        several=bool(sequences) and not about.commas,
        default=default,
    )


def _members(hint: Any) -> tuple[Any, ...]:
    """Take unions and literals apart: types, and words as strings."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(member for option in get_args(hint) for member in _members(option))
    return get_args(hint) if get_origin(hint) is Literal else (hint,)


def listed(value: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """Return one or several names or paths as a tuple of strings."""
    return (str(value),) if isinstance(value, str | Path) else tuple(map(str, value))


def command_line(command: str, options: Options) -> str:
    """Write the command that does what some options say; defaults are left out."""
    arguments: list[str] = []
    flags: list[str] = []
    for option in declared(type(options)):
        value, about = getattr(options, option.name), option.about
        # The default may be a word where the value is a list of it.
        if value is None or value in (option.default, (option.default,)):
            continue
        values = value if isinstance(value, tuple) else (value,)
        if about.argument:
            arguments += map(str, values)
            continue
        flag = (about.flags or (f"--{option.name.replace('_', '-')}",))[0]
        if isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            flags += [part for one in values for part in (flag, f"{one}")]
    return shlex.join(["bottleneck", command, *arguments, *flags])


P = ParamSpec("P")
Result = TypeVar("Result")
Given = TypeVar("Given", bound=Options)


def takes(
    options: Callable[P, Given],
) -> Callable[[Callable[[Given], Result]], Callable[P, Result]]:
    """Make a function of options one of keywords, with the dataclass's signature and help.

    Parameters
    ----------
    options : type
        A subclass of :class:`Options`.
    """

    def decorate(function: Callable[[Given], Result]) -> Callable[P, Result]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            return function(options(*args, **kwargs))

        signature = inspect.signature(options)
        hints = get_type_hints(options)
        names = sorted(signature.parameters, key="progress".__eq__)  # of the base class, so first
        call.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[
                signature.parameters[name].replace(annotation=hints[name]) for name in names
            ],
            return_annotation=inspect.signature(function).return_annotation,
        )
        call.__doc__ = f"{inspect.getdoc(function)}\n\n{_parameters(options)}"  # type: ignore[arg-type]
        return call

    return decorate


def _parameters(options: type[Options]) -> str:
    """Write the section of a docstring."""
    lines = ["Parameters", "----------"]
    for option in declared(options):
        lines += [f"{option.name} : {_written(option)}", f"    {option.about.help}"]
    # Only Python has what is no Option: the last of them is of the base class.
    for entry in sorted(fields(options), key=lambda entry: entry.name == "progress"):
        if "help" in entry.metadata:
            kind = "Progress" if entry.name == "progress" else "callable"
            lines += [f"{entry.name} : {kind}", f"    {entry.metadata['help']}"]
    return "\n".join(lines)


def _written(option: Declared) -> str:
    words = ", ".join(map(repr, option.words))
    written = f"{{{words}}}" if option.words and option.kind is str else option.kind.__name__
    if option.words and option.kind is not str:
        written += f" or {words}"
    if option.about.role and option.kind is str:
        written += " or Path"
    if option.several or option.about.commas:
        written += " or sequence of them"
    if option.required:
        return written
    return f"{written}, optional" if option.default is None else f"{written}, {option.default!r}"
