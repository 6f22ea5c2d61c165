"""How a long run tells what it is doing, whoever listens."""

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Receives the state of a run. Rows are reported once they are durable, not before."""

    def begin(self, total: int, done: int) -> None:
        """Start on ``total`` rows; ``done`` others need nothing now."""
        ...

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Tell how many rows this run has finished and failed, and the seconds per stage."""
        ...

    def stage(self, what: str) -> None:
        """Tell what is being done now, where there are no rows to count."""
        ...

    def working(self, what: str) -> None:
        """Tell again and again how far a stage is; only the last word counts."""
        ...

    def note(self, message: str) -> None:
        """Tell something worth knowing that is no error."""
        ...

    def end(self) -> None:
        """The run is over, one way or the other."""
        ...


class Silent:
    """Listens to nothing."""

    def begin(self, total: int, done: int) -> None:
        """Ignore it."""

    def advance(self, finished: int, failed: int, seconds: Mapping[str, float]) -> None:
        """Ignore it."""

    def stage(self, what: str) -> None:
        """Ignore it."""

    def working(self, what: str) -> None:
        """Ignore it."""

    def note(self, message: str) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""

    def __repr__(self) -> str:
        return "SILENT"


SILENT = Silent()
"""The default of whatever takes a progress."""
