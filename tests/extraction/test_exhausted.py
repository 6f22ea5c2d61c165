"""A machine that is out of something ends a run: no row is blamed, what is done is kept."""

import errno
import os
import sys
import time

import numpy as np
import pytest
import traps
from fakes import write_png

from bottleneck import exhaustion
from bottleneck.errors import ExhaustedError
from bottleneck.images.decoder import ImageFile
from bottleneck.sources import open_source
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore
from bottleneck.store.verify import verify


def refuse(monkeypatch, owner, name, error, after):
    """Raise an error from a call on, when what was decoded before is stored."""
    before, calls = getattr(owner, name), []

    def call(*arguments, **options):
        calls.append(arguments)
        if len(calls) > after:
            time.sleep(1)
            raise error
        return before(*arguments, **options)

    monkeypatch.setattr(owner, name, call)


def require_nobody_blamed(output, photos, run, tmp_path):
    """What is stored is right and the rest pending; the next run does that."""
    store = FeatureStore.open(output)
    assert set(store.status) <= {RowStatus.PENDING, RowStatus.DONE}
    assert not store.complete
    assert store.done.any()
    assert not verify(output).bad_rows
    whole = FeatureStore.open(run(photos, tmp_path / "whole.h5").output)
    for name in ("mean", "spread"):
        done = store.done
        np.testing.assert_array_equal(
            store.features(name)[np.flatnonzero(done)], whole.features(name)[np.flatnonzero(done)]
        )
    result = run(photos, output)
    assert (result.ok + result.already_done, result.failed) == (12, 0)
    again = FeatureStore.open(output)
    np.testing.assert_array_equal(again.features("mean")[:], whole.features("mean")[:])


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
@pytest.mark.parametrize(
    ("limit", "left", "says"),
    [("RLIMIT_NOFILE", 3, "open files"), ("RLIMIT_AS", 4 << 20, "memory")],
)
def test_a_worker_at_the_systems_own_limit(photos, run, tmp_path, limit, left, says):
    rng = np.random.default_rng(3)
    for path in sorted(photos.rglob("*.png"))[6:]:  # larger than what is left of memory
        write_png(path, rng.integers(0, 256, (900, 1000, 3)))
    source = traps.ExhaustingSource(open_source([str(photos)]), limit, left)
    with pytest.raises(ExhaustedError, match=says) as caught:
        run(source, tmp_path / "x.h5", workers=1, worker_kind="processes", batch_size=2)
    assert "What is done is kept" in caught.value.hint
    require_nobody_blamed(tmp_path / "x.h5", photos, run, tmp_path)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_files_that_cannot_be_opened_in_threads(photos, run, tmp_path, monkeypatch, number):
    source = open_source([str(photos)])
    with monkeypatch.context() as patched:
        before = os.open

        def opened(path, *arguments, **options):
            if str(path).endswith("11.png"):
                time.sleep(1)  # what was decoded before is stored meanwhile
                raise OSError(number, os.strerror(number), str(path))
            return before(path, *arguments, **options)

        patched.setattr(os, "open", opened)
        patched.setattr(exhaustion, "_can_have", lambda count: False)
        with pytest.raises(ExhaustedError, match="at its limit"):
            run(source, tmp_path / "x.h5", worker_kind="threads", batch_size=2)
    require_nobody_blamed(tmp_path / "x.h5", photos, run, tmp_path)


@pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory")])
def test_pictures_that_memory_does_not_suffice_for(photos, run, tmp_path, monkeypatch, error):
    with monkeypatch.context() as patched:
        patched.setattr(exhaustion, "_can_have", lambda count: False)
        refuse(patched, ImageFile.ImageFile, "load", error, after=18)
        with pytest.raises(ExhaustedError, match="memory"):
            run(photos, tmp_path / "x.h5", workers=1, worker_kind="threads", batch_size=2)
    require_nobody_blamed(tmp_path / "x.h5", photos, run, tmp_path)


def test_one_file_beyond_all_memory_is_that_files_fault(photos, run, tmp_path, monkeypatch):
    """Its archive says it unpacks to more than there is; others are read on."""
    source = open_source([str(photos)])
    read = source.read
    source.read = lambda row: read(row) if row != 4 else bytearray(1 << 62)
    run(source, tmp_path / "x.h5", worker_kind="threads")
    store = FeatureStore.open(tmp_path / "x.h5")
    assert np.flatnonzero(store.status == RowStatus.TOO_LARGE).tolist() == [4]
    assert store.done.sum() == 11
