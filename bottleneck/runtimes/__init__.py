"""How a forward pass is compiled: one Protocol, one module per framework.

Nothing here imports a framework until a backbone is compiled.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Final, cast

from bottleneck.backbones.keras_scope import package_of
from bottleneck.errors import OptionError, RuntimeUnavailableError
from bottleneck.gpus import gpu_makers, number_here, shows_one
from bottleneck.runtimes.choice import (
    FIRST_ON_GPU,
    RUNTIMES,
    choose,
    forms,
    gpus_seen_by,
    has_gpu,
    installed,
    precisions,
    require_seen,
    sees_gpu,
    unused_gpu,
)
from bottleneck.runtimes.protocol import (
    Borrowing,
    CompiledBackbone,
    Overlapping,
    Padding,
    Pending,
    Placed,
    Runtime,
    gpu_index,
    require_device,
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


def placed(
    framework: str, device: str | None, tell: Callable[[str], None] = lambda told: None
) -> Placed:
    """Find a device of a framework, which is imported.

    Parameters
    ----------
    framework : str
        One of :data:`RUNTIMES`.
    device : str or None
        ``cpu``, ``gpu`` or ``gpu:N``. None: the first GPU, else what the framework takes by itself.
    tell : callable, optional
        Is told that there is a GPU, and the CPU computes all the same.

    Raises
    ------
    OptionError
        For a device that is not known, or of which the framework has none.
    RuntimeUnavailableError
        When the framework cannot be used, or has no such GPU.
    """
    require_device(framework, device)
    find: Callable[[str | None], Placed] = import_module(f"bottleneck.runtimes.{framework}").placed
    gpu = None if device is None else gpu_index(device)
    kind = (device or "").partition(":")[0]
    try:
        found = find(device if gpu is None else f"{kind}:{number_here(gpu)}")
    except RuntimeUnavailableError as error:
        if shows_one():
            require_seen(framework, [gpu], error.hint)
        raise
    if gpu is not None:
        found = replace(found, name=f"{kind}:{gpu}")
    asked = () if device is None else (device,)
    if idle := unused_gpu(found.framework, found.version, found.name, asked):
        tell(idle)
    return found


__all__ = [
    "FIRST_ON_GPU",
    "NAMES",
    "RUNTIMES",
    "Borrowing",
    "CompiledBackbone",
    "Overlapping",
    "Padding",
    "Pending",
    "Placed",
    "Runtime",
    "choose",
    "forms",
    "get",
    "gpu_makers",
    "gpus_seen_by",
    "has_gpu",
    "installed",
    "placed",
    "precisions",
    "require_seen",
    "sees_gpu",
    "unused_gpu",
]
