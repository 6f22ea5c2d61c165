"""One image, from bytes to pixels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from bottleneck.errors import ImageError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.images.colour import scale_sixteen_bit, to_eight_bit
from bottleneck.images.containers import Opened, ended_early, lost_tail, open_container
from bottleneck.images.decoders.registry import PILLOW, DecoderName, decoder_versions
from bottleneck.images.failures import explain, quiet_pillow
from bottleneck.images.geometry import (
    DRAFT_MARGIN,
    MOST_DRAWN,
    Geometry,
    Interpolation,
    Placement,
    View,
)
from bottleneck.images.jpeg import with_end
from bottleneck.status import RowStatus


def decoder_name(name: DecoderName = "pillow") -> str:
    """Name a decoder and its version, for the execution part of a recipe."""
    pillow = f"pillow {PIL.__version__}"
    return pillow if name == PILLOW else f"{decoder_versions(name)}; {pillow}"


CHANGES: Final[Mapping[int, tuple[str, ...]]] = {
    2: (
        *("bmp", "dcx", "dib", "fit", "fits", "fts", "j2c", "j2k", "jp2", "jpc", "jpx", "pcx"),
        *("psd", "ras", "sun", "tga", "tif", "tiff", "xbm", "xpm"),
    ),
}
"""By version of the decoding: endings of the files of which some have had other pixels before.

A new version is added here whenever the same bytes of a format begin to give other pixels, or to
be refused. Since 2 layouts that Pillow gets wrong are mended or refused.
"""

MAX_PIXELS = 178_956_970
"""Larger images are refused from their header: twice Pillow's own limit for a warning."""

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Orientations that exchange width and height, and those whose first column (row) was the last.
_TURNED, _FROM_RIGHT, _FROM_BOTTOM = {5, 6, 7, 8}, {2, 3, 6, 7}, {3, 4, 7, 8}

