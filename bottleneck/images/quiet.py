"""Hold Pillow quiet and strict while an image is decoded, in any number of threads.

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

from PIL import ImageFile

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

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            filters = _filters()
            # Someone's catch_warnings may have put another list in place since.
            if not filters or filters[0] is not _PILLOW_ONLY:
                filters.insert(0, _PILLOW_ONLY)
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
            filters = _filters()
            filters[:] = [entry for entry in filters if entry is not _PILLOW_ONLY]
            if self._lenient:
                ImageFile.LOAD_TRUNCATED_IMAGES = True
                self._lenient = False


quiet_pillow = _QuietPillow()
"""Context manager: one for the process, may be entered by many threads at once."""
