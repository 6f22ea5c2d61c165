"""No reading behind the end of anything."""

from bottleneck.errors import ImageError
from bottleneck.status import RowStatus


def refuse_beyond(name: str, size: int, offset: int, length: int) -> None:
    """Refuse to read behind the end.

    Parameters
    ----------
    name : str
        What is read, for the message.
    size : int
        Where it ends, bytes.
    offset, length : int
        What is wanted of it.

    Raises
    ------
    ImageError
        ``TRUNCATED``, with what was asked for and where the bytes end.
    """
    if offset + length > size:
        raise ImageError(
            RowStatus.TRUNCATED,
            f"{name} is cut short: expected {length} bytes at offset {offset}, it ends at {size}",
        )
