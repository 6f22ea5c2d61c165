"""Which engine computes losses and gradients, by name."""

from typing import get_args

from bottleneck.errors import OptionError
from bottleneck.heads.solver.engine import Engine, EngineName
from bottleneck.heads.solver.row_pass import Pass


def require_engine(name: str) -> None:
    """Refuse an unknown engine.

    Raises
    ------
    OptionError
    """
    if name not in get_args(EngineName):
        raise OptionError(f"expected the engine numpy or keras, got {name!r}")


def engine_named(name: EngineName) -> Engine | None:
    """Return the engine of a name; None stands for NumPy, in the threads of the pass.

    Raises
    ------
    OptionError
        For an unknown engine.
    RuntimeUnavailableError
        When Keras or its backend is missing.
    """
    require_engine(name)
    if name == "numpy":
        return None
    from bottleneck.heads.solver.keras_engine import KerasEngine

    return KerasEngine()


def engine_note(run: Pass) -> list[str]:
    """Say what another engine than NumPy computed with, and where."""
    engine, layout = run.engine, run.rows.layout
    if engine is None:
        return []
    if layout is not None and layout.workers is not None:
        return [f"fitted through Keras: {engine.backend}, by the workers of a cluster"]
    return [f"fitted through Keras: {engine.backend}, {engine.device}"]
