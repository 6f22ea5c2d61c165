import pickle

import h5py
import numpy as np
import pytest
from fakes import fake_recipe

from bottleneck.errors import OptionError, StoreError
from bottleneck.manifest import Manifest
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer, create, writer_lock
from bottleneck.store.merge import merge
from bottleneck.store.verify import verify


def test_repr_shows_the_state(make, fill):
    path = make(10, {"avg": 5})
    assert repr(FeatureStore.open(path)) == "<FeatureStore x.h5 10x5 float32 fake, 10 pending>"
    fill(path, range(9))
    with Writer(path, FeatureStore.open(path).layout) as writer:
        writer.fail([FailedRow(9, "img9.png", RowStatus.EMPTY, "")])
    store = FeatureStore.open(path)
    assert repr(store) == "<FeatureStore x.h5 10x5 float32 fake, 1 failed, complete>"
    assert store.counts() == {RowStatus.DONE: 9, RowStatus.EMPTY: 1}


def test_load_gives_finished_labelled_rows_of_a_split(make, fill):
    path = make(20, {"avg": 4})
    values, _ = fill(path, range(18))
    with Writer(path, FeatureStore.open(path).layout) as writer:
        writer.fail([FailedRow(18, "img18.png", RowStatus.EMPTY, "")])
    rows = FeatureStore.open(path).load("train")
    # Rows divisible by 5 are test, rows divisible by 7 have no label (see manifest_of).
    expected = [i for i in range(18) if i % 5 and i % 7]
    assert rows.rows.tolist() == expected
    assert np.array_equal(rows.X, values["avg"][expected])
    assert rows.y.tolist() == [i % 3 for i in expected]
    assert rows.keys == [f"img{i}.png" for i in expected]
    assert (rows.failed, rows.unlabelled, rows.pending) == (1, 2, 1)
    everything = FeatureStore.open(path).load()
    assert len(everything.rows) == 15
    taken = everything.take(everything.y == 1)
    assert set(taken.y) == {1}
    assert np.array_equal(taken.X, values["avg"][taken.rows])


def test_batches_cover_finished_rows_in_order(make, fill):
    path = make(10)
    done = [0, 1, 4, 5, 6, 9]
    values, _ = fill(path, done)
    batches = list(FeatureStore.open(path).iter_batches(4))
    assert [rows.tolist() for rows, _ in batches] == [[0, 1, 4, 5], [6, 9]]
    assert np.array_equal(np.concatenate([X for _, X in batches]), values["avg"])


def test_snapshot_shows_no_later_row(make, fill):
    path = make(10)
    fill(path, [0])
    early = FeatureStore.open(path)
    fill(path, [1])
    assert np.flatnonzero(early.done).tolist() == [0]
    assert np.flatnonzero(FeatureStore.open(path).done).tolist() == [0, 1]


def test_opens_while_a_writer_is_at_work(make):
    path = make(10)
    layout = FeatureStore.open(path).layout
    block = np.arange(5, dtype=np.float32)[None]
    with writer_lock(path), Writer(path, layout) as writer:
        writer.write(np.array([3]), {"avg": block}, np.zeros((1, 16), "u1"))
        assert not FeatureStore.open(path).done.any()
        writer.commit()
        store = FeatureStore.open(path)
        assert np.flatnonzero(store.done).tolist() == [3]
        assert np.array_equal(store.features()[3], block[0])


def test_pickles_by_path(make, fill):
    path = make(10)
    values, _ = fill(path, [2])
    blob = pickle.dumps(FeatureStore.open(path))
    assert len(blob) < 300
    assert np.array_equal(pickle.loads(blob).features()[2], values["avg"][0])


def test_outputs_are_asked_for_by_name(make):
    store = FeatureStore.open(make(10, {"avg": 5, "max": 7}))
    assert store.features("max").shape == (10, 7)
    with pytest.raises(OptionError, match="several outputs") as caught:
        store.features()
    assert "avg, max" in caught.value.hint
    with pytest.raises(OptionError, match="'min'"):
        store.features("min")
    with pytest.raises(OptionError, match="'dev'"):
        store.select("dev")


