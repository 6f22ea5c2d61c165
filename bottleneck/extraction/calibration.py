"""The images that int8 is calibrated with: some of those that are to be computed."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.cores import available_cores
from bottleneck.decode import Job, decode_stream, open_decoder
from bottleneck.errors import ManifestError
from bottleneck.images import Geometry
from bottleneck.sources import Source

COUNT: Final = 320
"""Four in five calibrate, the rest judges: more changed the cosine by less than it varies."""

_BATCH: Final = 16

CalibrationImages = Callable[[Geometry], NDArray[np.uint8]]
"""From the size of a network's input to uint8 images of shape (n, size, size, 3)."""


def calibration_images(
    source: Source, geometry: Geometry, *, count: int = COUNT
) -> NDArray[np.uint8]:
    """Decode images of a source, evenly spread over its rows; always the same ones.

    Parameters
    ----------
    source : Source
    geometry : Geometry
        Size and resize rule.
    count : int
        At most so many; images that cannot be decoded are left out.

    Returns
    -------
    ndarray of uint8, shape (n, size, size, 3)

    Raises
    ------
    ManifestError
        When none of them can be decoded.
    """
    rows = len(source.manifest)
    chosen = np.unique(np.arange(min(count, rows)) * rows // min(count, rows))
    parts = [chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH)]
    # By the decode workers, since an image that crashes or hangs a decoder may be among them.
    slots = decode_stream(
        open_decoder(source, workers=available_cores()),
        Job.simple(geometry, _BATCH),
        ((part, np.ones(len(part), np.uint32)) for part in parts),
    )
    images = [slot.pixels[0][: np.count_nonzero(slot.drawn[: slot.count])].copy() for slot in slots]
    if not sum(map(len, images)):
        raise ManifestError(
            f"{source.name}: expected images to calibrate int8 with, got {len(chosen)} that"
            " cannot be decoded"
        )
    return np.concatenate(images)
