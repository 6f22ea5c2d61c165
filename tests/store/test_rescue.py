import numpy as np
import pytest
from fakes import fake_recipe

from bottleneck.errors import OptionError, StoreError
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer
from bottleneck.store.rescue import rescue
from bottleneck.store.verify import verify


@pytest.fixture
def filled(make, fill):
    path = make(500, {"avg": 700, "max": 33})
    values, digests = fill(path, range(400))
    with Writer(path, FeatureStore.open(path).layout) as writer:
        writer.fail([FailedRow(450, "img450.png", RowStatus.TRUNCATED, "")])
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
    # The features lie before the status: without it, nothing is known to be done.
    cut = max(extent.offset + extent.n_rows * extent.row_bytes for extent in layout.extents)
    path.write_bytes(content[:cut])
    result = rescue(path, tmp_path / "new.h5", like=like)
    assert result.saved == 400
    assert np.array_equal(
        FeatureStore.open(tmp_path / "new.h5").features("max")[:400], values["max"]
    )
    path.write_bytes(content[: layout.features["avg"].offset + 1000])
    with pytest.raises(StoreError, match="no sound row"):
        rescue(path, tmp_path / "other.h5", like=like)
    assert not (tmp_path / "other.h5").exists()


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
