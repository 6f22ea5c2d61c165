"""Keys of a set are read part by part, and are those of the whole list."""

import pickle
import tracemalloc

import numpy as np
import pytest
from made_sets import fill, plan_fake

import bottleneck
from bottleneck.heads import folds, holdout
from bottleneck.packed import PackedStrings, PickedStrings
from bottleneck.sets import keys as keeping
from bottleneck.sets import open_shards
from bottleneck.sources import open_source
from bottleneck.store import FeatureStore


@pytest.fixture
def listed(photos):
    return open_source([str(photos)]).manifest


def test_they_are_those_of_the_list(photos, listed, where):
    plan_fake(photos, where, rows=4)
    keys, whole = FeatureStore.open(where).keys, [*listed.keys]
    assert len(keys) == 23
    assert [*keys] == whole
    assert [keys[row] for row in range(-23, 23)] == [whole[row] for row in range(-23, 23)]
    slices = [slice(a, b) for a in (0, 3, 4, 22, -5) for b in (0, 4, 5, 16, 23, None)]
    for some in [*slices, slice(None, None, 3), slice(20, 2, -4)]:
        assert [*keys[some]] == whole[some]
    assert [keys[row] for row in np.arange(-23, 23)] == [whole[row] for row in range(-23, 23)]
    with pytest.raises(IndexError):
        keys[23]
    again = pickle.loads(pickle.dumps(keys))
    assert [*again] == whole
    assert keys == listed.keys  # in one piece
    assert np.array_equal(keys.blob, listed.keys.blob)
    assert np.array_equal(keys.offsets, listed.keys.offsets)


def test_parts_are_read_once_in_order_and_let_go(photos, tmp_path, monkeypatch):
    plan_fake(photos, tmp_path / "x.set", rows=2)
    store = FeatureStore.open(tmp_path / "x.set")
    keys = store.keys
    reads, read = [], keeping.Shards.manifest

    def counted(self, number):
        reads.append(number)
        return read(self, number)

    monkeypatch.setattr(keeping.Shards, "manifest", counted)
    rows = np.array([0, 1, 5, 8, 9, 10, 11, 20, 22])
    picked = PickedStrings(keys, rows)
    assert [*picked] == [keys[int(row)] for row in rows]
    assert reads[:6] == [0, 2, 4, 5, 10, 11]
    assert len(keys._held) == keeping._MOST_HELD
    assert store.labels.tolist() == open_source([str(photos)]).manifest.labels.tolist()


def test_folds_and_hold_outs_are_those_of_the_file(photos, listed, where):
    """Of the keys alone, part by part; as of the list in one piece."""
    plan_fake(photos, where, rows=4)
    store = FeatureStore.open(where)
    groups = np.arange(23) // 4
    for seed, own in ((0, None), (3, groups)):
        assert np.array_equal(
            folds(store.keys, store.labels, own, 3, seed),
            folds([*listed.keys], listed.labels, own, 3, seed),
        )
        assert np.array_equal(
            holdout(store.keys, store.labels, own, 0.3, seed),
            holdout([*listed.keys], listed.labels, own, 0.3, seed),
        )


def test_picked_strings_are_as_a_list():
    strings = PackedStrings.pack(["a", "bb", "", "cäc", "d"])
    picked = PickedStrings(strings, np.array([4, 1, 3]))
    assert picked == ["d", "bb", "cäc"]
    assert picked != ["d", "bb"]
    assert picked[1:] == ["bb", "cäc"]
    assert (picked[-1], len(picked), "bb" in picked) == ("cäc", 3, True)
    assert PickedStrings(picked, np.array([2, 0])) == ["cäc", "d"]
    assert "3 of 5" in repr(PickedStrings(strings, np.array([0, 1, 2])))


def test_training_never_holds_the_keys_of_a_set(photos, where, tmp_path, monkeypatch):
    plan_fake(photos, where, rows=4)
    fill(where, tmp_path, range(6))

    def whole(self):
        raise AssertionError("keys of the whole set were asked for")

    monkeypatch.setattr(keeping.SetKeys, "_all", whole)
    bottleneck.train(where, tmp_path / "x.head", head="ridge", feature="mean", cv=2, holdout=0.3)
    judged = bottleneck.evaluate(tmp_path / "x.head", where).to_json()
    assert judged["rows"] == 6
    told = bottleneck.predict(tmp_path / "x.head", where)
    assert [one["key"] for one in told.records] == [*FeatureStore.open(where).keys]


def test_memory_of_folds_does_not_grow_with_the_length_of_keys(tmp_path):
    """Keys of 400 bytes, 100 MB of them: what is held are numbers."""
    from made_sets import fake_recipe, write_set

    from bottleneck.manifest import Manifest
    from bottleneck.sets import place_of
    from bottleneck.sources.streaming import Segment

    rows, per_part = 256_000, 8_000
    folder = "/".join(["a folder of a name that is long"] * 12)

    def blocks():
        for start in range(0, rows, per_part):
            stop = start + per_part
            keys = PackedStrings.pack(f"{folder}/{row}.jpg" for row in range(start, stop))
            labels = np.arange(per_part, dtype=np.int32) % 4
            zeros = np.zeros(per_part, np.uint8)
            nothing = np.full(per_part, -1, np.int32)
            yield Manifest(keys, labels, tuple("abcd"), zeros, nothing), Segment(per_part, base="x")

    write_set(
        place_of(tmp_path / "x.set"),
        blocks(),
        recipe=fake_recipe({"size": 16}),
        outputs={"mean": 3},
        rows_per_shard=per_part,
    )
    assert sum(len(open_shards(tmp_path / "x.set").manifest(k).keys.blob) for k in (0, 1)) > 6e6
    store = FeatureStore.open(tmp_path / "x.set")
    tracemalloc.start()
    try:
        fold = folds(store.keys, store.labels, None, 5)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.bincount(fold).tolist() == [rows // 5] * 5
    assert held < 50e6
    # Which the keys alone would take twice.
    assert len(FeatureStore.open(tmp_path / "x.set").keys.blob) > 100e6
