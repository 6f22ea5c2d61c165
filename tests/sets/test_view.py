"""A set opens as one store: rows by their range, what nobody made is pending and never zeros."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fakes import fake_recipe
from made_sets import OUTPUTS, fill, made_features, make_shard, plan_fake

from bottleneck.errors import RecipeMismatchError, StoreError
from bottleneck.heads.matrix import map_shape
from bottleneck.heads.rows import rows_of
from bottleneck.sets import SetInfo, open_shards, place_of, published, read_info
from bottleneck.sets.planning import write_set
from bottleneck.sets.publishing import publish
from bottleneck.sources.streaming import stream_blocks
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore


def test_rows_are_those_of_the_shards(photos, where, tmp_path):
    info = plan_fake(photos, where)
    fill(where, tmp_path, [0, 2, 4], failed=(11, 20))
    store = FeatureStore.open(where)
    assert len(store) == 23
    assert store.outputs == {"mean": 3, "spread": 3}
    status = np.zeros(23, np.uint8)
    status[[*range(5), *range(10, 15), *range(20, 23)]] = RowStatus.DONE
    status[[11, 20]] = RowStatus.EMPTY
    assert np.array_equal(store.status, status)
    assert not store.complete
    assert store.manifest.classes == ("class0", "class1", "class2")
    assert [store.keys[row] for row in (0, 22)] == ["class0/0.png", "class2/20.png"]
    features = store.features("spread")
    expected = np.concatenate([made_features(info, k, "spread") for k in range(5)])
    missing = status == RowStatus.PENDING
    assert np.array_equal(features[store.done], expected[store.done])
    assert np.isnan(features[missing]).all()
    assert np.isnan(features[5:10]).all()
    assert np.isnan(features[7]).all()
    assert np.array_equal(features[0:5], expected[:5])
    assert np.array_equal(features[-1], expected[-1])
    mixed = np.array([22, 3, 10, 3, 14])
    assert np.array_equal(features[mixed], expected[mixed])
    assert np.array_equal(features[::10][[0, 1]], expected[[0, 10]])
    assert features[3:3].shape == (0, 3)
    assert features[np.array([], int)].shape == (0, 3)
    with pytest.raises(IndexError):
        features[np.array([23])]
    assert np.array_equal(store.digests[12], np.full(16, 2, np.uint8))
    assert store.checksums("mean")[5] == 0 != store.checksums("mean")[4]
    assert f"{np.count_nonzero(missing)} pending" in repr(store)
    again = pickle.loads(pickle.dumps(store))
    assert np.array_equal(again.features("mean")[store.done], store.features("mean")[store.done])
    loaded = store.load(output="mean")
    assert np.array_equal(loaded.rows, np.flatnonzero(store.done))
    assert sum(len(rows) for rows, _ in store.iter_batches(4, "mean")) == len(loaded.rows)


def test_a_snapshot_sees_no_later_shard(photos, where, tmp_path):
    plan_fake(photos, where)
    store = FeatureStore.open(where)
    fill(where, tmp_path, [0])
    assert not store.done.any()
    assert FeatureStore.open(where).done.sum() == 5


def test_the_newest_correction_counts(photos, where, tmp_path):
    info = plan_fake(photos, where)
    fill(where, tmp_path, [1], failed=(7,))
    fill(where, tmp_path, [1], version=2)
    assert published(*read_info(where)) == {1: 2}
    store = FeatureStore.open(where)
    assert store.status[7] == RowStatus.DONE
    assert np.array_equal(store.features("mean")[7], made_features(info, 1, "mean")[2])


def test_what_is_no_shard_of_the_set_is_refused(photos, where, tmp_path):
    plan_fake(photos, where)
    shards = open_shards(where)
    part = make_shard(tmp_path / "part.h5", shards, 0)
    with pytest.raises(StoreError, match="expected 3 rows"):
        publish(shards.place, shards.info, 4, part)
    place = shards.place
    place.create("shards/000000000000-000000000004.h5", b"x")
    with pytest.raises(StoreError, match="no range of the set"):
        FeatureStore.open(where)


def test_a_shard_that_is_not_whole_is_not_published(photos, where, tmp_path):
    plan_fake(photos, where)
    shards = open_shards(where)
    path = make_shard(tmp_path / "a.h5", shards, 0)
    layout = FeatureStore.open(path).layout
    with path.open("r+b") as stream:  # a flipped bit
        stream.seek(layout.features["mean"].offset + 13)
        stream.write(b"\x55")
    with pytest.raises(StoreError, match="1 rows that are not"):
        publish(shards.place, shards.info, 0, path)
    path = make_shard(tmp_path / "b.h5", shards, 0)
    with path.open("r+b") as stream:
        stream.seek(layout.status.offset)
        stream.write(b"\0")
    with pytest.raises(StoreError, match="1 rows that are not"):
        publish(shards.place, shards.info, 0, path)
    assert published(*read_info(where)) == {}


def test_the_second_of_two_is_thrown_away(photos, where, tmp_path):
    """What is there stays as it is, bit for bit."""
    info = plan_fake(photos, where)
    fill(where, tmp_path, [0])
    shards = open_shards(where)
    before = shards.place.read(info.shard(0))
    other = make_shard(tmp_path / "other.h5", shards, 0, failed=(1,))
    assert publish(shards.place, info, 0, other) is False
    assert shards.place.read(info.shard(0)) == before
    # The very same bytes are as if they were ours: an answer may have been lost.
    same = tmp_path / "made-0@1.h5"
    assert publish(shards.place, info, 0, same) is (where.startswith("s3"))


def test_a_shard_of_another_recipe_is_told_by_the_loser(photos, where, tmp_path):
    info = plan_fake(photos, where)
    plan_fake(photos, tmp_path / "other.set", backbone="else")
    strange = make_shard(tmp_path / "strange.h5", open_shards(tmp_path / "other.set"), 0)
    shards = open_shards(where)
    assert shards.place.publish(info.shard(0), strange)
    mine = make_shard(tmp_path / "mine.h5", shards, 0)
    with pytest.raises(RecipeMismatchError, match="backbone"):
        publish(shards.place, info, 0, mine)


def test_blocks_are_fetched_once(photos, tmp_path, s3, monkeypatch):
    from bottleneck.sets.place import ObjectPlace

    s3.mkdir("blocks")
    plan_fake(photos, "s3://blocks/x.set")
    fill("s3://blocks/x.set", tmp_path, range(5))
    ranges = []
    read_range = ObjectPlace.read_range

    def counted(self, name, offset, length):
        ranges.append((name, offset))
        return read_range(self, name, offset, length)

    monkeypatch.setattr(ObjectPlace, "read_range", counted)
    first = FeatureStore.open("s3://blocks/x.set").load(output="mean")
    assert len(ranges) == len(set(ranges)) > 0
    n = len(ranges)
    second = FeatureStore.open("s3://blocks/x.set").load(output="mean")
    assert len(ranges) == n  # of the cache, by a process that begins anew too
    assert np.array_equal(first.X, second.X)
    assert len(first.X) == 23


def test_a_shard_that_was_made_again_is_not_read_from_old_blocks(photos, tmp_path, s3):
    s3.mkdir("again")
    where = "s3://again/x.set"
    info = plan_fake(photos, where)
    fill(where, tmp_path, range(5))
    first = FeatureStore.open(where).features("mean")[:]
    place = open_shards(where).place
    other = tmp_path / "other.h5"
    make_shard(other, open_shards(where), 1)
    with other.open("r+b") as stream:  # other features, as another machine computes them
        stream.seek(FeatureStore.open(other).layout.features["mean"].offset)
        stream.write(np.full(3, 77, np.float32).tobytes())
    place.remove(info.shard(1))
    assert place.publish(info.shard(1), other)
    again = FeatureStore.open(where).features("mean")[:]
    assert np.array_equal(again[5], np.full(3, 77, np.float32))
    assert np.array_equal(np.delete(again, 5, 0), np.delete(first, 5, 0))


def test_a_shard_of_other_images_is_refused(photos, where, tmp_path):
    """Of as many rows, by the same recipe: only the list tells."""
    info = plan_fake(photos, where)
    shards = open_shards(where)
    strange = make_shard(tmp_path / "strange.h5", shards, 1)
    with pytest.raises(StoreError, match="expected the images of rows 0 to 4"):
        publish(shards.place, info, 0, strange)
    assert shards.place.publish(info.shard(0), strange)
    with pytest.raises(StoreError, match="expected the images of rows 0 to 4"):
        FeatureStore.open(where).features("mean")[0]
    mine = make_shard(tmp_path / "mine.h5", shards, 0)
    with pytest.raises(StoreError, match="expected the images of rows 0 to 4"):
        publish(shards.place, info, 0, mine)


def test_rows_for_heads_follow_what_was_published_since(photos, where, tmp_path):
    """In one process: a set is opened, goes on, and is opened again."""
    from bottleneck.heads.set_rows import rows_of_set

    info = plan_fake(photos, where)
    fill(where, tmp_path, [0], failed=(2,))
    rows_of_set(FeatureStore.open(where).features("mean")).read(0, 2, {})
    fill(where, tmp_path, [1])
    later = rows_of_set(FeatureStore.open(where).features("mean"))
    assert np.array_equal(later.read(5, 10, {}), made_features(info, 1, "mean"))
    fill(where, tmp_path, [0], version=2)
    corrected = rows_of_set(FeatureStore.open(where).features("mean"))
    assert np.array_equal(corrected.read(0, 5, {}), made_features(info, 0, "mean"))


def test_rows_of_a_set_say_of_which_maps_they_are(photos, tmp_path):
    write_set(
        place_of(str(tmp_path / "x.set")),
        stream_blocks([str(photos)], rows=5),
        recipe=fake_recipe({"size": 16}, {"maps": {"mean": [1, 1, 3]}}),
        outputs={"mean": 3, "spread": 3},
        rows_per_shard=5,
    )
    store = FeatureStore.open(tmp_path / "x.set")
    for rows in (None, np.array([1, 3]), np.array([3, 1])):
        assert map_shape(rows_of(store, "mean", rows)) == (1, 1, 3)
        assert map_shape(rows_of(store, "spread", rows)) is None


def test_thousands_of_shards_are_listed_by_pages(where, tmp_path):
    """More than an object store names at a time, with holes and corrections."""
    place = place_of(where)
    rng = np.random.default_rng(0)
    info = SetInfo(
        id="0" * 32,
        recipe=fake_recipe({"size": 16}),
        rows=2 * 2950 - 1,
        rows_per_shard=2,
        outputs=OUTPUTS,
        classes=(),
        parts=tuple(f"{number:064x}" for number in range(2950)),
    )
    # The second page has nothing but corrections more than there is room for.
    there = dict.fromkeys(np.flatnonzero(rng.random(2950) < 0.9).tolist(), 1)
    there |= dict.fromkeys(range(960, 1100), 2)
    names = [info.shard(k) for k in there] + [info.shard(k, 2) for k in range(960, 1100)]
    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(lambda name: place.create(name, b""), names))
    place.create("shards/readme.txt", b"")
    place.create("shards/below/000000000000-000000000002.h5", b"")
    assert published(place, info) == there
    found = place.names("shards")
    assert sorted({*found} - {"below"}) == sorted([*(n[7:] for n in names), "readme.txt"])
