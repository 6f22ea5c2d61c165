"""A small set of images whose features are known without any file: the truth to check against.

Rows differ in whether their image can be read and in whether it changes from version 0 to
version 1, so that runs meet failures, gaps and refreshed rows.
"""

import zlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bottleneck.decode import image_digest
from bottleneck.errors import ImageError
from bottleneck.extraction import Embedder
from bottleneck.images import Geometry
from bottleneck.manifest import Manifest
from bottleneck.recipe import Recipe
from bottleneck.sources.base import Listing
from bottleneck.status import RowStatus

SIDE = 16


@dataclass
class SlicingBackbone:
    """A "network" whose features are some of the pixels, scaled: no arithmetic to disagree on."""

    wide: int = 300
    runtime: str = "numpy"
    version: str = "0"
    device: str = "cpu"
    seconds_per_batch: float = 0.0

    @property
    def dims(self):
        return {"wide": self.wide, "narrow": 7}

    def __call__(self, batch):
        flat = batch.reshape(len(batch), -1).astype(np.float32)
        repeated = np.tile(flat, (1, -(-self.wide // flat.shape[1])))
        return {
            "wide": repeated[:, : self.wide] * np.float32(0.37) - 1,
            "narrow": flat[:, 100:107] / 256,
        }


@dataclass(frozen=True)
class World:
    """``rows`` images of which some cannot be read, and some change.

    Parameters
    ----------
    rows : int
        How many.
    wide : int
        Length of the longer output.
    """

    rows: int = 40
    wide: int = 300

    def image(self, row, version):
        """Pixels of a row; row 11 cannot be read, and row 23 becomes a text in version 1."""
        if row == 11:
            raise ImageError(RowStatus.TRUNCATED, f"row {row} ends early")
        if row == 23 and version:
            return b"no image any more"
        seed = row + (10_000 if version and self.changes(row) else 0)
        return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)

    @staticmethod
    def changes(row):
        """Whether a row's image is another one in version 1."""
        return row % 3 == 2

    @cached_property
    def manifest(self):
        return Manifest.build(
            [f"img{i}.png" for i in range(self.rows)], [f"class{i % 3}" for i in range(self.rows)]
        )

    def recipe(self, **identity):
        return Recipe(
            {"backbone": "slices", "size": SIDE, "wide": self.wide, **identity},
            {"precision": "float32", "dtype": "float32", "runtime": "numpy"},
        )

    def embedder(self, seconds_per_batch=0.0, **identity):
        network = SlicingBackbone(self.wide, seconds_per_batch=seconds_per_batch)
        return Embedder(self.recipe(**identity), Geometry(size=SIDE, resize="squash"), network)

    def source(self, version=0):
        return WorldSource(self, version)

    def truth(self, version=0):
        """What every row must say in the end, computed in memory."""
        status = np.full(self.rows, RowStatus.DONE, np.uint8)
        status[11:12] = RowStatus.TRUNCATED
        if version:
            status[23:24] = RowStatus.NOT_AN_IMAGE
        blank = np.zeros((SIDE, SIDE, 3), np.uint8)
        batch = np.stack(
            [
                self.image(row, version) if status[row] == RowStatus.DONE else blank
                for row in range(self.rows)
            ]
        )
        features = SlicingBackbone(self.wide)(batch)
        return Truth(
            status=status,
            features=features,
            crc32={
                name: np.array([zlib.crc32(row.tobytes()) for row in block], np.uint32)
                for name, block in features.items()
            },
            digest=np.stack([image_digest(image) for image in batch]),
        )


@dataclass(frozen=True)
class Truth:
    """Status, features, checksums and digests of all rows; only done rows have the last three."""

    status: np.ndarray
    features: dict = field(repr=False)
    crc32: dict = field(repr=False)
    digest: np.ndarray = field(repr=False)


class WorldSource:
    """The images of a world, as extraction reads them."""

    def __init__(self, world, version):
        self.name = "world"
        self.manifest = world.manifest
        self.listing = Listing()
        self._world = world
        self._version = version

    def __len__(self):
        return self._world.rows

    def read(self, row):
        return self._world.image(row, self._version)

    def stamp(self):
        return f"{self._world.rows} {self._version}"
