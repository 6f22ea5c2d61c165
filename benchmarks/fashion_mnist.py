"""Fashion-MNIST to features: 60,000 training and 10,000 test rows of the default backbone.

    python -m benchmarks.fashion_mnist FOLDER OUTPUT.h5

FOLDER holds the four IDX files, as the Debian package ``dataset-fashion-mnist`` installs them
in /usr/share/datasets/fashion-mnist. An interrupted run goes on where it stopped.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

from bottleneck.cores import available_cores
from bottleneck.extraction import Silent, build_embedder, fill_store
from bottleneck.extraction.plan import MaxFailed
from bottleneck.manifest import Manifest
from bottleneck.store import writer_lock

SIZE = 112
NAMES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def read_idx(path):
    """Read a gzipped IDX file of bytes: two zeros, type 8, the rank, big-endian lengths."""
    with gzip.open(path) as stream:
        content = stream.read()
    if content[:3] != b"\0\0\x08":
        raise SystemExit(f"expected an IDX file of bytes, got {content[:4]!r} in {path}")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


class FashionMnist:
    """All 70,000 images as a source, split as published."""

    name = "fashion-mnist"

    def __init__(self, folder):
        folder = Path(folder)
        parts = [("train", "train"), ("t10k", "test")]
        images = [read_idx(folder / f"{stem}-images-idx3-ubyte.gz") for stem, _ in parts]
        labels = [read_idx(folder / f"{stem}-labels-idx1-ubyte.gz") for stem, _ in parts]
        self._images = np.concatenate(images)
        self.manifest = Manifest.build(
            [
                f"{part}/{i}"
                for (_, part), block in zip(parts, images, strict=True)
                for i in range(len(block))
            ],
            [NAMES[code] for code in np.concatenate(labels)],
            [part for (_, part), block in zip(parts, images, strict=True) for _ in block],
        )

    def read(self, row):
        return self._images[row]

    def stamp(self):
        return self.manifest.sha256


class Lines(Silent):
    def advance(self, finished, failed, seconds):
        print(f"{finished} images", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    source = FashionMnist(options.folder)
    with writer_lock(options.output):
        result = fill_store(
            source,
            options.output,
            build_embedder(size=SIZE),
            batch_size=128,
            workers=available_cores(),
            limit=None,
            overwrite=False,
            retry_failed=False,
            refresh=False,
            max_failed=MaxFailed.parse("0"),
            progress=Lines(),
        )
    print(result)


if __name__ == "__main__":
    main()
