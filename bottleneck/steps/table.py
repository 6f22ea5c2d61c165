"""Steps from tables of options, as a pipeline file has them: names and types checked."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bottleneck.errors import PipelineError
from bottleneck.steps import STEPS
from bottleneck.steps.base import Step


def build_step(kind: str, options: Mapping[str, Any], root: Path, where: str) -> Step:
    """Make a step of the options a table gives.

    Parameters
    ----------
    kind : str
        Name of the step's command.
    options : mapping
        Plain values, as TOML has them.
    root : Path
        Folder that relative paths start from.
    where : str
        What the options belong to, for messages.

    Raises
    ------
    PipelineError
        For an unknown option, a missing one or a value of the wrong type.
    """
    step_type = STEPS[kind]
    refuse_unknown(options, option_names(kind), where)
    hints = get_type_hints(step_type)
    values: dict[str, Any] = {}
    for field in step_fields(step_type):
        if field.name in options:
            value = _typed(options[field.name], hints[field.name], f"{where}, {field.name}")
            if field.name in (*step_type.reads, *step_type.writes):
                value = _resolve(value, root)
            values[field.name] = value
        elif field.default is MISSING:
            raise PipelineError(f"{where}: expected a value for {field.name!r}, found none")
    return step_type(**values)


def _typed(value: Any, hint: Any, where: str) -> Any:
    """Check a TOML value against a field's type; lists become tuples, integers floats."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (hint,) = (option for option in arguments if option is not NoneType)
        return _typed(value, hint, where)
    if origin is Literal:
        if value not in arguments:
            raise PipelineError(
                f"{where}: expected one of {', '.join(map(repr, arguments))}, got {value!r}"
            )
        return value
    if origin is tuple:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise PipelineError(f"{where}: expected a list of strings, got {value!r}")
        return tuple(items)
    if hint is float and type(value) is int:
        return float(value)
    if hint is str and type(value) in (int, float):
        return str(value)  # C = 0.1 and max_failed = 5 read better without quotes
    if type(value) is not hint:
        raise PipelineError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value


def _resolve(value: Any, root: Path) -> Any:
    if isinstance(value, tuple):
        return tuple(_resolve(item, root) for item in value)
    return os.path.relpath(root / value) if isinstance(value, str) else value


def refuse_unknown(table: Mapping[str, Any], known: set[str], where: str) -> None:
    """Raise a PipelineError for the first key that is not known, with the nearest ones."""
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            raise PipelineError(
                f"{where}: unknown key {key!r}",
                hint=f"Did you mean {' or '.join(near)}?"
                if near
                else f"Known keys: {', '.join(sorted(known))}",
            )


def option_names(kind: str) -> set[str]:
    """Return the names of a step's options."""
    return {field.name for field in step_fields(STEPS[kind])}


def step_fields(step: Any) -> tuple[Field[Any], ...]:
    """Return the fields of a step or of its class."""
    return fields(step)
