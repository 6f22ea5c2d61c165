"""Files that older programs wrote are read, verified and finished for ever."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from store.versions.make import IDENTITY, ROWS, digests, features

from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore, Writer, settle, writer_lock
from bottleneck.store.format import FORMAT_VERSION
from bottleneck.store.rescue import rescue
from bottleneck.store.verify import verify

VERSIONS = Path(__file__).with_name("versions")
FILES = sorted(VERSIONS.glob("*.h5"))


@pytest.fixture(params=FILES, ids=[path.stem for path in FILES])
def old(request, tmp_path):
    shutil.copy(request.param, tmp_path)
    return tmp_path / request.param.name


def test_there_is_a_file_of_each_version():
    assert [path.stem for path in FILES] == [f"v{n}" for n in range(1, FORMAT_VERSION + 1)]


def test_it_is_read(old):
    store = FeatureStore.open(old)
    assert store.status.tolist() == [1, 1, RowStatus.TRUNCATED, 1, 0, 0]
    assert np.array_equal(store.features("avg")[store.done], features()[[0, 1, 3]])
    assert np.array_equal(store.digests[:4], digests()[:4])
    assert [*store.keys] == ["a/1.png", "a/2.png", "a/10.png", "b/ü.png", "b/x.png", "c.png"]
    assert store.manifest.classes == ("a", "b")
    assert store.manifest.labels.tolist() == [0, 0, 0, 1, 1, -1]
    assert store.manifest.splits.tolist() == [1, 1, 3, 1, 3, 0]
    assert store.manifest.groups.tolist() == [0, 0, -1, 1, -1, -1]
    assert store.recipe.identity == IDENTITY
    assert verify(old).ok


def test_it_is_finished(old):
    store = FeatureStore.open(old)
    pending = np.flatnonzero(store.status == 0)
    with writer_lock(old):
        settle(old, store.layout)
        with Writer(old, store.layout) as writer:
            writer.write(pending, {"avg": features()[pending]}, digests()[pending])
    report = verify(old)
    assert (report.ok, report.checked) == (True, ROWS - 1)
    with h5py.File(old) as file:
        done = file["status"][()] == 1
        assert np.array_equal(file["features/avg"][()][done], features()[done])


def test_its_rows_are_where_rescue_looks_for_them(old, tmp_path):
    result = rescue(old, tmp_path / "new.h5")
    assert (result.saved, result.failed, result.pending) == (3, 1, 2)
