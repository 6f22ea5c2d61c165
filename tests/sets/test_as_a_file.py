"""What takes a feature file takes a set, and does the same with it."""

import csv
import io
import json

import numpy as np
import pytest
from fakes import MeanBackbone, fake_embedder, write_png
from made_sets import OUTPUTS, plan_fake

import bottleneck
from bottleneck.comparison.alignment import Features
from bottleneck.comparison.take import extract_command
from bottleneck.errors import OptionError, StoreError
from bottleneck.pipeline import _stamp_input
from bottleneck.sets import open_shards, published, read_info
from bottleneck.sets.publishing import publish
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer, create, writer_lock

CLASSES = 3


def clouds(path, shards, number):
    """Write a shard whose rows lie around the centre of their class."""
    info, manifest = shards.info, shards.manifest(number)
    rng = np.random.default_rng(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    n = len(manifest)
    centres = np.eye(3)[manifest.labels].astype(np.float32)
    with writer_lock(path):
        create(path, manifest=manifest, recipe=info.recipe, dims=info.outputs, dtype=info.dtype)
        with Writer(path, FeatureStore.open(path).layout) as writer:
            values = {k: centres + rng.normal(0, 0.4, (n, 3)).astype("f") for k in OUTPUTS}
            digests = rng.integers(0, 256, (n, 16)).astype(np.uint8)
            good = np.arange(n - (number == 2))
            writer.write(good, {k: v[good] for k, v in values.items()}, digests[good])
            if number == 2:
                row = n - 1
                writer.fail([FailedRow(row, manifest.keys[row], RowStatus.EMPTY, "no bytes")])
    publish(shards.place, info, number, path)


@pytest.fixture
def made(tmp_path, where):
    """A set of 7 shards and 122 images in train and test, one of which failed."""
    for number in range(122):
        split = "test" if number % 4 == 0 else "train"
        path = tmp_path / f"pictures/{split}/c{number % CLASSES}/{number}.png"
        write_png(path, np.zeros((2, 2, 3)))
    plan_fake(tmp_path / "pictures", where, rows=18)
    shards = open_shards(where)
    for number in range(len(shards)):
        clouds(tmp_path / f"made/{number}.h5", shards, number)
    return where


@pytest.fixture
def merged(made, tmp_path):
    result = bottleneck.merge([made], tmp_path / "merged.h5")
    assert (result.rows, result.copied, result.failed, result.pending) == (122, 121, 1, 0)
    return tmp_path / "merged.h5"


def test_merge_makes_the_file_of_it(made, merged):
    store, file = FeatureStore.open(made), FeatureStore.open(merged)
    assert np.array_equal(store.status, file.status)
    assert store.manifest.sha256 == file.manifest_sha256
    assert np.array_equal(store.digests, file.digests)
    rows = np.flatnonzero(store.done)
    for name in OUTPUTS:
        assert np.array_equal(store.features(name)[rows], file.features(name)[rows])
        assert np.array_equal(store.checksums(name), file.checksums(name))


@pytest.mark.parametrize("head", ["ridge", "logreg", "knn"])
def test_heads_are_those_of_the_file(made, merged, tmp_path, head):
    few = {"settings": ["k=5"]} if head == "knn" else {}
    documents = []
    for name, features in (("set", made), ("file", merged)):
        bottleneck.train(features, tmp_path / name, head=head, feature="mean", cv=3, **few)
        judged = bottleneck.evaluate(tmp_path / name, features)
        documents.append(judged.to_json())
    ours, theirs = documents
    assert ours["accuracy"] == theirs["accuracy"] > 0.6
    assert ours["confusion"] == theirs["confusion"]
    assert ours["rows"] == theirs["rows"] > 20
    # And a head of one judges the other.
    crossed = bottleneck.evaluate(tmp_path / "file", made).to_json()
    assert crossed["accuracy"] == theirs["accuracy"]


def test_predictions_are_those_of_the_file(made, merged, tmp_path):
    bottleneck.train(merged, tmp_path / "head", head="ridge", feature="mean", cv=3)
    ours, theirs = (bottleneck.predict(tmp_path / "head", one) for one in (made, merged))
    assert ours.records == theirs.records
    assert len(ours.records) == 122
    # Several are told apart by their names.
    both = bottleneck.predict(tmp_path / "head", [made, str(merged)])
    keys = [record["key"] for record in both.records]
    assert keys == [
        f"{name}/{record['key']}" for name in ("photos.set", "merged.h5") for record in ours.records
    ]
    with pytest.raises(OptionError, match="got both: .*photos.set and .*pictures"):
        bottleneck.predict(tmp_path / "head", [str(tmp_path / "pictures"), made])


def test_drift_is_that_of_the_file(made, merged, tmp_path):
    bottleneck.train(merged, tmp_path / "head", head="ridge", feature="mean", cv=3)
    documents = []
    for features in (made, merged):
        for new in (made, merged):
            found = bottleneck.drift(tmp_path / "head", new, features=features).to_json()
            documents.append({**found, "features": "", "seconds": 0})
    assert documents[0]["rows"] == 121
    assert documents == documents[-1:] * 4


def test_neighbors_are_those_of_the_file(made, merged, tmp_path, monkeypatch):
    """Of an image that is computed as the set was; here by the backbone of the fakes."""
    monkeypatch.setattr(
        "bottleneck.comparison.neighbors.rebuild_embedder",
        lambda *a, **k: fake_embedder(MeanBackbone()),
    )
    write_png(tmp_path / "new.png", np.full((8, 8, 3), 90))
    ours, theirs = (
        bottleneck.neighbors(one, tmp_path / "new.png", feature="mean", count=5)
        for one in (made, merged)
    )
    assert ours == theirs
    assert len(ours) == 5


def test_labels_are_mended_in_a_file_of_their_own(made, merged, tmp_path):
    key = FeatureStore.open(merged).keys[7]
    (tmp_path / "fixes.csv").write_text(f"path,label\n{key},c2\n")
    for name, features in (("set", made), ("file", merged)):
        bottleneck.relabel(features, tmp_path / "fixes.csv", tmp_path / f"{name}.h5")
    assert (tmp_path / "set.h5").read_bytes() == (tmp_path / "file.h5").read_bytes()
    assert FeatureStore.open(tmp_path / "set.h5").labels[7] == 2


def test_messages_and_commands_name_the_set(made, tmp_path):
    with pytest.raises(OptionError) as caught:
        FeatureStore.open(made).features()
    assert caught.value.message.startswith(f"{made} has several outputs")
    with pytest.raises(OptionError, match="expected a single feature file to rescue, got the set"):
        bottleneck.rescue(made, tmp_path / "saved.h5")
    document = bottleneck.compare([made], heads="ridge", feature=["mean"], cv=3, resamples=100)
    told = json.dumps(document.to_json())
    assert f"bottleneck train {made} -o photos-ridge.head" in told


def test_a_set_is_made_again_by_two_commands(tmp_path, where):
    write_png(tmp_path / "pictures/1.png", np.zeros((2, 2, 3)))
    plan_fake(tmp_path / "pictures", where, rows=7, outputs={"mean": {"pool": "avg"}})
    command = extract_command(Features("x", FeatureStore.open(where), "mean", np.arange(1)))
    assert command == (
        f"bottleneck plan SOURCE -o {where} -b fake --pool avg --precision float32 "
        f"--dtype float32 --runtime numpy --rows 7 && bottleneck extract --set {where}"
    )


def test_steps_of_pipelines_see_new_shards(made, tmp_path):
    place, info = read_info(made)
    before = _stamp_input(None, "features", made)
    assert _stamp_input(None, "features", made) == before
    place.remove(info.shard(6))
    less = _stamp_input(None, "features", made)
    clouds(tmp_path / "again.h5", open_shards(made), 6)
    assert less != before == _stamp_input(None, "features", made)


@pytest.mark.parametrize("head", ["ridge", "knn"])
def test_an_unfinished_set_trains_on_the_rows_that_are_there(made, tmp_path, head):
    """Shards are missing in the middle, with fewer rows than are read at once."""
    place, info = read_info(made)
    for number in (1, 4):
        place.remove(info.shard(number))
    merged = bottleneck.merge([made], tmp_path / "some.h5")
    assert (merged.copied, merged.pending) == (85, 36)
    few = {"settings": ["k=5"]} if head == "knn" else {}
    documents = []
    for name, features in (("set", made), ("file", tmp_path / "some.h5")):
        bottleneck.train(features, tmp_path / name, head=head, feature="mean", cv=3, **few)
        documents.append(bottleneck.evaluate(tmp_path / name, features).to_json())
    ours, theirs = documents
    assert ours["confusion"] == theirs["confusion"]
    assert ours["rows"] == theirs["rows"] > 10
    assert ours["pending_rows_skipped"] == theirs["pending_rows_skipped"] > 0


def test_compare_takes_it(made, merged, tmp_path):
    compared = [
        bottleneck.compare([one], heads="ridge", feature=["mean"], cv=3, resamples=100).to_json()
        for one in (made, merged)
    ]
    scores = [[row["accuracy"] for row in one["leaderboard"]] for one in compared]
    assert scores[0] == scores[1] != []


def test_info_says_how_far_it_is(made, merged):
    told = bottleneck.info(made).to_json()
    of_file = bottleneck.info(merged).to_json()
    for name in (
        "rows",
        "status",
        "complete",
        "outputs",
        "dtype",
        "per_class",
        "labelled",
        "splits",
    ):
        assert told[name] == of_file[name], name
    assert told["shards"] == {
        "rows": 18, "all": 7, "published": 7, "corrected": 0, "sealed": False
    }  # fmt: skip


def test_seal_and_verify(made, tmp_path):
    assert bottleneck.verify(made).ok
    sealed = bottleneck.seal(made)
    assert (sealed.shards, sealed.failed) == (7, 1)
    report = bottleneck.verify(made)
    assert (report.ok, report.rows, report.checked) == (True, 122, 121)
    place, info = read_info(made)
    assert len(info.sealed) == 7
    # A bit that flips is found by the row's checksum and by the shard's.
    name = info.shard(3)
    path = tmp_path / "made/3.h5"
    offset = FeatureStore.open(path).layout.features["spread"].offset
    data = bytearray(place.read(name))
    data[offset + 5 * 12] ^= 4
    place.replace(name, bytes(data))
    report = bottleneck.verify(made)
    assert report.bad_rows == (3 * 18 + 5,)
    assert "is not what it was when the set was sealed" in report.problems[0]
    with pytest.raises(OptionError, match="expected a single feature file with --fix"):
        bottleneck.verify(made, fix=True)


def test_a_shard_that_a_sealed_set_lost_is_told(made):
    bottleneck.seal(made)
    place, info = read_info(made)
    place.remove(info.shard(4))
    report = bottleneck.verify(made)
    assert not report.ok
    assert report.problems == (f"{info.shard(4)} is missing: it was there when the set was sealed",)


def test_only_a_complete_set_is_sealed(made):
    place, info = read_info(made)
    place.remove(info.shard(4))
    with pytest.raises(StoreError, match="1 of 7 are missing"):
        bottleneck.seal(made)
    assert bottleneck.verify(made).ok  # what is missing is not wrong
    assert bottleneck.info(made).to_json()["status"]["pending"] == 18
    assert published(place, info).keys() == {0, 1, 2, 3, 5, 6}


def test_exports_are_a_file_or_one_for_each_shard(made, merged, tmp_path):
    bottleneck.export(made, tmp_path / "set.npy", feature="mean")
    bottleneck.export(merged, tmp_path / "file.npy", feature="mean")
    assert (tmp_path / "set.npy").read_bytes() == (tmp_path / "file.npy").read_bytes()
    assert (tmp_path / "set.csv").read_text() == (tmp_path / "file.csv").read_text()
    result = bottleneck.export(made, tmp_path / "parts", to="npy", feature="mean")
    assert result.rows == 121
    arrays = sorted((tmp_path / "parts").glob("*.npy"))
    assert len(arrays) == 7
    joined = np.concatenate([np.load(one) for one in arrays])
    assert np.array_equal(joined, np.load(tmp_path / "file.npy"))
    keys = [
        row["path"]
        for one in sorted((tmp_path / "parts").glob("*.csv"))
        for row in csv.DictReader(io.StringIO(one.read_text(), newline=""))
    ]
    store = FeatureStore.open(merged)
    assert keys == [store.keys[row] for row in np.flatnonzero(store.done)]
    with pytest.raises(OptionError, match="got the set"):
        bottleneck.export(made, tmp_path / "small.h5", compress="gzip")
    with pytest.raises(OptionError, match="got both"):
        bottleneck.export(made, tmp_path / "small", to="npy", compress="gzip")


def test_the_graph_is_that_of_the_file(made, merged, tmp_path):
    for name, features in (("set", made), ("file", merged)):
        bottleneck.graph(features, tmp_path / f"{name}.npz", k=3, feature="mean")
    ours, theirs = (np.load(tmp_path / f"{name}.npz") for name in ("set", "file"))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs.files)
