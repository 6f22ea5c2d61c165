"""The seam between where images are kept and the rest of the package."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bottleneck.manifest import Manifest
from bottleneck.sources.listing import Listing


class Source(Protocol):
    """A finite, ordered set of images that can be read by row, from any thread.

    A source travels to other processes by pickle, and small: what it keeps open stays behind and
    is opened again where it arrives.

    Attributes
    ----------
    name : str
        What people call it: the path or URL that was given.
    manifest : Manifest
        One row per image.
    listing : Listing
        What was left out when the images were listed.
    """

    name: str
    manifest: Manifest
    listing: Listing

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def read(self, row: int) -> bytes | NDArray[np.uint8] | NDArray[np.uint16]:
        """Return a row's encoded bytes, or its pixels where the source keeps pixels.

        Raises
        ------
        ImageError
            When this one image cannot be read; its reason is the row's status.
        """
        ...

    def stamp(self) -> str:
        """Return a fingerprint that changes when an image or the list changes.

        It is made from names, sizes and times of change, without reading the images.
        """
        ...
