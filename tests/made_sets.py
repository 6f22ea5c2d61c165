"""Sets for the NumPy backbone of the fakes, worked on, and shards of them made by hand."""

from pathlib import Path

import numpy as np
import set_worker
from fakes import MeanBackbone, fake_recipe, write_png

from bottleneck.extraction.sets import work_on_set
from bottleneck.images import Drawing, Geometry, decode_all
from bottleneck.sets import open_shards, place_of
from bottleneck.sets.planning import write_set
from bottleneck.sets.publishing import publish
from bottleneck.sources import open_source
from bottleneck.sources.streaming import stream_blocks
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, Writer, create, writer_lock
from bottleneck.store.reader import FeatureStore

OUTPUTS = {"mean": 3, "spread": 3}


def write_small(folder, count, *, classes, seed):
    """Write images of 16 pixels, each a different one; return the folder."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 256, (16, 16, 3))
        write_png(folder / f"c{number % classes}" / f"{number}.png", pixels)
    return folder


def plan_fake(sources, where, rows=5, **recipe):
    """Plan a set."""
    sources = sources if isinstance(sources, list) else [sources]
    return write_set(
        place_of(where),
        stream_blocks(list(map(str, sources)), rows=rows),
        recipe=fake_recipe({"size": 16, **recipe}),
        outputs=OUTPUTS,
        rows_per_shard=rows,
    )


def made_features(info, number, output):
    """Return what the rows of a range hold in shards made by hand: their number, and a bit."""
    rows = np.arange(*info.range(number), dtype=np.float32)
    return rows[:, None] + (np.arange(3, dtype=np.float32) + (output == "spread") * 10) / 100


def make_shard(path, shards, number, failed=()):
    """Write the shard of a range; rows of ``failed`` (numbers of the set) have a reason."""
    info, manifest = shards.info, shards.manifest(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    with writer_lock(path):
        create(path, manifest=manifest, recipe=info.recipe, dims=info.outputs, dtype=info.dtype)
        start, stop = info.range(number)
        good = np.array([row - start for row in range(start, stop) if row not in failed])
        with Writer(path, FeatureStore.open(path).layout) as writer:
            values = {name: made_features(info, number, name)[good] for name in info.outputs}
            digests = np.repeat(good[:, None], 16, axis=1).astype(np.uint8)
            writer.write(good, values, digests)
            writer.fail(
                FailedRow(row - start, manifest.keys[row - start], RowStatus.EMPTY, "no bytes")
                for row in failed
                if start <= row < stop
            )
    return path


def fill(where, folder, numbers, failed=(), version=1):
    """Publish shards that are made by hand in a folder."""
    shards = open_shards(where)
    for number in numbers:
        path = folder / f"made-{number}@{version}.h5"
        make_shard(path, shards, number, failed)
        assert publish(shards.place, shards.info, number, path, version)


def work(where, tmp_path, **more):
    """Be a worker with a disk of its own, and do what is to be done."""
    return work_on_set(
        set_worker.options(str(where), str(tmp_path / "scratch"), **more),
        load=set_worker.load,
        lease_seconds=2,
    )


def require_right(where, sources):
    """Compare every row with what the images' own pixels say."""
    store = FeatureStore.open(where)
    assert store.complete
    keys = list(store.keys)
    assert keys == list(open_source([str(sources)]).manifest.keys)
    network = MeanBackbone()
    for row in np.flatnonzero(store.done):
        (pixels,) = decode_all((Path(sources) / keys[row]).read_bytes(), [Drawing(Geometry(16))])
        expected = network(pixels[None])
        for name, features in expected.items():
            np.testing.assert_allclose(store.features(name)[int(row)], features[0], atol=1e-4)
    return store
