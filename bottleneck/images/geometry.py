"""How a picture of any shape becomes a network's input, and which views of it: as numbers only.

Nothing here touches pixels. :meth:`Geometry.place` answers, for a picture of a given size, how
large it is drawn, which window of that drawing is kept, and where the window lies in the result.

Augmented views of one image: which part of it, and whether mirrored, as numbers only.

View 0 is the whole picture, so a head trained on views serves plain pictures. What the others
show follows from the hash of the image and the view's number alone: the same picture has the
same views under any name, in any order, on any machine.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np

from bottleneck.errors import OptionError
from bottleneck.images.decoders.registry import NAMES, PILLOW, DecoderName, decoder_recipe

ResizeRule = Literal["crop", "squash", "pad"]

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

Halves = Literal["even", "down"]

Cut = Literal["drawing", "picture"]

ImageSize = int | tuple[int, int]
"""Side of a square, or height and width; pixels."""

CROP_RATIO = 0.875
"""Part of the short side that a centre crop keeps: 224 of 256, the usual ImageNet evaluation."""

PADDING = (124, 116, 104)
"""Colour around a padded picture: the ImageNet mean, so close to zero for most backbones."""

DRAFT_MARGIN = 2
"""A JPEG is decoded at reduced size only if that is still this many times the drawn size."""

MOST_DRAWN = 1 << 26
"""Pixels of the largest whole drawing. A strip of a picture would be drawn as something far larger
than itself; of those only what is kept is drawn, which differs by rounding."""

RULES_VERSION = 1
"""Raised by one whenever the same picture and geometry begin to be drawn as other pixels.

