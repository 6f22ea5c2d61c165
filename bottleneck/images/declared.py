"""What a header declares, and how loaded samples are brought to it.

Pillow decodes some layouts to other values than their header means (a negative, 12 bits in the
lower part of 16) and others wrongly. Each format with such layouts has a module that reads the
header on its own: what is not known to be decoded right is refused by name, the rest says here
what remains to be done.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

from bottleneck.errors import ImageError
from bottleneck.status import RowStatus

_BLOCK = 65536  # Pillow hands its decoders blocks of this many bytes


class ByteStream(io.BytesIO):
    """The bytes of one file, which remember whether more was asked for than there is."""

    ran_out = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as :class:`io.BytesIO` does."""
        chunk = super().read(size)
        # A decoder that is fed block by block gets a short last block from every sound file.
        if size is not None and size > len(chunk) and (size < _BLOCK or not chunk):
            self.ran_out = True
        return chunk


@dataclass(frozen=True)
class DeclaredPixels:
    """What remains to be done to the samples that Pillow gives.

    Parameters
    ----------
    top : int, optional
        The sample that is white, where it is not the largest of the samples' type.
    shift : int
        Bits by which Pillow has moved the samples up.
    negative : bool
        Whether the samples are still those of a negative, 0 being white.
    opaque : bool
        Whether what Pillow takes for alpha is none.
    instead : bytes, optional
        What Pillow is to decode in place of the file.
    deeper : bytes, optional
        The JPEG 2000 declared one bit deeper, where Pillow lets the brightest samples become 0.
    """

    top: int | None = None
    shift: int = 0
    negative: bool = False
    opaque: bool = False
    instead: bytes | None = None
    deeper: bytes | None = None

    def apply(self, image: Image.Image) -> Image.Image:
        """Give a loaded image the values that its header means."""
        if self.deeper is not None:
            return _without_wrapping(image, self.deeper)
        if self.top is not None:
            return self._rescaled(image, self.top)
        if self.negative and image.mode == "F":
            return Image.fromarray(np.float32(1) - np.asarray(image))
        if self.negative and image.mode == "1":
            return ImageChops.invert(image)
        if self.negative:
            return self._rescaled(image, 65535)
        return image.convert("RGB") if self.opaque and image.mode != "L" else image

    def _rescaled(self, image: Image.Image, top: int) -> Image.Image:
        samples = np.asarray(image).astype(np.int64) >> self.shift
        if self.negative:
            samples = top - samples
        scaled = ((2 * samples * 255 + top) // (2 * top)).astype(np.uint8)
        if scaled.ndim == 3 and scaled.shape[2] == 2:
            return Image.merge("LA", [Image.fromarray(scaled[:, :, i].copy()) for i in (0, 1)])
        return Image.fromarray(scaled)


def _without_wrapping(image: Image.Image, deeper: bytes) -> Image.Image:
    factory, _ = Image.OPEN["JPEG2000"]
    other = factory(io.BytesIO(deeper), "")
    bands = []
    for band, beside in zip(image.split(), other.split(), strict=True):
        samples = np.asarray(band)
        bright = (samples == 0) & (np.asarray(beside) > 128)
        bands.append(Image.fromarray(np.where(bright, np.uint8(255), samples)))
    return Image.merge(image.mode, bands)


AS_DECODED = DeclaredPixels()
"""Pillow's samples are what the header means."""


def unsupported(container: str, what: str) -> ImageError:
    """Name a layout that is not decoded here; the file may be sound."""
    return ImageError(RowStatus.UNSUPPORTED, f"{container}: {what} is not supported")
