"""Who looks after images that take too long."""

from collections.abc import Callable
from typing import Final

from bottleneck.decode.slot import Slot

STALL_SECONDS: Final = 10.0
"""An image that takes longer than this is named."""

TIMEOUT_SECONDS: Final = 60.0
"""An image that takes longer than this has failed. The slowest sound ones, with as many pixels
as are allowed, take some five seconds on an old core."""


class Watch:
    """Names images that are slow, once each.

    Parameters
    ----------
    timeout : float
        Seconds after which an image has failed.
    name : callable
        Key of a row, for messages.
    note : callable
        Receives the messages.
    """

    def __init__(
        self,
        timeout: float = TIMEOUT_SECONDS,
        name: Callable[[int], str] = str,
        note: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.timeout = timeout
        self.note = note
        self._name = name
        self._named = -1

    def look(self, slot: Slot, now: float) -> bool:
        """Look at a slot somebody works on: whether its image in hand has run out of time."""
        position, stop = slot.hand.tolist()
        if not 0 <= position < stop:
            return False
        took, row = now - float(slot.since[0]), int(slot.rows[position])
        if took >= STALL_SECONDS and row != self._named:
            self._named = row
            self.note(f"waiting for {self._name(row)} since {took:.0f} s")
        return took >= self.timeout