_FILTERS: dict[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawing:
    """One rectangle to draw of a picture.

    Parameters
    ----------
    geometry : Geometry
        Size and resize rule.
    view : View, optional
        The part that is taken for the picture; all of it by default.
    """

    geometry: Geometry
    view: View | None = None


def decode(data: bytes, geometry: Geometry, *, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """Decode an image file to RGB of the wanted size: 8-bit, unless the geometry does not round.

    The first frame of an animation is taken. Safe to call from many threads.

    Parameters
    ----------
    data : bytes
        The whole file.
    geometry : Geometry
        Size and resize rule.
    max_pixels : int
        Images with more pixels are refused before they are decoded.

    Returns
    -------
    ndarray of ``geometry.dtype``, shape (height, width, 3)
        Red, green, blue; writable, C order.

    Raises
    ------
    ImageError
        With the reason: ``EMPTY``, ``NOT_AN_IMAGE``, ``TRUNCATED``, ``TOO_LARGE``,
        ``UNSUPPORTED``, or ``UNREADABLE`` for a complete but damaged file.
    ExhaustedError
        When the machine is out of memory, whatever the file. Nothing else.
    """
    (pixels,) = decode_all(data, [Drawing(geometry)], max_pixels=max_pixels)
    return pixels


def decode_all(
    data: bytes, drawings: Sequence[Drawing], *, max_pixels: int = MAX_PIXELS
) -> list[NDArray[Any]]:
    """Decode an image file once and draw it in several ways.

    A JPEG is decoded at the scale that the largest drawing needs, in full for whole drawings.

    Parameters
    ----------
    data : bytes
        The whole file.
    drawings : sequence of Drawing
        One or more.
    max_pixels : int
        Images with more pixels are refused before they are decoded.

    Returns
    -------
    list of ndarray, shape (height, width, 3)
        As :func:`decode` returns it, for each drawing.

    Raises
    ------
    ImageError
        As :func:`decode` does.
    """
    with quiet_pillow:
        try:
            return _decode(data, drawings, max_pixels)
        except ImageError as error:
            cut = error.reason is RowStatus.TRUNCATED and data.startswith(b"\xff\xd8")
            whole = with_end(data) if cut else None
            if whole is None:
                raise
        return _decode(whole, drawings, max_pixels)


def _decode(data: bytes, drawings: Sequence[Drawing], max_pixels: int) -> list[NDArray[Any]]:
    opened = open_container(data)
    try:
        return _decode_opened(opened, data, drawings, max_pixels)
    except Exception as error:
        # Decoders raise anything on damaged files.
        early = ended_early(data, opened.container, opened.stream)
        raise explain(error, opened.container, early) from error


def from_pixels(
    pixels: NDArray[Any], geometry: Geometry, *, max_pixels: int = MAX_PIXELS
) -> NDArray[Any]:
    """Bring pixels that are in memory already to the wanted size.

    Gives what :func:`decode` gives for the same pixels in a lossless file.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)
        Grey, RGB, or RGB with alpha; 16-bit samples are scaled by 255/65535.
    geometry : Geometry
        Size and resize rule.
    max_pixels : int
        Larger pictures are refused.

    Returns
    -------
    ndarray of ``geometry.dtype``, shape (height, width, 3)
        Red, green, blue; writable, C order.

    Raises
    ------
    ImageError
        ``EMPTY`` without pixels, ``UNSUPPORTED`` for another shape or dtype, ``TOO_LARGE``.
    """
    (drawn,) = draw_pixels(pixels, [Drawing(geometry)], max_pixels=max_pixels)
    return drawn


def draw_pixels(
    pixels: NDArray[Any], drawings: Sequence[Drawing], *, max_pixels: int = MAX_PIXELS
) -> list[NDArray[Any]]:
    """Draw pixels that are in memory already in several ways; see :func:`from_pixels`."""
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4))
    if not fits or pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        raise ImageError(
            RowStatus.UNSUPPORTED,
            "expected uint8 or uint16 of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
            f"received {pixels.dtype} of shape {pixels.shape}",
        )
    height, width = pixels.shape[:2]
    if not pixels.size:
        raise ImageError(RowStatus.EMPTY, f"the picture is {width} x {height} pixels")
    _refuse_bomb(width, height, max_pixels)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    samples = pixels if pixels.dtype.itemsize == 1 else scale_sixteen_bit(pixels)
    with quiet_pillow:
        image = to_eight_bit(Image.fromarray(np.ascontiguousarray(samples)))
        whole = (0.0, 0.0, width, height)
        return [_draw(image, drawing, image.size, whole) for drawing in drawings]


def _decode_opened(
    opened: Opened, data: bytes, drawings: Sequence[Drawing], max_pixels: int
) -> list[NDArray[Any]]:
    image = opened.image
    _refuse_bomb(*image.size, max_pixels)
    full = image.size
    extent = _shrink_on_load(image, drawings)
    image.load()
    if extent is None:
        # Only now is the size final: TIFF turns itself upright, icons and GIF frames may differ.
        full = image.size
        _refuse_bomb(*full, max_pixels)
        extent = (0.0, 0.0, *full)
    if lost_tail(data, opened.container, opened.stream):
        raise ImageError(RowStatus.TRUNCATED, f"{opened.container}: the file ends early")
    if opened.container == "PNG":
        _scale_png_key(image, bit_depth=data[24])
    orientation = upright_orientation(image)
    picture = to_eight_bit(opened.declared.apply(_without_blank_alpha(image, opened.container)))
    if orientation in _TRANSPOSE:
        extent = _turn_extent(extent, picture.size, orientation)
        full = full[::-1] if orientation in _TURNED else full
        picture = picture.transpose(_TRANSPOSE[orientation])
    return [_draw(picture, drawing, full, extent) for drawing in drawings]


