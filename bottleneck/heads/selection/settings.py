"""Settings of heads as people type them: ``name=value``."""

import json
import math
from collections.abc import Sequence
from typing import Any

from bottleneck.errors import OptionError

_HINT = "For example --head sklearn.svm.SVC --set kernel=rbf."


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
            raise OptionError(f"expected name=value, got {text!r}", hint=_HINT)
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
