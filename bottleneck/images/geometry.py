"""How a picture of any shape becomes a square: the three resize rules, as numbers only.

Nothing here touches pixels. :meth:`Geometry.place` answers, for a picture of a given size, how
large it is drawn, which window of that drawing is kept, and where the window lies in the result.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from bottleneck.errors import OptionError

ResizeRule = Literal["crop", "squash", "pad"]

CROP_RATIO = 0.875
"""Part of the short side that a centre crop keeps: 224 of 256, the usual ImageNet evaluation."""

PADDING = (124, 116, 104)
"""Colour around a padded picture: the ImageNet mean, so close to zero for most backbones."""

DRAFT_MARGIN = 2
"""A JPEG is decoded at reduced size only if that is still this many times the drawn size."""

RULES_VERSION = 1
"""Raised by one whenever the same bytes and geometry begin to give other pixels."""


@dataclass(frozen=True)
class Placement:
    """Where a picture goes.

    Parameters
    ----------
    drawn : (int, int)
        Width and height that the whole picture would be resized to, pixels.
    window : (int, int, int, int)
        Part of the drawn picture that is kept: left, top, right, bottom, pixels.
    at : (int, int)
        Left and top of the window within the result, pixels; not ``(0, 0)`` only when padded.
    """

    drawn: tuple[int, int]
    window: tuple[int, int, int, int]
    at: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Geometry:
    """The square that every picture becomes.

    Parameters
    ----------
    size : int
        Side of the result, pixels.
    resize : {"crop", "squash", "pad"}
        ``crop``: the short side becomes ``round(size / 0.875)``, the centre is kept (the same
        window as torchvision's ``Resize`` and ``CenterCrop``). ``squash``: both sides become
        ``size``, the shape is lost. ``pad``: the long side becomes ``size``, the rest is filled
        with :data:`PADDING`.

    Raises
    ------
    OptionError
        For a size below 1 or an unknown rule.
    """

    size: int
    resize: ResizeRule = "crop"

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise OptionError(
                f"expected an image size of at least 1 pixel, received {self.size!r}",
                hint="give the side of the square in pixels, for example 224",
            )
        rules = get_args(ResizeRule)
        if self.resize not in rules:
            raise OptionError(
                f"expected a resize rule of {', '.join(rules)}, received {self.resize!r}",
                hint="crop keeps the centre, squash distorts, pad adds a border",
            )

    def place(self, width: int, height: int) -> Placement:
        """Place an upright picture of ``width`` x ``height`` pixels.

        All arithmetic is on integers, so the answer is the same on every machine.
        """
        size = self.size
        if self.resize == "squash":
            return Placement(drawn=(size, size), window=(0, 0, size, size))
        if self.resize == "pad":
            longest = max(width, height)
            drawn = _at_least_one(width, size, longest), _at_least_one(height, size, longest)
            at = (size - drawn[0]) // 2, (size - drawn[1]) // 2
            return Placement(drawn=drawn, window=(0, 0, *drawn), at=at)
        short = round(size / CROP_RATIO)
        shortest = min(width, height)
        drawn = width * short // shortest, height * short // shortest
        left, top = round((drawn[0] - size) / 2), round((drawn[1] - size) / 2)
        return Placement(drawn=drawn, window=(left, top, left + size, top + size))

    def recipe(self) -> dict[str, Any]:
        """Describe, as JSON values, everything that decides the pixels (a recipe's identity)."""
        rule: dict[str, Any] = {"rule": self.resize, "filter": "bicubic", "antialias": True}
        if self.resize == "crop":
            rule["ratio"] = CROP_RATIO
        if self.resize == "pad":
            rule["padding"] = list(PADDING)
        return {
            "version": RULES_VERSION,
            "size": self.size,
            "resize": rule,
            "colour": "rgb8",
            "colour_profile": "ignored",
            "alpha": "over white",
            "int16": "scaled by 255/65535",
            "int32": "as int16",
            "float": "0 to 1",
            "exif_orientation": "honoured",
            "frame": "first",
            "jpeg_draft": f"not below {DRAFT_MARGIN}x the drawn size",
        }


def _at_least_one(side: int, size: int, longest: int) -> int:
    # side * size / longest, rounded to nearest, ties up.
    return max(1, (2 * side * size + longest) // (2 * longest))
