"""Pixel arrays that the caller holds in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import SourceError
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.manifest import Manifest
from bottleneck.sources.listing import Listing

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class PixelSource:
    """Pixel arrays in memory, each ``(height, width)`` or ``(height, width, channels)``.

    Parameters
    ----------
    images : sequence of ndarray of uint8 or uint16
        Greyscale, RGB or RGBA; sizes may differ.
    """

    def __init__(self, images: Sequence[Pixels]) -> None:
        self.name = "arrays"
        self.manifest = Manifest.build([str(row) for row in range(len(images))])
        self.listing = Listing()
        self._images = images

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        return f"<PixelSource {len(self)} images>"

    def read(self, row: int) -> Pixels:
        """Return a row's pixels.

        Raises
        ------
        SourceError
            When they are neither uint8 nor uint16.
        """
        image: Any = np.asarray(self._images[row])
        if image.dtype not in (np.uint8, np.uint16):
            raise SourceError(
                f"expected pixels of type uint8 or uint16, got {image.dtype} in row {row}",
                hint="Pixels are 0..255 before any preprocessing; the backbone does its own.",
            )
        pixels: Pixels = image
        return pixels

    def stamp(self) -> str:
        """Return a fingerprint of all pixels."""
        return fingerprint_parts(np.ascontiguousarray(image).tobytes() for image in self._images)
