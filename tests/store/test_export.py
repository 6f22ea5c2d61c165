import h5py
import numpy as np
import pytest

from bottleneck.errors import StoreError
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer
from bottleneck.store.export import export_compressed


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
