"""What every step of the job is."""

from typing import Any, ClassVar, Protocol

from bottleneck.extraction.progress import Progress


class Step(Protocol):
    """One step: its fields are its options, :meth:`run` does the work.

    Attributes
    ----------
    reads, writes : tuple of str
        Names of the fields that hold the paths it reads and writes.
    """

    reads: ClassVar[tuple[str, ...]]
    writes: ClassVar[tuple[str, ...]]

    def run(self, progress: Progress) -> dict[str, Any]:
        """Do the work; return a JSON document of what came out."""
        ...
