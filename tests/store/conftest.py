import numpy as np
import pytest
from fakes import fake_recipe

from bottleneck.manifest import Manifest
from bottleneck.store import FeatureStore, Writer, create, writer_lock


def manifest_of(n, **more):
    return Manifest.build(
        [f"img{i}.png" for i in range(n)],
        [f"class{i % 3}" if i % 7 else None for i in range(n)],
        [("train", "test")[i % 5 == 0] for i in range(n)],
        **more,
    )


@pytest.fixture
def make(tmp_path):
    """Create a pending file of n rows."""

    def create_file(n=10, dims=None, dtype="float32", name="x.h5", recipe=None):
        path = tmp_path / name
        create(
            path,
            manifest=manifest_of(n),
            recipe=recipe or fake_recipe(execution={"dtype": dtype}),
            dims=dims or {"avg": 5},
            dtype=dtype,
        )
        return path

    return create_file


@pytest.fixture
def fill():
    """Write given rows with random values; return the values by output."""

    def write(path, rows, seed=0, **options):
        layout = FeatureStore.open(path).layout
        rng = np.random.default_rng(seed)
        rows = np.asarray(rows, np.int64)
        values = {
            name: rng.normal(size=(len(rows), *extent.row_shape)).astype(extent.dtype)
            for name, extent in layout.features.items()
        }
        digests = rng.integers(0, 256, (len(rows), 16), np.uint8)
        with writer_lock(path), Writer(path, layout, **options) as writer:
            writer.write(rows, values, digests)
        return values, digests

    return write
