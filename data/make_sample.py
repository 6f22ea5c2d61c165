"""Make data/sample: a balanced, fixed subset of Fashion-MNIST as PNG files in class folders.

Usage: python data/make_sample.py DIRECTORY [-o data/sample]

DIRECTORY holds the four original files (train-images-idx3-ubyte.gz and so on), for example
/usr/share/datasets/fashion-mnist once the Debian package dataset-fashion-mnist is installed.
With the same Pillow the same bytes come out every time.
"""

import argparse
import gzip
import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle_boot",
)  # fmt: skip
# Images per class, taken from the original's own training and test part.
PARTS = {"train": ("train", 70), "test": ("t10k", 30)}
SEED = 2017


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes."""
    data = gzip.decompress(path.read_bytes())
    kind, dimensions = data[2], data[3]
    if data[:2] != b"\0\0" or kind != 8:
        raise SystemExit(f"{path} is not an IDX file of unsigned bytes")
    shape = np.frombuffer(data, ">u4", dimensions, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def choose(labels: np.ndarray, label: int, count: int) -> np.ndarray:
    """Draw ``count`` positions of one class, the same ones every time, in ascending order."""
    positions = np.flatnonzero(labels == label)
    return np.sort(np.random.default_rng([SEED, label]).choice(positions, count, replace=False))


def png(pixels: np.ndarray) -> bytes:
    """Encode one grey picture as a small PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def make(originals: Path, target: Path) -> None:
    """Write the sample, replacing an older one."""
    for part, (stem, count) in PARTS.items():
        images = read_idx(originals / f"{stem}-images-idx3-ubyte.gz")
        labels = read_idx(originals / f"{stem}-labels-idx1-ubyte.gz")
        shutil.rmtree(target / part, ignore_errors=True)
        for label, name in enumerate(CLASSES):
            folder = target / part / name
            folder.mkdir(parents=True)
            for position in choose(labels, label, count):
                (folder / f"{position:05d}.png").write_bytes(png(images[position]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("originals", type=Path, help="directory with the four original files")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "sample")
    arguments = parser.parse_args()
    make(arguments.originals, arguments.output)
