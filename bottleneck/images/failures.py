"""Hold Pillow quiet and strict while it decodes, and say why it failed.

Pillow has two switches that belong to the whole process: the warning filters, and
``ImageFile.LOAD_TRUNCATED_IMAGES``, which many scripts set and which paints what is missing of
a picture grey. ``warnings.catch_warnings`` would restore the wrong state when threads overlap.
So the first decode to begin switches, and the last one to end restores. While images are being
decoded, warnings *of Pillow's modules* are dropped and truncated files are errors; nothing else
changes for the rest of the process. (libtiff writes its own complaints about damaged TIFF files
straight to the file descriptor; Python cannot see them.)
"""

import logging
import re
import threading
import warnings
from types import TracebackType
from typing import Any, cast

from PIL import Image, ImageFile

from bottleneck.errors import ImageError
from bottleneck.exhaustion import out_of_memory, raise_if_exhausted
from bottleneck.status import RowStatus

_PILLOW_ONLY = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

# Without any handler, logging prints Pillow's complaints about damaged TIFF files to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def _filters() -> list[Any]:
    # Edited in place: the public functions would also forget which warnings were already shown,
    # and the user's own would be repeated after every image.
    return cast("list[Any]", warnings.filters)


class _QuietPillow:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._lenient = False
        self._edited: list[list[Any]] = []

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            filters = _filters()
            # Someone's catch_warnings may have put another list in place since.
            if not filters or filters[0] is not _PILLOW_ONLY:
                filters.insert(0, _PILLOW_ONLY)
                self._edited.append(filters)
            if ImageFile.LOAD_TRUNCATED_IMAGES:
                ImageFile.LOAD_TRUNCATED_IMAGES = False
                self._lenient = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            # A catch_warnings that was entered meanwhile has a copy, and will put the list back.
            for filters in (*self._edited, _filters()):
                filters[:] = [entry for entry in filters if entry is not _PILLOW_ONLY]
            self._edited.clear()
            if self._lenient:
                ImageFile.LOAD_TRUNCATED_IMAGES = True
                self._lenient = False


quiet_pillow = _QuietPillow()
"""Context manager: one for the process, may be entered by many threads at once."""


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

    Raises
    ------
    ExhaustedError
        When that was not the file's doing: the machine is out of memory, say.
    """
    if isinstance(error, ImageError):
        return error
    raise_if_exhausted(error)
    text = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError) or out_of_memory(error):
        reason = RowStatus.TOO_LARGE
    elif ended_early or _CUT_SHORT.search(text):
        reason = RowStatus.TRUNCATED
    elif isinstance(error, NotImplementedError) or _FOREIGN.search(text):
        reason = RowStatus.UNSUPPORTED
    else:
        reason = RowStatus.UNREADABLE
    return ImageError(reason, f"{container}: {text}")
