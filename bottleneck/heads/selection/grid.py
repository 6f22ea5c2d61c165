"""Grids of strengths and settings of heads as people type them."""

import json
import math
from collections.abc import Sequence
from typing import Any

from bottleneck.errors import OptionError

_HINT = "Write LOW:HIGH:COUNT for log-spaced values (1e-4:1e1:6) or a list (0.01,0.1,1)."


def parse_grid(text: str) -> tuple[float, ...]:
    """Read a grid of positive numbers.

    Parameters
    ----------
    text : str
        ``LOW:HIGH:COUNT``, log-spaced with both ends included, or a list with commas, or one
        number.

    Returns
    -------
    tuple of float
        Ascending, without repeats.

    Raises
    ------
    OptionError
        For anything else.
    """
    if ":" not in text:
        return check_grid(tuple(_number(part, text) for part in text.split(",")))
    parts = text.split(":")
    if len(parts) != 3:
        raise OptionError(f"expected LOW:HIGH:COUNT, got {text!r}", hint=_HINT)
    low, high = _number(parts[0], text), _number(parts[1], text)
    try:
        count = int(parts[2])
    except ValueError:
        raise OptionError(
            f"expected a whole number as COUNT, got {parts[2]!r} in {text!r}", hint=_HINT
        ) from None
    if count < 2 or high <= low:
        raise OptionError(f"expected LOW < HIGH and a COUNT of 2 or more, got {text!r}", hint=_HINT)
    first, last = math.log10(low), math.log10(high)
    inner = (10 ** (first + (last - first) * i / (count - 1)) for i in range(1, count - 1))
    # Twelve digits: 0.01, not 0.010000000000000002, in reports; the ends are what was typed.
    return check_grid((low, *(float(f"{value:.12g}") for value in inner), high))


def parse_counts(text: str) -> tuple[int, ...]:
    """Read whole numbers of 1 or more, separated by commas; ascending, without repeats.

    Raises
    ------
    OptionError
        For anything else.
    """
    try:
        counts = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise OptionError(f"expected whole numbers with commas (1,2,4), got {text!r}") from None
    if counts[0] < 1:
        raise OptionError(f"expected numbers of 1 or more, got {text!r}")
    return counts


def check_grid(values: tuple[float, ...]) -> tuple[float, ...]:
    """Sort a grid, drop repeats, refuse what is empty, not finite or not positive.

    Raises
    ------
    OptionError
        Naming the value.
    """
    if not values:
        raise OptionError("expected at least one value of C, got none", hint=_HINT)
    for value in values:
        if not (math.isfinite(value) and value > 0):
            raise OptionError(f"expected positive finite values of C, got {value:g}", hint=_HINT)
    return tuple(sorted({float(value) for value in values}))


def _number(part: str, text: str) -> float:
    try:
        value = float(part)
    except ValueError:
        raise OptionError(f"expected a number, got {part!r} in {text!r}", hint=_HINT) from None
    if not (math.isfinite(value) and value > 0):
        raise OptionError(f"expected positive finite values, got {part!r} in {text!r}", hint=_HINT)
    return value


_SETTING_HINT = "For example --head sklearn.svm.SVC --set kernel=rbf."


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` pairs; a value is JSON (``0.1``, ``true``, ``[1, 2]``), else text.

    Raises
    ------
    OptionError
        For a text without ``=``, and for numbers that are not finite.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise OptionError(f"expected name=value, got {text!r}", hint=_SETTING_HINT)
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
        if not _finite(settings[name]):
            raise OptionError(
                f"expected finite numbers, got {text!r}",
                hint="Head files hold plain JSON, which has no infinity; a large number such as"
                " 1e10 does the same.",
            )
    return settings


def _finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
