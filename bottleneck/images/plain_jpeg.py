"""Which JPEGs another decoder can be trusted with, told without decoding them.

Any decoder makes the same picture of these, but for rounding: 8 bits, grey or YCbCr, every marker
up to the end in its place. The rest (CMYK, colours without a transform, files that end early, that
are damaged at their head, or too large) is for Pillow and its rules alone, and so is what another
decoder then gives up on: a file that fails does so for the same reason whatever ``--decoder`` says.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import JpegImagePlugin

from bottleneck.errors import ImageError
from bottleneck.images.containers import open_container
from bottleneck.images.decoder import MAX_PIXELS, upright_orientation
from bottleneck.images.decoders.registry import LARGEST
from bottleneck.images.failures import quiet_pillow
from bottleneck.images.jpeg import END, SCAN, segments

_YCBCR: Final = 1
"""Adobe's name of the colour transform that JFIF files have."""


@dataclass(frozen=True)
class PlainJpeg:
    """What is to be known of a file that another decoder decodes.

    Parameters
    ----------
    width, height : int
        As it is stored, pixels.
    orientation : int
        By EXIF, 1 to 8: how it is turned upright.
    """

    width: int
    height: int
    orientation: int


@dataclass(frozen=True, eq=False)
class EncodedJpeg:
    """A file for another decoder.

    Parameters
    ----------
    data : ndarray of uint8, shape (bytes,)
        The whole file.
    plain : PlainJpeg
    """

    data: NDArray[np.uint8]
    plain: PlainJpeg


def read_plain_jpeg(data: bytes, *, max_pixels: int = MAX_PIXELS) -> PlainJpeg | None:
    """Look at a file; None where only Pillow decodes it right, or says why it cannot be."""
    if len(data) > LARGEST or not data.startswith(b"\xff\xd8\xff") or not _is_whole(data):
        return None
    with quiet_pillow:
        try:
            image = open_container(data).image
        except ImageError:
            return None
        if not isinstance(image, JpegImagePlugin.JpegImageFile) or not _has_usual_colours(image):
            return None
        if not 1 <= image.width * image.height <= max_pixels:
            return None
        return PlainJpeg(*image.size, upright_orientation(image))


def _has_usual_colours(image: JpegImagePlugin.JpegImageFile) -> bool:
    if image.mode == "L":
        return True
    if image.mode != "RGB":
        return False
    if "jfif" in image.info:
        return True
    if "adobe" in image.info:
        return bool(image.info.get("adobe_transform") == _YCBCR)
    return [component[0] for component in image.layer] == [1, 2, 3]


def _is_whole(data: bytes) -> bool:
    """Whether all segments are there, one behind the other, and the last scan ends the picture."""
    last = 0
    for one in segments(data):
        if one.marker == END:
            return last == SCAN
        last = one.marker
    return False
