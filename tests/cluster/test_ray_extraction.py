"""A set is extracted by the nodes of a Ray cluster; one is killed in the middle, one joins."""

import io
import random
import tarfile
import threading

import numpy as np
import pytest
from fake_load import FakeLoad
from fakes import fake_embedder
from made_sets import plan_fake
from PIL import Image
from raylets import Raylets

from bottleneck.extract_options import ExtractSetOptions
from bottleneck.extraction import fill_store
from bottleneck.extraction.plan import MaxFailed
from bottleneck.extraction.ranges import FillSettings
from bottleneck.progress import SILENT
from bottleneck.sets import open_shards, read_info
from bottleneck.sets.description import published
from bottleneck.sources import open_source
from bottleneck.store import FeatureStore, writer_lock
from bottleneck.store.verify import verify

pytest.importorskip("ray", reason="needs the extra ray: make test-cluster installs it")
pytestmark = pytest.mark.cluster

from bottleneck.cluster.extraction import extract_on  # noqa: E402

IMAGES, RANGE = 2000, 50


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """An archive of images, one of which is none."""
    path = tmp_path_factory.mktemp("photos") / "photos.tar"
    rng = np.random.default_rng(3)
    with tarfile.open(path, "w") as archive:
        for i in range(IMAGES):
            stream = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(stream, "png")
            data = b"no image" if i == 1017 else stream.getvalue()
            member = tarfile.TarInfo(f"class{i % 4}/{i}.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def alone(photos, tmp_path_factory):
    """The file of one machine and one run."""
    path = tmp_path_factory.mktemp("alone") / "alone.h5"
    with writer_lock(path):
        result = fill_store(
            open_source([str(photos)]),
            path,
            fake_embedder(),
            batch_size=16,
            workers=1,
            max_failed=MaxFailed(share=1.0),
            progress=SILENT,
        )
    assert (result.ok, result.failed) == (IMAGES - 1, 1)
    return FeatureStore.open(path)


@pytest.fixture
def raylets(tmp_path, monkeypatch):
    found = Raylets(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", found.address)
    yield found
    found.close()


def outlive(raylets, where, photos, scratch, *, victim, newcomer, kill_at):
    """Extract a set; when so many ranges are there, kill a node, and have another one join."""
    plan_fake(photos, where, rows=RANGE)
    place, info = read_info(where)
    options = ExtractSetOptions(str(where), on="ray")
    settings = FillSettings(FakeLoad(0.04), scratch, 1, "threads")
    told = []
    over = threading.Event()

    def upset():
        while len(published(place, info)) < kill_at:
            if over.wait(0.02):
                return
        told.append(len(published(place, info)))
        raylets.kill(victim)
        raylets.join(newcomer)

    thread = threading.Thread(target=upset, daemon=True)
    thread.start()
    try:
        run = extract_on(options, settings)
    finally:
        over.set()
        thread.join()
    assert len(told) == 1
    assert told[0] < info.n_ranges
    return run


def require_rows_of(where, alone):
    """Compare a set with the file of one machine, row by row."""
    store = FeatureStore.open(str(where))
    shards = open_shards(where)
    assert sorted(shards.newest) == list(range(len(shards)))
    assert set(shards.newest.values()) == {1}
    assert store.manifest_sha256 == read_info(where)[1].manifest_sha256
    assert list(store.keys) == list(alone.keys)
    np.testing.assert_array_equal(store.labels, alone.labels)
    np.testing.assert_array_equal(store.status, alone.status)
    np.testing.assert_array_equal(store.digests, alone.digests)
    good = alone.done
    for name in alone.outputs:
        ours, theirs = store.features(name)[:], alone.features(name)[:]
        np.testing.assert_allclose(ours[good], theirs[good], rtol=0, atol=1e-6)
    for number in range(len(shards)):
        report = verify(shards.place.local(shards.info.shard(number)))
        assert report.ok, report


def test_a_node_is_killed_and_another_joins(raylets, photos, alone, tmp_path):
    raylets.join("a")
    raylets.join("b")
    run = outlive(
        raylets,
        tmp_path / "photos.set",
        photos,
        tmp_path / "scratch",
        victim="a",
        newcomer="c",
        kill_at=8,
    )
    assert (run.pending, run.ranges, run.already_done) == (0, IMAGES // RANGE, 0)
    assert run.published + run.duplicates + run.others >= run.ranges
    require_rows_of(tmp_path / "photos.set", alone)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(4))
def test_five_times_and_all_in_all_twenty(raylets, photos, alone, tmp_path, seed):
    chance = random.Random(seed)
    raylets.join("node 0")
    raylets.join("node 1")
    for i in range(5):
        # Either of the two: the one that joined last time, or the one that stayed.
        victim = sorted(name for name in raylets.processes if name != "head")[chance.randrange(2)]
        where = tmp_path / f"{i}.set"
        run = outlive(
            raylets,
            where,
            photos,
            tmp_path / f"scratch{i}",
            victim=victim,
            newcomer=f"node {i + 2}",
            kill_at=chance.randrange(1, 30),
        )
        assert run.pending == 0, i
        require_rows_of(where, alone)
