"""Augmented views of one image: which part of it, and whether mirrored, as numbers only.

View 0 is the whole picture, so a head trained on views serves plain pictures. What the others
show follows from the hash of the image and the view's number alone: the same picture has the
same views under any name, in any order, on any machine.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

LEAST_AREA = 0.5
"""Part of the picture's area that a view shows at least."""

VIEWS_VERSION = 1
"""Raised by one whenever the same image and number begin to give another view."""

_UNIT = 1.0 / 2**64


@dataclass(frozen=True)
class View:
    """A part of a picture in the picture's own proportions, perhaps mirrored.

    Parameters
    ----------
    side : float
        Width and height of the part, as a share of the picture's.
    left, top : float
        Where it lies: 0 for the left (top) edge, 1 for as far right (down) as it goes.
    mirrored : bool
        Whether left and right are exchanged.
    """

    side: float
    left: float
    top: float
    mirrored: bool


def make_view(digest: bytes, number: int) -> View | None:
    """Draw a view: area uniform between :data:`LEAST_AREA` and all, place uniform, half mirrored.

    Parameters
    ----------
    digest : bytes
        Hash of the image.
    number : int
        Which view; 0 is the plain picture, None.
    """
    if number == 0:
        return None
    seed = hashlib.blake2b(digest, digest_size=32, salt=number.to_bytes(16, "little")).digest()
    area, left, top, coin = (
        int.from_bytes(seed[i : i + 8], "little") * _UNIT for i in (0, 8, 16, 24)
    )
    return View(math.sqrt(LEAST_AREA + (1 - LEAST_AREA) * area), left, top, coin < 0.5)


def views_recipe(count: int) -> dict[str, Any] | None:
    """Describe, as JSON values, the views of a file: a recipe's identity. None for one view."""
    if count == 1:
        return None
    return {
        "version": VIEWS_VERSION,
        "count": count,
        "first": "plain",
        "area": [LEAST_AREA, 1.0],
        "mirrored": 0.5,
        "seed": "hash of the image and number of the view",
    }
