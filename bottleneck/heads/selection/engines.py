"""Which engine computes losses and gradients, by name."""

from bottleneck.errors import OptionError
from bottleneck.heads.solver.engine import Engine, EngineName
from bottleneck.heads.solver.row_pass import Pass


def engine_named(name: EngineName) -> Engine | None:
    """Return the engine of a name; None stands for NumPy, in the threads of the pass.

    Raises
    ------
    OptionError
        For an unknown engine.
    RuntimeUnavailableError
        When Keras or its backend is missing.
    """
    if name == "numpy":
        return None
    if name != "keras":
        raise OptionError(f"expected the engine numpy or keras, got {name!r}")
    from bottleneck.heads.solver.keras_engine import KerasEngine

    return KerasEngine()


def engine_note(run: Pass) -> list[str]:
    """Say what another engine than NumPy computed with, and where."""
    engine = run.engine
    return [] if engine is None else [f"fitted through Keras: {engine.backend}, {engine.device}"]
