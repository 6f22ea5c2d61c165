"""Every pixel format Pillow knows, as 8-bit grey or RGB.

The rules, all of them part of the recipe:

- alpha, and a colour declared transparent, are laid over white, rounded to nearest;
- 16-bit samples are scaled by 255/65535, rounded to nearest. Pillow itself keeps only the upper
  byte of 16-bit *colour* files, which differs by at most one;
- 32-bit integer samples are 16-bit ones in a wider box (so Pillow gives 16-bit PGM and others);
- floating-point samples run from 0 to 1;
- samples outside these ranges have no defined brightness: refused, never clipped;
- CMYK, YCbCr, HSV and LAB are converted by their textbook formula; embedded colour profiles are
  ignored, as in every common training pipeline.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from bottleneck.errors import ImageError
from bottleneck.exhaustion import raise_if_exhausted
from bottleneck.status import RowStatus

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def to_eight_bit(image: Image.Image) -> Image.Image:  # noqa: PLR0911 - a case per mode
    """Convert a loaded image to mode ``L`` or ``RGB`` without resizing it.

    Parameters
    ----------
    image : PIL.Image.Image
        Any mode; ``info["transparency"]`` is honoured and must be in units of the samples.

    Raises
    ------
    ImageError
        ``UNSUPPORTED`` for an unknown mode or samples without a defined brightness.
    """
    mode = image.mode
    key = image.info.get("transparency")
    if mode in _SIXTEEN_BIT or mode == "I":
        samples = _sixteen_bit_samples(image)
        grey = Image.fromarray(scale_sixteen_bit(samples))
        return _over_white(grey, _opaque(samples, key)) if isinstance(key, int) else grey
    if mode == "F":
        return Image.fromarray(_scale_float(np.asarray(image)))
    if mode in ("1", "L", "RGB"):
        plain = image.convert("L") if mode == "1" else image
        return _over_white(plain, _opaque(np.asarray(plain), key)) if key is not None else plain
    if mode in ("RGBa", "La"):
        return _premultiplied_over_white(image)
    if image.has_transparency_data:
        # P with transparency, PA, LA and RGBA.
        with_alpha = image if mode in ("LA", "RGBA") else image.convert("RGBA")
        colour = with_alpha.convert("L" if mode == "LA" else "RGB")
        return _over_white(colour, with_alpha.getchannel("A"))
    if mode == "LAB":
        return _lab_to_rgb(image)
    if mode in ("P", "RGBX", "CMYK", "YCbCr", "HSV"):
        return image.convert("RGB")
    raise ImageError(RowStatus.UNSUPPORTED, f"colour mode {mode} is not supported")


def scale_sixteen_bit(samples: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
    """Scale 0..65535 to 0..255, rounded to nearest (65535 is 255 x 257, so ties cannot occur)."""
    scaled: NDArray[np.uint8] = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return scaled


def _sixteen_bit_samples(image: Image.Image) -> NDArray[np.uint16]:
    samples = np.asarray(image)
    if image.mode == "I" and samples.size and not 0 <= samples.min() <= samples.max() <= 65535:
        raise ImageError(
            RowStatus.UNSUPPORTED,
            "expected 32-bit integer samples of 0 to 65535, "
            f"received {samples.min()} to {samples.max()}: their range is not defined",
        )
    return samples.astype(np.uint16)


def _scale_float(samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    # The comparison is also false for NaN.
    if samples.size and not (samples.min() >= 0 and samples.max() <= 1):
        raise ImageError(
            RowStatus.UNSUPPORTED,
            "expected floating-point samples of 0 to 1, "
            f"received {samples.min():g} to {samples.max():g}: their range is not defined",
        )
    scaled: NDArray[np.uint8] = np.rint(samples * np.float32(255)).astype(np.uint8)
    return scaled


def _opaque(samples: NDArray[np.generic], key: object) -> Image.Image:
    # A mask that is 0 where the pixel has the one colour declared transparent.
    same = samples == np.asarray(key)
    if samples.ndim == 3:
        same = same.all(axis=2)
    return Image.fromarray(np.where(same, np.uint8(0), np.uint8(255)))


def _over_white(colour: Image.Image, alpha: Image.Image) -> Image.Image:
    # Pillow's paste rounds (c * a + 255 * (255 - a)) / 255 to nearest.
    result = Image.new(colour.mode, colour.size, "white")
    result.paste(colour, mask=alpha)
    return result


def _premultiplied_over_white(image: Image.Image) -> Image.Image:
    # The colours hold c * a / 255 already: adding the missing white is exact, where Pillow's own
    # way through RGBA divides and rounds. ImageChops.add clips at 255.
    *colours, alpha = image.split()
    missing = ImageChops.invert(alpha)
    summed = [ImageChops.add(band, missing) for band in colours]
    return summed[0] if len(summed) == 1 else Image.merge("RGB", summed)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    try:
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
        converted = ImageCms.applyTransform(image, transform)
    except (ImportError, OSError) as error:
        raise_if_exhausted(error)
        raise ImageError(RowStatus.UNSUPPORTED, f"LAB colours need LittleCMS: {error}") from error
    if converted is None:  # only when converting in place
        raise ImageError(RowStatus.UNSUPPORTED, "LAB colours were not converted")
    return converted
