"""What decode workers are to do with every row, as data that travels."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bottleneck.images import Geometry

MAX_WANTS = 32
"""Most wants of a job: a row says which of them it has in the bits of a number."""


@dataclass(frozen=True, eq=False)
class Want:
    """What one consumer of pixels needs of a row.

    Parameters
    ----------
    geometry : int
        Which of the job's geometries.
    known : ndarray of S16, shape (k,), optional
        Sorted :func:`~bottleneck.decode.digests.row_keys` of images the consumer has features
        of: they are read and hashed, but not decoded for it.
    """

    geometry: int
    known: NDArray[np.bytes_] | None = None

    def knows(self, key: NDArray[np.bytes_]) -> bool:
        """Whether the consumer has the features of an image already."""
        if self.known is None or not len(self.known):
            return False
        found = int(np.searchsorted(self.known, key))
        return found < len(self.known) and bool(self.known[found] == key)


@dataclass(frozen=True)
class Job:
    """What to decode rows to.

    Parameters
    ----------
    geometries : tuple of Geometry
        The different squares that are needed.
    wants : tuple of Want
        Who needs which; a batch says for each row which of the wants it has.
    batch_size : int
        Rows of a batch at most.
    views : int
        Rows per image: row ``i`` is view ``i % views`` of the source's image ``i // views``.
    """

    geometries: tuple[Geometry, ...]
    wants: tuple[Want, ...] = field(default=())
    batch_size: int = 32
    views: int = 1

    @classmethod
    def simple(cls, geometry: Geometry, batch_size: int) -> "Job":
        """Make the job of a single consumer that needs every row."""
        return cls((geometry,), (Want(0),), batch_size)
