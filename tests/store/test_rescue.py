import errno
import json
import os

import numpy as np
import pytest
from fakes import fake_recipe

from bottleneck.errors import OptionError, StoreError
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer, failures_path, writer_lock
from bottleneck.store.rescue import rescue
from bottleneck.store.verify import verify


@pytest.fixture
def filled(make, fill):
    path = make(500, {"avg": 700, "max": 33})
    values, digests = fill(path, range(400))
    with Writer(path, FeatureStore.open(path).layout) as writer:
        writer.fail([FailedRow(450, "img450.png", RowStatus.TRUNCATED, "cut")])
    return path, values, digests


def assert_rescued(path, values, digests):
    store = FeatureStore.open(path)
    for name, block in values.items():
        assert np.array_equal(store.features(name)[:400], block)
    assert np.array_equal(store.digests[:400], digests)
    assert store.status[450] == RowStatus.TRUNCATED
    assert verify(path).ok


def test_a_damaged_index_is_rebuilt(filled, tmp_path):
    path, values, digests = filled
    content = path.read_bytes()
    chunk_node = b"TREE\x01"  # a node of a chunk index; groups have type 0
    assert content.count(chunk_node) >= 6
    path.write_bytes(content.replace(chunk_node, b"EERT\x01"))
    with pytest.raises(StoreError, match="damaged") as caught:
        FeatureStore.open(path)
    assert "rescue" in caught.value.hint
    result = rescue(path, tmp_path / "new.h5")
    assert (result.saved, result.failed, result.pending) == (400, 1, 99)
    assert_rescued(tmp_path / "new.h5", values, digests)


def test_with_a_sound_file_alike_everything_is_saved(filled, make, tmp_path):
    path, values, digests = filled
    # The recipe may be of another length: it is not where the rows are.
    longer = fake_recipe(execution={"device": "a much longer name of a device " * 20})
    like = make(500, {"avg": 700, "max": 33}, name="like.h5", recipe=longer)
    content = path.read_bytes()
    path.write_bytes(bytes(2048) + content[2048:])  # no superblock, no root group
    with pytest.raises(StoreError, match="not a readable HDF5 file") as caught:
        FeatureStore.open(path)
    assert "rescue" in caught.value.hint
    with pytest.raises(StoreError, match="cannot be read") as caught:
        rescue(path, tmp_path / "new.h5")
    assert "--like" in caught.value.hint
    result = rescue(path, tmp_path / "new.h5", like=like)
    assert (result.saved, result.failed, result.pending) == (400, 1, 99)
    assert_rescued(tmp_path / "new.h5", values, digests)


def test_a_file_cut_short_gives_what_is_left(filled, make, tmp_path):
    path, values, _ = filled
    like = make(500, {"avg": 700, "max": 33}, name="like.h5")
    layout = FeatureStore.open(path).layout
    content = path.read_bytes()
    extent = layout.features["max"]  # the last in the file
    path.write_bytes(content[: extent.offset + 250 * extent.row_bytes + 5])
    with pytest.raises(StoreError, match="truncated file"):
        FeatureStore.open(path)
    result = rescue(path, tmp_path / "new.h5", like=like)
    assert (result.saved, result.failed, result.pending) == (250, 1, 249)
    new = FeatureStore.open(tmp_path / "new.h5")
    assert np.flatnonzero(new.done).tolist() == list(range(250))
    assert np.array_equal(new.features("max")[:250], values["max"][:250])
    path.write_bytes(content[: layout.features["avg"].offset + 1000])
    with pytest.raises(StoreError, match="no sound row"):
        rescue(path, tmp_path / "other.h5", like=like)
    assert not (tmp_path / "other.h5").exists()


def test_outputs_keep_their_names_whatever_their_order(make, fill, tmp_path):
    """HDF5 lists them by name; of equal length, they would be taken for one another."""
    path = make(100, {"z": 8, "a": 8, "m": 8})
    values, _ = fill(path, range(100))
    rescue(path, tmp_path / "new.h5")
    new = FeatureStore.open(tmp_path / "new.h5")
    for name in "zam":
        assert np.array_equal(new.features(name), values[name])


def test_a_killed_rescue_goes_on(filled, tmp_path):
    path, values, digests = filled
    rescue(path, tmp_path / "new.h5")
    layout = FeatureStore.open(tmp_path / "new.h5").layout
    with writer_lock(tmp_path / "new.h5"), Writer(tmp_path / "new.h5", layout) as writer:
        writer.unflag(np.arange(300, 350))
    result = rescue(path, tmp_path / "new.h5")
    assert (result.saved, result.failed, result.pending) == (50, 0, 99)
    assert_rescued(tmp_path / "new.h5", values, digests)


def test_another_output_is_left_alone(filled, make, tmp_path):
    other = make(10, name="other.h5")
    before = other.read_bytes()
    with pytest.raises(StoreError, match="has other images or another recipe"):
        rescue(filled[0], other)
    assert other.read_bytes() == before


def test_what_the_disk_cannot_read_costs_these_rows_only(filled, tmp_path, monkeypatch):
    path, _, _ = filled
    extent = FeatureStore.open(path).layout.features["avg"]
    bad = extent.offset + 200 * extent.row_bytes + 7
    pread = os.pread

    def failing(descriptor, count, offset):
        if offset <= bad < offset + count and os.path.sameopenfile(descriptor, stream.fileno()):
            raise OSError(errno.EIO, "Input/output error")
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", failing)
    with path.open("rb") as stream:
        with pytest.raises(StoreError, match="Input/output error") as caught:
            verify(path)
        assert "rescue" in caught.value.hint
        result = rescue(path, tmp_path / "new.h5")
    assert (result.saved, result.pending) == (399, 100)
    assert np.flatnonzero(~FeatureStore.open(tmp_path / "new.h5").done[:400]).tolist() == [200]


def test_texts_of_failures_are_kept(filled, tmp_path):
    path, _, _ = filled
    row = int(np.flatnonzero(FeatureStore.open(path).status > 1)[0])
    rescue(path, tmp_path / "new.h5")
    line = json.loads(failures_path(tmp_path / "new.h5").read_text())
    assert (line["row"], line["message"]) == (row, "cut")


def test_bad_rows_are_not_saved(filled, make, tmp_path):
    path, _, _ = filled
    extent = FeatureStore.open(path).layout.features["avg"]
    with path.open("r+b") as stream:
        stream.seek(extent.offset + 123 * extent.row_bytes)
        stream.write(b"\xff\xff\xff")
    result = rescue(path, tmp_path / "new.h5")
    assert (result.saved, result.pending) == (399, 100)
    assert np.flatnonzero(~FeatureStore.open(tmp_path / "new.h5").done[:400]).tolist() == [123]


def test_another_list_saves_nothing(filled, make, tmp_path):
    with pytest.raises(StoreError, match="no sound row"):
        rescue(filled[0], tmp_path / "new.h5", like=make(5000, {"avg": 700}, name="like.h5"))
    with pytest.raises(OptionError, match="is also an input"):
        rescue(filled[0], filled[0])
