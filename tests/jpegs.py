"""JPEGs of every sort, and a few files that are none, by name."""

import io

import numpy as np
from PIL import Image, ImageOps

PLAIN = ("baseline", "progressive", "grey", "444", "turned", "restarts", "icc", "odd", "tail")
"""Those that any decoder may have."""


def picture(width, height, seed=0):
    """Smooth colours with some noise."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8))
    smooth = np.asarray(rough.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    noisy = smooth + rng.normal(0, 3, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def jpeg(image, orientation=1, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 90, "exif": exif, **options})
    return file.getvalue()


def files():
    image = picture(90, 70)
    whole = jpeg(image)
    noise = np.random.default_rng(3).integers(0, 256, (700, 900, 3), np.uint8)
    bare = jpeg(image, keep_rgb=True)
    png, deep = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG")
    Image.fromarray(np.arange(4800, dtype=np.uint16).reshape(60, 80) * 13).save(deep, "PNG")
    found = {
        "baseline": whole,
        "progressive": jpeg(image, progressive=True),
        "grey": jpeg(ImageOps.grayscale(image)),
        "444": jpeg(image, subsampling=0),
        "turned": jpeg(image, orientation=6),
        "restarts": jpeg(image, restart_marker_blocks=2),
        "icc": jpeg(image, icc_profile=b"no profile" * 50),
        "odd": jpeg(picture(61, 43)),
        "tail": whole + b"what a camera leaves behind",
        "cmyk": jpeg(image.convert("CMYK")),
        "rgb": bare,
        "large": jpeg(Image.fromarray(noise), quality=100, subsampling=0),
        "no end": whole[:-2],
        "cut": whole[: len(whole) // 2],
        "cut in the head": whole[:200],
        "twelve bits": whole.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
        "no size": _resized(whole, 0, 70),
        "too large": _resized(whole, 60000, 60000),
        "png": png.getvalue(),
        "deep png": deep.getvalue(),
        "text": b"not an image at all",
        "empty": b"",
    }
    assert len(found["large"]) > 1 << 20
    return found


def _resized(data, width, height):
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[at + 4 :]
