"""From whatever a decoder raised to the reason a row is given."""

import re

from PIL import Image

from bottleneck.errors import ImageError
from bottleneck.status import RowStatus

# Pillow tells these apart by text only.
_CUT_SHORT = re.compile(r"truncat|unexpected (eof|end)|reached eof|not enough (image )?data", re.I)
_FOREIGN = re.compile(
    r"not (yet )?support|unsupported|not implemented|unimplemented|unknown|"
    r"cannot handle|not available|not installed|conversion from",
    re.I,
)


def explain(error: BaseException, container: str, ended_early: bool) -> ImageError:
    """Give the reason for an exception of a decoder.

    Parameters
    ----------
    error : BaseException
        What Pillow or one of its plugins raised.
    container : str
        Pillow's name of the file format, for the message.
    ended_early : bool
        Whether the bytes are known to end before the file does.

    Returns
    -------
    ImageError
        ``TOO_LARGE``, ``TRUNCATED``, ``UNSUPPORTED``, or else ``UNREADABLE``: the bytes are of a
        known format and complete, but damaged.
    """
    if isinstance(error, ImageError):
        return error
    text = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | MemoryError) or "out of memory" in text:
        reason = RowStatus.TOO_LARGE
    elif ended_early or _CUT_SHORT.search(text):
        reason = RowStatus.TRUNCATED
    elif isinstance(error, NotImplementedError) or _FOREIGN.search(text):
        reason = RowStatus.UNSUPPORTED
    else:
        reason = RowStatus.UNREADABLE
    return ImageError(reason, f"{container}: {text}")
