"""Sets for the NumPy backbone of the fakes, and shards of them made by hand."""

import numpy as np
from fakes import fake_recipe

from bottleneck.sets import open_shards, place_of
from bottleneck.sets.planning import write_set
from bottleneck.sets.publishing import publish
from bottleneck.sources.streaming import stream_blocks
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, Writer, create, writer_lock
from bottleneck.store.reader import FeatureStore

OUTPUTS = {"mean": 3, "spread": 3}


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