def test_what_is_no_feature_file_is_refused(tmp_path, make):
    with pytest.raises(StoreError, match="there is no file"):
        FeatureStore.open(tmp_path / "none.h5")
    with pytest.raises(StoreError, match="the folder"):
        FeatureStore.open(tmp_path)
    text = tmp_path / "text.h5"
    text.write_text("hello")
    with pytest.raises(StoreError, match="not a readable HDF5 file"):
        FeatureStore.open(text)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match="no such attribute"):
        FeatureStore.open(tmp_path / "other.h5")
    newer = make()
    with h5py.File(newer, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(StoreError, match="version 2, this program reads 1") as caught:
        FeatureStore.open(newer)
    assert "Update the package" in caught.value.hint


def test_a_file_cut_short_is_refused(make):
    path = make(5000, {"avg": 300})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError):
        FeatureStore.open(path)


def test_a_rechunked_file_is_read_but_not_written(make, fill, tmp_path):
    source, target = make(100), tmp_path / "packed.h5"
    values, digests = fill(source, range(90))
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        for name, value in old.attrs.items():
            new.attrs[name] = value
        for name in ("crc32", "manifest", "status", "digest"):
            old.copy(name, new)
        new.create_dataset(
            "features/avg", data=old["features/avg"][()], compression="gzip", chunks=(7, 3)
        )
    store, original = FeatureStore.open(target), FeatureStore.open(source)
    assert np.array_equal(store.features()[np.arange(90)], values["avg"])
    assert np.array_equal(store.features()[[80, 3, 3]], values["avg"][[80, 3, 3]])
    assert np.array_equal(store.features()[5], values["avg"][5])
    assert np.array_equal(store.digests[:90], digests)
    assert np.array_equal(store.load("train").X, original.load("train").X)
    assert np.array_equal(pickle.loads(pickle.dumps(store)).features()[3:5], values["avg"][3:5])
    with pytest.raises(StoreError, match="features/avg is filtered"):
        store.layout  # noqa: B018


@pytest.mark.parametrize(
    ("name", "kind"), [("features/avg", ">f4"), ("crc32/avg", "<i4"), ("status", "i1")]
)
def test_rows_of_another_type_are_refused(make, name, kind):
    """The bytes and so the checksums are those of the file, but the numbers would be others."""
    path = make(10)
    with h5py.File(path, "r+") as file:
        shape, chunks = file[name].shape, file[name].chunks
        del file[name]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(chunks)
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        h5py.h5d.create(
            file.id,
            name.encode(),
            h5py.h5t.py_create(np.dtype(kind)),
            h5py.h5s.create_simple(shape),
            dcpl=plist,
        )
    with pytest.raises(StoreError, match="where the format has"):
        FeatureStore.open(path)


def test_a_file_that_was_replaced_is_not_mixed_with_the_old_one(make, fill):
    path = make(10)
    values, _ = fill(path, range(10))
    store = FeatureStore.open(path)
    create(
        path,
        manifest=Manifest.build([f"other{i}" for i in range(10)]),
        recipe=fake_recipe(),
        dims={"avg": 5},
        replace=True,
    )
    assert np.array_equal(store.features()[:], values["avg"])
    for read in (lambda: store.keys, lambda: store.digests, store.checksums):
        with pytest.raises(StoreError, match="was replaced") as caught:
            read()
        assert "Open it again" in caught.value.hint


@pytest.mark.parametrize("name", ["status", "crc32/avg", "digest", "features/avg"])
@pytest.mark.parametrize("bit", range(24))
def test_an_index_that_points_elsewhere_is_never_believed(make, fill, name, bit):
    """A dataset of one chunk is an unbroken run wherever a flipped bit puts it."""
    path = make(40, {"avg": 700})
    fill(path, range(40))
    content = bytearray(path.read_bytes())
    address = FeatureStore.open(path).layout.by_name[name].offset.to_bytes(8, "little")
    assert content.count(address) == 1
    at = content.index(address)
    content[at + bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        FeatureStore.open(path)
    assert "rescue" in caught.value.hint


def test_an_unknown_status_is_told_with_what_to_do(make, fill, tmp_path):
    path = make(10)
    fill(path, range(10))
    with h5py.File(path, "r+") as file:
        file["status"][4] = 129
    with pytest.raises(StoreError, match=r"1 rows have a status .* 129") as caught:
        FeatureStore.open(path).counts()
    assert "verify --fix" in caught.value.hint
    result = merge([path], tmp_path / "merged.h5")
    assert (result.copied, result.failed, result.pending) == (9, 0, 1)
    assert verify(path, fix=True).bad_rows == (4,)
    assert FeatureStore.open(path).counts() == {RowStatus.DONE: 9, RowStatus.PENDING: 1}
