"""The images that int8 is calibrated with: some of those that are to be computed."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ImageError, ManifestError
from bottleneck.images import Geometry, decode, from_pixels
from bottleneck.sources import Source

COUNT: Final = 320
"""Four in five calibrate, the rest judges: more changed the cosine by less than it varies."""

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
    images = []
    for row in chosen.tolist():
        try:
            image = source.read(row)
            if isinstance(image, bytes):
                images.append(decode(image, geometry))
            else:
                images.append(from_pixels(image, geometry))
        except ImageError:
            continue
    if not images:
        raise ManifestError(
            f"{source.name}: expected images to calibrate int8 with. Received: {len(chosen)} that"
            " cannot be decoded."
        )
    return np.stack(images)
