"""Rows of a source to batches of pixels, ahead of the network and in order.

The work is the same in a thread of this process and in a process of its own: fill a
:class:`~bottleneck.decode.slot.Slot`. Worker processes import nothing above this package.
"""

from bottleneck.decode.fill import changed_rows, image_digest
from bottleneck.decode.slot import Failure, Job, Slot
from bottleneck.decode.stream import (
    KINDS,
    Decoder,
    decode_stream,
    open_decoder,
)

__all__ = [
    "KINDS",
    "Decoder",
    "Failure",
    "Job",
    "Slot",
    "changed_rows",
    "decode_stream",
    "image_digest",
    "open_decoder",
]
