"""How a forward pass is compiled: one Protocol, one module per framework.

Nothing here imports a framework until a backbone is compiled.
"""

from importlib import import_module
from typing import Final, cast

from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.runtimes.protocol import CompiledBackbone, Runtime

NAMES: Final = ("auto", "tensorflow", "jax", "torch", "openvino")
"""What ``--runtime`` takes."""

DEFAULT: Final = "tensorflow"
"""What ``auto`` stands for."""

_MODULES: Final = {"tensorflow": "bottleneck.runtimes.tensorflow"}


def get(name: str = "auto") -> Runtime:
    """Look a runtime up; its framework is imported when something is compiled.

    Raises
    ------
    OptionError
        For a name that is none of :data:`NAMES`.
    RuntimeUnavailableError
        For a runtime this version does not have.
    """
    if name not in NAMES:
        raise OptionError(
            f"Expected a runtime, one of {', '.join(NAMES)}. Received: {name!r}.",
        )
    chosen = DEFAULT if name == "auto" else name
    if chosen not in _MODULES:
        raise RuntimeUnavailableError(
            f"Expected an available runtime. Received: {name!r}, which this version does not have.",
            hint=f"Available: {', '.join(_MODULES)}.",
        )
    # A module with the right functions is a Runtime; mypy cannot see through the late import.
    return cast(Runtime, import_module(_MODULES[chosen]))


__all__ = ["DEFAULT", "NAMES", "CompiledBackbone", "Runtime", "get"]
