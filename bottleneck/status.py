"""The status of a row: pending, done, or why it failed.

This is the one enumeration of the feature file's ``/status`` codes. A code, once released,
keeps its meaning for ever; new reasons get new numbers.
"""

from enum import IntEnum


class RowStatus(IntEnum):
    """What happened to one manifest entry (``/status``, unsigned 8-bit)."""

    PENDING = 0
    DONE = 1
    NOT_AN_IMAGE = 2
    TRUNCATED = 3
    EMPTY = 4
    TOO_LARGE = 5
    UNREADABLE = 6
    MISSING = 7
    UNSUPPORTED = 8
    DECODER_CRASHED = 9
    TIMED_OUT = 10
    NON_FINITE = 11
    NOT_A_SOUND = 12

    @property
    def failed(self) -> bool:
        """Whether the row has a reason instead of features."""
        return self > RowStatus.DONE

    @property
    def label(self) -> str:
        """The name people see, ``not an image``."""
        return self.name.lower().replace("_", " ")
