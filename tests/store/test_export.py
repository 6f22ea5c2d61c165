import errno
import os

import h5py
import numpy as np
import pytest

from bottleneck.errors import StoreError
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer, system
from bottleneck.store.export import export_compressed
from bottleneck.store.verify import verify


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_a_compressed_copy_is_equal_and_smaller(make, fill, tmp_path, compression):
    path = make(3000, {"avg": 64, "max": 5})
    fill(path, range(2999))
    layout = FeatureStore.open(path).layout
    zeros = {"avg": np.zeros((2000, 64), "f4"), "max": np.zeros((2000, 5), "f4")}
    with Writer(path, layout) as writer:
        writer.write(np.arange(2000), zeros, np.ones((2000, 16), np.uint8))
        writer.fail([FailedRow(2999, "img2999.png", RowStatus.EMPTY, "")])
    result = export_compressed(path, tmp_path / "small.h5", compression=compression)
    assert result.bytes_after == (tmp_path / "small.h5").stat().st_size
    assert result.bytes_after < 0.6 * result.bytes_before
    old, new = FeatureStore.open(path), FeatureStore.open(tmp_path / "small.h5")
    assert new.manifest_sha256 == old.manifest_sha256 == new.manifest.sha256
    assert new.recipe == old.recipe
    assert np.array_equal(new.status, old.status)
    for name in old.outputs:
        assert np.array_equal(new.features(name)[:2999], old.features(name)[:2999])
        assert np.array_equal(new.checksums(name), old.checksums(name))
    assert np.array_equal(new.load("test", "avg").X, old.load("test", "avg").X)
    with h5py.File(tmp_path / "small.h5") as file:
        assert file["features/avg"].compression == compression
        assert file["features/avg"].shuffle


def test_unfinished_files_are_refused(make, tmp_path):
    with pytest.raises(StoreError, match="pending rows"):
        export_compressed(make(10), tmp_path / "small.h5")


def test_an_existing_file_is_never_replaced(make, fill, tmp_path):
    path, precious = make(10), make(10, name="precious.h5")
    fill(path, range(10))
    before = precious.read_bytes()
    with pytest.raises(StoreError, match="exists already"):
        export_compressed(path, precious)
    assert precious.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["precious.h5", "x.h5"]


def test_what_is_not_as_it_was_is_not_handed_on(make, fill, tmp_path):
    path = make(10)
    fill(path, range(10))
    extent = FeatureStore.open(path).layout.features["avg"]
    with path.open("r+b") as stream:
        stream.seek(extent.offset + 7 * extent.row_bytes)
        stream.write(b"\xff")
    with pytest.raises(StoreError, match="row 7 does not match") as caught:
        export_compressed(path, tmp_path / "small.h5")
    assert "verify --fix" in caught.value.hint
    assert os.listdir(tmp_path) == ["x.h5"]


def test_damage_of_a_copy_is_found(make, fill, tmp_path):
    path = make(100, {"avg": 64})
    fill(path, range(100))
    export_compressed(path, tmp_path / "small.h5")
    report = verify(tmp_path / "small.h5")
    assert (report.ok, report.checked) == (True, 100)
    with h5py.File(tmp_path / "small.h5", "r+") as file:
        file["features/avg"][42, 3] += 1
    assert verify(tmp_path / "small.h5").bad_rows == (42,)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_is_a_clear_error(make, fill, tmp_path, monkeypatch, code):
    """HDF5 itself crashes the process when it is told that a write failed."""
    path = make(300, {"avg": 64})
    fill(path, range(300))
    write_at, calls = system.write_at, [0]

    def failing(descriptor, data, offset):
        calls[0] += 1
        if calls[0] == fail_at:
            raise OSError(code, os.strerror(code))
        write_at(descriptor, data, offset)

    monkeypatch.setattr(system, "write_at", failing)
    fail_at = 0
    export_compressed(path, tmp_path / "small.h5")
    n_writes = calls[0] - 1  # one is the signature in the lock file
    assert n_writes > 5
    for n in range(1, n_writes + 1):
        calls[0], fail_at = 0, n + 1
        with pytest.raises(StoreError, match=os.strerror(code)):
            export_compressed(path, tmp_path / "other.h5")
        assert sorted(os.listdir(tmp_path)) == ["small.h5", "x.h5"]


@pytest.mark.parametrize("pick", [3, np.int64(-2), slice(2, 9), slice(9, 2, -2), [5, 1, 1]])
def test_rows_of_a_copy_are_picked_like_those_of_an_array(make, fill, tmp_path, pick):
    path = make(10)
    values, _ = fill(path, range(10))
    export_compressed(path, tmp_path / "small.h5")
    features = FeatureStore.open(tmp_path / "small.h5").features()
    assert np.array_equal(features[pick], values["avg"][pick])
    with pytest.raises(IndexError):
        features[10]
