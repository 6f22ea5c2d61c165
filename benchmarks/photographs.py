"""JPEGs of any number and size cut from real photographs, for the benchmarks.

The photographs come with scikit-learn (china.jpg, flower.jpg) and, where it is installed,
scikit-image (astronaut, coffee, chelsea, rocket, retina, ...).
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

_SKIMAGE = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "retina.jpg", "ihc.png")


def photographs():
    """Return the photographs as RGB images."""
    images = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    if find_spec("skimage") is not None:
        folder = Path(find_spec("skimage").origin).parent / "data"
        for name in _SKIMAGE:
            if (folder / name).exists():
                with Image.open(folder / name) as image:
                    images.append(image.convert("RGB"))
    return images


def commented(jpeg, number):
    """Return the same picture as another file: a number stands in a comment at its head."""
    return jpeg[:2] + b"\xff\xfe\x00\x06" + number.to_bytes(4, "big") + jpeg[2:]


def write_jpegs(folder, count, width, height, classes=2, quality=90, distinct=None):
    """Write different JPEGs: random parts of the photographs, enlarged, with a little noise.

    Where there are to be fewer ``distinct`` pictures than files, they come again and again, with
    other bytes.

    Noise stands for a sensor's: without it an enlarged photograph would be all smooth, and far
    quicker to decode than one that was taken in that size.
    """
    rng = np.random.default_rng(count + width)
    originals = photographs()
    paths = [Path(folder) / f"class_{i % classes}" / f"{i}.jpg" for i in range(count)]
    distinct = min(distinct or count, count)
    for path in paths[:classes]:
        path.parent.mkdir(parents=True, exist_ok=True)
    for i, path in enumerate(paths[:distinct]):
        original = originals[i % len(originals)]
        share = rng.uniform(0.5, 1.0)
        # The largest part of the wanted shape, times the share.
        scale = share * min(original.width / width, original.height / height)
        across, down = width * scale, height * scale
        left = rng.uniform(0, original.width - across)
        top = rng.uniform(0, original.height - down)
        part = original.resize(
            (width, height), Image.Resampling.BICUBIC, (left, top, left + across, top + down)
        )
        pixels = np.asarray(part, np.int16)
        noise = rng.integers(-6, 7, (height // 2 + 1, width // 2 + 1, 3), np.int16)
        noise = np.repeat(np.repeat(noise, 2, 0), 2, 1)[:height, :width]
        Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(
            path, quality=quality
        )
    for i, path in enumerate(paths[distinct:], distinct):
        path.write_bytes(commented(paths[i % distinct].read_bytes(), i))
