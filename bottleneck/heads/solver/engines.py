"""Which engine computes losses and gradients, by name."""

from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

from bottleneck.errors import OptionError
from bottleneck.heads.solver.engine import Engine, EngineName
from bottleneck.heads.solver.row_pass import Pass

if TYPE_CHECKING:
    from bottleneck.runtimes import Placed


def require_engine(name: str) -> None:
    """Refuse an unknown engine.

    Raises
    ------
    OptionError
    """
    if name not in get_args(EngineName):
        raise OptionError(f"expected the engine numpy or keras, got {name!r}")


def engine_named(name: EngineName, device: str | None = None) -> Engine | None:
    """Return the engine of a name; None stands for NumPy, in the threads of the pass.

    Parameters
    ----------
    name : {"numpy", "keras"}
    device : str, optional
        Of Keras; see :func:`bottleneck.runtimes.placed`.

    Raises
    ------
    OptionError
        For an unknown engine or device.
    RuntimeUnavailableError
        When Keras or its backend is missing, or there is no such GPU.
    """
    require_engine(name)
    if name == "numpy":
        return None
    from bottleneck.heads.solver.keras_engine import KerasEngine

    return KerasEngine(device)


def keras_place(device: str | None, tell: Callable[[str], None] = lambda told: None) -> "Placed":
    """Find a device of Keras, for what it fits; see :func:`bottleneck.runtimes.placed`."""
    # Late: heads are loaded without what draws images.
    from bottleneck.backbones.keras_scope import import_training_keras
    from bottleneck.runtimes import placed

    return placed(str(import_training_keras().backend.backend()), device, tell)


def require_cpu(device: str | None, heads: str, hint: str) -> None:
    """Refuse a GPU for heads that NumPy fits or computes.

    Parameters
    ----------
    device : str or None
        ``cpu``, ``gpu`` or ``gpu:N``.
    heads : str
        Their names.
    hint : str
        Which heads a GPU is for.

    Raises
    ------
    OptionError
    """
    if device is None:
        return
    from bottleneck.runtimes.protocol import gpu_index  # late, as in keras_place

    if gpu_index(device) is not None:
        raise OptionError(
            f"expected the device cpu for {heads}, which NumPy computes, got {device}", hint=hint
        )


def keras_note(backend: str, device: str) -> str:
    """Say what fitted a head, and where."""
    return f"fitted through Keras: {backend}, {device}"


def engine_note(run: Pass) -> list[str]:
    """Say what another engine than NumPy computed with, and where."""
    engine, layout = run.engine, run.rows.layout
    if engine is None:
        return []
    if layout is not None and layout.workers is not None:
        found = " and ".join(layout.workers.devices())
        return [keras_note(engine.backend, f"by the workers of a cluster, on {found}")]
    return [keras_note(engine.backend, engine.device)]
