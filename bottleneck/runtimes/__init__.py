"""How a forward pass is compiled: one Protocol, one module per framework.

Nothing here imports a framework until a backbone is compiled.
"""

from importlib import import_module
from typing import Final, cast

from bottleneck.backbones.keras_scope import package_of
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.gpus import gpu_makers
from bottleneck.runtimes.choice import (
    FIRST_ON_GPU,
    RUNTIMES,
    choose,
    forms,
    gpus_seen_by,
    has_gpu,
    installed,
    precisions,
    sees_gpu,
    unused_gpu,
)
from bottleneck.runtimes.protocol import (
    Borrowing,
    CompiledBackbone,
    Overlapping,
    Padding,
    Pending,
    Runtime,
)

NAMES: Final = ("auto", *RUNTIMES)
"""What ``--runtime`` takes."""


def get(name: str = "auto", precision: str = "float32") -> Runtime:
    """Look a runtime up; its framework is imported when something is compiled.

    Parameters
    ----------
    name : str
        One of :data:`NAMES`.
    precision : str
        What it has to compute in; ``auto`` takes a runtime that does.

    Raises
    ------
    OptionError
        For a name that is none of :data:`NAMES`, or a precision the runtime does not have.
    RuntimeUnavailableError
        For a runtime whose framework is not installed.
    """
    if name not in NAMES:
        raise OptionError(
            f"expected a runtime, one of {', '.join(NAMES)}, got {name!r}",
        )
    known = list(dict.fromkeys(one for runtime in RUNTIMES for one in precisions(runtime)))
    if precision not in known:
        raise OptionError(f"expected a precision, one of {', '.join(known)}, got {precision!r}")
    chosen = choose(precision) if name == "auto" else name
    if precision not in precisions(chosen):
        others = [other for other in RUNTIMES if precision in precisions(other)]
        raise OptionError(
            f"expected a precision of the {chosen} runtime, {', '.join(precisions(chosen))}, "
            f"got {precision!r}",
            hint=f"{precision} is computed by: {', '.join(others)}.",
        )
    if chosen not in installed():
        raise RuntimeUnavailableError(
            f"expected the framework of the {chosen} runtime, but {chosen} is not installed",
            hint=f"`pip install {package_of(chosen)}`, or another --runtime; installed: "
            f"{', '.join(installed()) or 'none'}.",
        )
    # A module with the right functions is a Runtime; mypy cannot see through the late import.
    return cast(Runtime, import_module(f"bottleneck.runtimes.{chosen}"))


__all__ = [
    "FIRST_ON_GPU",
    "NAMES",
    "RUNTIMES",
    "Borrowing",
    "CompiledBackbone",
    "Overlapping",
    "Padding",
    "Pending",
    "Runtime",
    "choose",
    "forms",
    "get",
    "gpu_makers",
    "gpus_seen_by",
    "has_gpu",
    "installed",
    "precisions",
    "sees_gpu",
    "unused_gpu",
]