What changes for files of some formats only belongs into
:data:`~bottleneck.images.decoder.CHANGES`: features of the others stay what they are.
"""


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
    """The rectangle, mostly a square, that every picture becomes.

    Parameters
    ----------
    size : int or (int, int)
        Side of the square, or height and width, pixels. Two equal sides become one number.
    resize : {"crop", "squash", "pad"}
        ``crop``: the picture just covers ``round(size / crop_ratio)``, the centre is kept (for a
        square the same window as torchvision's ``Resize`` and ``CenterCrop``). ``squash``: it is
        drawn as exactly that, its shape is lost, and the centre is kept. ``pad``: the whole
        picture just fits, the rest is filled with ``padding``.
    crop_ratio : float, optional
        Part of what is drawn that is kept, above 0 and at most 1. Default: :data:`CROP_RATIO` for
        ``crop``, else 1; ``pad`` keeps all.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}
        Filter of the resize.
    padding : (int, int, int)
        Colour around a padded picture.
    whole : bool
        The whole picture is drawn, from all pixels of its file, and then cut, as the processors of
        other libraries do: pixels equal to theirs. Otherwise only what is kept is drawn, from a
        JPEG that may have been decoded at reduced size; that is faster.
    halves : {"even", "down"}
        Where the window begins when the middle lies between two pixels: at the even one (as
        torchvision), or further left and up (as transformers).
    antialias : bool
        Whether the filter is widened when a picture shrinks; ``nearest`` never is.
    cut : {"drawing", "picture"}
        What ``crop`` cuts: the drawing; or the picture itself, in whole pixels, from which the
        largest window of the right shape is then drawn (as Keras's ``Resizing``).
    rounded : bool
        Whether the filter's numbers are rounded to whole ones of 0 to 255. Otherwise they stay
        float32 and may overshoot, as processors have it that resize after they have scaled.
    decoder : {"pillow", "torchvision", "nvjpeg", "nvimgcodec"}
        What decodes and draws JPEGs; see :mod:`bottleneck.images.decoders`.

    Raises
    ------
    OptionError
        For a size below 1, an unknown rule, filter or decoder, a ratio that is none, or a filter
        that the decoder's drawing does not have.
    """

    size: ImageSize
    resize: ResizeRule = "crop"
    crop_ratio: float | None = None
    interpolation: Interpolation = "bicubic"
    padding: tuple[int, int, int] = PADDING
    whole: bool = False
    halves: Halves = "even"
    antialias: bool = True
    cut: Cut = "drawing"
    rounded: bool = True
    decoder: DecoderName = "pillow"

    item: ClassVar[Literal["image"]] = "image"

    def __post_init__(self) -> None:
        sides = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if len(sides) != 2 or not all(type(side) is int and side >= 1 for side in sides):
            raise OptionError(
                f"expected an image size of at least 1 pixel, received {self.size!r}",
                hint="give the side of the square in pixels, for example 224",
            )
        if isinstance(self.size, tuple) and sides[0] == sides[1]:
            object.__setattr__(self, "size", sides[0])
        for what, value, known in (
            ("a resize rule", self.resize, get_args(ResizeRule)),
            ("an interpolation", self.interpolation, get_args(Interpolation)),
            ("a rule for halves", self.halves, get_args(Halves)),
            ("what is cut", self.cut, get_args(Cut)),
            ("a decoder", self.decoder, NAMES),
        ):
            if value not in known:
                raise OptionError(
                    f"expected {what} of {', '.join(known)}, received {value!r}",
                    hint="crop keeps the centre, squash distorts, pad adds a border"
                    if what == "a resize rule"
                    else None,
                )
        ratio = self.crop_ratio
        if ratio is None:
            object.__setattr__(self, "crop_ratio", CROP_RATIO if self.resize == "crop" else 1.0)
        elif not 0 < ratio <= 1 or (self.resize == "pad" and ratio != 1):
            raise OptionError(
                f"expected a crop ratio above 0 and at most 1 (for pad: 1), received {ratio!r}"
            )
        if self.cuts_picture and self.crop_ratio != 1:
            raise OptionError(
                f"expected a crop ratio of 1 where the picture is cut, received {self.crop_ratio}"
            )
        smooth = self.antialias and self.interpolation in ("bilinear", "bicubic")
        if self.decoder != PILLOW and not smooth:
            filtered = self.interpolation + ("" if self.antialias else " without antialias")
            raise OptionError(
                f"expected a bilinear or bicubic filter with antialias for the decoder "
                f"{self.decoder}, received {filtered}, which is this network's own",
                hint=f"--decoder {PILLOW} has every filter",
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the result: height, width, 3."""
        return image_shape(self.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the result: uint8, or float32 where nothing is rounded."""
        return np.dtype(np.uint8 if self.rounded else np.float32)

    @property
    def cuts_picture(self) -> bool:
        """Whether the picture is cut before it is drawn."""
        return self.resize == "crop" and self.cut == "picture"

    def cut_window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the part of an upright picture that is drawn where the picture is cut.

        Left, top, right and bottom, in pixels of the picture.
        """
        high, wide, _ = self.shape
        across = max(1, min(width, height * wide // high))
        down = max(1, min(height, width * high // wide))
        left, top = (width - across) // 2, (height - down) // 2
        return left, top, left + across, top + down

    def place(self, width: int, height: int) -> Placement:
        """Place an upright picture of ``width`` x ``height`` pixels.

        All arithmetic after the division by the ratio is on integers, so the answer is the same
        on every machine.
        """
        high, wide, _ = self.shape
        if self.cuts_picture:
            return Placement(drawn=(wide, high), window=(0, 0, wide, high))
        if self.resize == "pad":
            drawn = _fitting(width, height, wide, high)
            at = (wide - drawn[0]) // 2, (high - drawn[1]) // 2
            return Placement(drawn=drawn, window=(0, 0, *drawn), at=at)
        ratio = self.crop_ratio or 1.0
        frame = round(wide / ratio), round(high / ratio)
        drawn = frame if self.resize == "squash" else _covering(width, height, *frame)
        spare = drawn[0] - wide, drawn[1] - high
        left, top = (side // 2 if self.halves == "down" else round(side / 2) for side in spare)
        return Placement(drawn=drawn, window=(left, top, left + wide, top + high))

    def recipe(self) -> dict[str, Any]:
        """Describe, as JSON values, everything that decides the pixels (a recipe's identity)."""
        rule: dict[str, Any] = {
            "rule": self.resize,
            "filter": self.interpolation,
            "antialias": self.antialias and self.interpolation != "nearest",
        }
        if self.resize == "crop" or self.crop_ratio != 1:
            rule["ratio"] = self.crop_ratio
        if self.resize == "pad":
            rule["padding"] = list(self.padding)
        if self.whole:
            rule["drawn"] = "whole"
        if self.halves != "even":
            rule["halves"] = self.halves
        if self.cuts_picture:
            rule["cut"] = self.cut
        other = {} if self.decoder == PILLOW else {"decoder": decoder_recipe(self.decoder)}
        return {
            "version": RULES_VERSION,
            "size": list(self.size) if isinstance(self.size, tuple) else self.size,
            "resize": rule,
            "colour": "rgb8" if self.rounded else "rgb, not rounded",
            "colour_profile": "ignored",
            "alpha": "over white",
            "int16": "scaled by 255/65535",
            "int32": "as int16",
            "float": "0 to 1",
            "exif_orientation": "honoured",
            "frame": "first",
            "jpeg_draft": "never" if self.whole else f"not below {DRAFT_MARGIN}x the drawn size",
            **other,
        }

    @classmethod
    def from_recipe(cls, image: Mapping[str, Any]) -> Self:
        """Read what :meth:`recipe` wrote; rules that this version does not know are left out."""
        size, rule = image["size"], image["resize"]
        return cls(
            size=tuple(size) if isinstance(size, list) else size,
            resize=rule["rule"],
            crop_ratio=rule.get("ratio"),
            interpolation=rule["filter"],
            padding=tuple(rule.get("padding", PADDING)),
            whole=rule.get("drawn") == "whole",
            halves=rule.get("halves", "even"),
            antialias=rule["filter"] == "nearest" or rule.get("antialias", True),
            cut=rule.get("cut", "drawing"),
            rounded=image.get("colour", "rgb8") == "rgb8",
            decoder=image.get("decoder", {"name": PILLOW})["name"],
        )


def parse_size(size: int | str | None) -> ImageSize | None:
    """Read a size: ``224`` is a square, ``320x240`` is width x height; None stays.

    Raises
    ------
    OptionError
        For anything else.
    """
    if size is None or isinstance(size, int):
        return size
    sides = size.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) >= 1 for side in sides):
        raise OptionError(
            f"expected a size of at least 1 pixel, as 224 or 320x240 (width x height), got {size!r}"
        )
    width, height = int(sides[0]), int(sides[-1])
    return width if width == height else (height, width)


def image_shape(size: ImageSize) -> tuple[int, int, int]:
    """Return the shape of images of a size: height, width, 3."""
    height, width = size if isinstance(size, tuple) else (size, size)
    return height, width, 3


def _covering(width: int, height: int, wide: int, high: int) -> tuple[int, int]:
    """Return the smallest drawing of a picture that covers a frame; the other side rounds down."""
    if width * high <= height * wide:
        return wide, max(high, height * wide // width)
    return max(wide, width * high // height), high


def _fitting(width: int, height: int, wide: int, high: int) -> tuple[int, int]:
    """Return the largest drawing of a picture inside a frame; the other side rounds to nearest."""
    if width * high >= height * wide:
        return wide, max(1, (2 * height * wide + width) // (2 * width))
    return max(1, (2 * width * high + height) // (2 * height)), high


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