def _refuse_bomb(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(RowStatus.UNREADABLE, f"the header says {width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageError(
            RowStatus.TOO_LARGE,
            f"{width} x {height} is {width * height} pixels, more than {max_pixels}",
        )


def _shrink_on_load(image: ImageFile.ImageFile, drawings: Sequence[Drawing]) -> _Box | None:
    """Let a JPEG decode at 1/2, 1/4 or 1/8, if that stays well above the largest drawn size.

    Returns the part of the decoded pixels that the picture covers, whose right and bottom edges
    are fractions when the size is no multiple of the divisor; None for other formats.
    """
    if any(drawing.geometry.whole for drawing in drawings):
        return None
    # Width and height may be exchanged by the orientation later, so both ways are asked for. They
    # differ where the result is no square.
    drawn = [drawing.geometry.place(*image.size).drawn for drawing in drawings]
    drawn += [drawing.geometry.place(*image.size[::-1]).drawn[::-1] for drawing in drawings]
    width, height = (max(sides) for sides in zip(*drawn, strict=True))
    draft = image.draft(None, (DRAFT_MARGIN * width, DRAFT_MARGIN * height))
    return None if draft is None else draft[1]


def _scale_png_key(image: Image.Image, bit_depth: int) -> None:
    # PNG gives the transparent colour in samples of the file; Pillow scales the pixels to 8 bits
    # (upper byte of 16-bit colours) but not this.
    key = image.info.get("transparency")
    if isinstance(key, int) and image.mode in ("1", "L"):
        image.info["transparency"] = key * 255 // (2**bit_depth - 1)
    elif isinstance(key, tuple) and bit_depth == 16:
        image.info["transparency"] = tuple(sample >> 8 for sample in key)


def _without_blank_alpha(image: Image.Image, container: str) -> Image.Image:
    # 32-bit BMP and TGA often leave their fourth byte 0 and mean opaque, as all viewers take it.
    if container in ("BMP", "TGA") and image.mode == "RGBA" and not image.getchannel("A").getbbox():
        return image.convert("RGB")
    return image


def upright_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened file, 1 to 8; 1 where it says nothing of use."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(value) if value in _TRANSPOSE else 1
    except Exception as error:  # noqa: BLE001 - damaged metadata do not damage the picture
        raise_if_exhausted(error)
        return 1


def _turn_extent(extent: _Box, decoded: tuple[int, int], orientation: int) -> _Box:
    _, _, right, bottom = extent
    width, height = decoded
    if orientation in _TURNED:
        right, bottom, width, height = bottom, right, height, width
    left = width - right if orientation in _FROM_RIGHT else 0.0
    top = height - bottom if orientation in _FROM_BOTTOM else 0.0
    return left, top, left + right, top + bottom


def _part(full: tuple[int, int], extent: _Box, view: View) -> tuple[tuple[int, int], _Box]:
    """Take a part of a picture for the picture."""
    left, top, right, bottom = extent
    width, height = (right - left) * view.side, (bottom - top) * view.side
    left += (right - left - width) * view.left
    top += (bottom - top - height) * view.top
    across, down = (max(1, round(side * view.side)) for side in full)
    return (across, down), (left, top, left + width, top + height)


def _draw(
    image: Image.Image, drawing: Drawing, full: tuple[int, int], extent: _Box
) -> NDArray[Any]:
    """Resize the window that is kept, in one step, without drawing what is cut off.

    Pillow's filter reaches beyond the box it is given, so this equals resizing the whole picture
    and cropping it, at a fraction of the memory for elongated ones; but for rounding, as it chooses
    by size whether rows or columns come first. Where that may not be either, all of it is drawn.
    """
    geometry, view = drawing.geometry, drawing.view
    if view is not None:
        full, extent = _part(full, extent, view)
    if geometry.cuts_picture:
        image, extent = _cut(image, geometry, full, extent)
    place = geometry.place(*full)
    mirrored = view is not None and view.mirrored
    if geometry.rounded:
        window = _window(image, geometry, place, extent)
        if window.mode != "RGB":
            window = window.convert("RGB")
        return np.array(_finished(window, geometry, place, geometry.padding, mirrored=mirrored))
    bands = (image if image.mode == "RGB" else image.convert("RGB")).split()
    # Pillow has no mode of three numbers that are not rounded, so each colour is drawn by itself.
    drawn = [
        _finished(
            _window(band.convert("F"), geometry, place, extent),
            geometry,
            place,
            colour,
            mirrored=mirrored,
        )
        for band, colour in zip(bands, geometry.padding, strict=True)
    ]
    return np.stack([np.asarray(one) for one in drawn], axis=-1)


def _window(image: Image.Image, geometry: Geometry, place: Placement, extent: _Box) -> Image.Image:
    """Resize the window that is kept of what is to be drawn."""
    left, top, right, bottom = place.window
    across = (extent[2] - extent[0]) / place.drawn[0]
    down = (extent[3] - extent[1]) / place.drawn[1]
    box = (
        extent[0] + left * across,
        extent[1] + top * down,
        min(extent[0] + right * across, image.width),
        min(extent[1] + bottom * down, image.height),
    )
    kind = _FILTERS[geometry.interpolation]
    if not geometry.antialias and geometry.interpolation != "nearest":
        return _sampled(image, (right - left, bottom - top), box, geometry.interpolation)
    if geometry.whole and place.drawn[0] * place.drawn[1] <= MOST_DRAWN:
        return image.resize(place.drawn, kind, box=extent).crop(place.window)
    return image.resize((right - left, bottom - top), kind, box=box)


def _finished(
    window: Image.Image,
    geometry: Geometry,
    place: Placement,
    padding: tuple[int, ...] | int,
    *,
    mirrored: bool,
) -> Image.Image:
    """Put a window where it belongs in the result."""
    whole = geometry.shape[1], geometry.shape[0]
    if window.size != whole:
        canvas = Image.new(window.mode, whole, padding)
        canvas.paste(window, place.at)
        window = canvas
    return window.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else window


def _cut(
    image: Image.Image, geometry: Geometry, full: tuple[int, int], extent: _Box
) -> tuple[Image.Image, _Box]:
    """Cut what is drawn; whole pixels of the picture, so that no filter sees beyond them."""
    across, down = (extent[2] - extent[0]) / full[0], (extent[3] - extent[1]) / full[1]
    left, top, right, bottom = geometry.cut_window(*full)
    box = (
        extent[0] + left * across,
        extent[1] + top * down,
        min(extent[0] + right * across, image.width),
        min(extent[1] + bottom * down, image.height),
    )
    if not all(float(side).is_integer() for side in box):  # of a view, or of a reduced decoding
        return image, box
    cut = image.crop((int(box[0]), int(box[1]), int(box[2]), int(box[3])))
    return cut, (0, 0, cut.width, cut.height)


def _sampled(
    image: Image.Image, size: tuple[int, int], box: _Box, interpolation: Interpolation
) -> Image.Image:
    """Resize without antialias: every pixel from those around its centre alone.

    Pillow has none but bilinear. What lies beyond the picture counts nothing, as in TensorFlow.
    """
    pixels: NDArray[Any] = np.asarray(image if image.mode in ("RGB", "F") else image.convert("RGB"))
    for axis, (count, low, high) in enumerate(
        ((size[1], box[1], box[3]), (size[0], box[0], box[2]))
    ):
        length = pixels.shape[axis]
        reach, kernel = _KERNELS[interpolation]
        centres = low + (np.arange(count) + 0.5) * (high - low) / count - 0.5
        places = np.floor(centres)[:, None] + np.arange(1 - reach, reach + 1)
        weights = np.where((places >= 0) & (places < length), kernel(places - centres[:, None]), 0)
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        at = np.clip(places, 0, length - 1).astype(np.int64)
        sides = [1] * pixels.ndim
        sides[axis] = count
        pixels = sum(
            np.take(pixels, at[:, tap], axis) * weights[:, tap].reshape(sides)
            for tap in range(2 * reach)
        )
    if image.mode == "F":
        return Image.fromarray(pixels.astype(np.float32))
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """R. Keys, Cubic convolution interpolation for digital image processing, 1981, a = -1/2."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


_KERNELS: Final[Mapping[str, tuple[int, Callable[[NDArray[np.float64]], NDArray[np.float64]]]]] = {
    "bilinear": (1, lambda x: np.maximum(1 - np.abs(x), 0)),
    "bicubic": (2, _cubic),
    "lanczos": (3, lambda x: np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)),
}
"""How far each filter reaches, and its weights by distance."""
