import errno
import json
import os
import sys
import threading
import time
import zlib

import h5py
import numpy as np
import pytest

from bottleneck.errors import StoreError, StoreLockedError
from bottleneck.status import RowStatus
from bottleneck.store import (
    FailedRow,
    FeatureStore,
    Writer,
    failures_path,
    settle,
    system,
    writer_lock,
)

NO_DIGESTS = np.zeros((1, 16), np.uint8)


def test_rows_read_back_through_plain_h5py(make, fill):
    path = make(5000, {"avg": 300, "max": 7})
    rows = [0, 1, 2, 17, 18, 873, 874, 4999]
    values, digests = fill(path, rows)
    with h5py.File(path) as file:
        for name, block in values.items():
            assert np.array_equal(file[f"features/{name}"][rows], block)
            crcs = [zlib.crc32(row.tobytes()) for row in block]
            assert file[f"crc32/{name}"][rows].tolist() == crcs
        assert np.array_equal(file["digest"][rows], digests)
        status = file["status"][()]
    assert np.flatnonzero(status).tolist() == rows
    assert set(status[rows]) == {RowStatus.DONE}


def test_float16_is_rounded_once(make):
    path = make(3, {"avg": 2}, "float16")
    layout = FeatureStore.open(path).layout
    values = np.array([[0.1, 1000.06]], np.float32)
    with Writer(path, layout) as writer:
        writer.write(np.array([1]), {"avg": values}, NO_DIGESTS)
    assert np.array_equal(FeatureStore.open(path).features()[1], values[0].astype(np.float16))


def test_nothing_is_flagged_before_the_data_is_synced(make, monkeypatch):
    """The order that makes the promise: data, sync, status, sync."""
    path = make(10)
    layout = FeatureStore.open(path).layout
    events = []
    write_at, sync = system.write_at, system.sync_data

    def record_write(fd, data, offset):
        in_status = layout.status.offset <= offset < layout.status.offset + 10
        events.append("status" if in_status else "data")
        write_at(fd, data, offset)

    def record_sync(fd):
        events.append("sync")
        sync(fd)

    monkeypatch.setattr(system, "write_at", record_write)
    monkeypatch.setattr(system, "sync_data", record_sync)
    with Writer(path, layout) as writer:
        writer.write(np.arange(4), {"avg": np.ones((4, 5), np.float32)}, np.zeros((4, 16), "u1"))
        assert writer.committed == 0
        writer.commit()
        assert writer.committed == 4
    assert events == ["data", "data", "data", "sync", "status", "sync"]


def test_commits_by_size_and_by_time(make):
    path = make(10)
    layout = FeatureStore.open(path).layout
    block = {"avg": np.ones((1, 5), np.float32)}
    with Writer(path, layout, commit_bytes=1) as writer:
        writer.write(np.array([0]), block, NO_DIGESTS)
        assert writer.committed == 1
    with Writer(path, layout, commit_seconds=0) as writer:
        writer.write(np.array([1]), block, NO_DIGESTS)
        assert writer.committed == 1
    with Writer(path, layout) as writer:
        writer.write(np.array([2]), block, NO_DIGESTS)
        assert writer.committed == 0
    assert FeatureStore.open(path).done.tolist() == [True] * 3 + [False] * 7


def test_a_commit_in_the_background_lets_rows_be_written_and_keeps_the_order(make, monkeypatch):
    path = make(10)
    layout = FeatureStore.open(path).layout
    status, disk = range(layout.status.offset, layout.status.offset + 10), layout.status.offset
    events, may_sync, syncing = [], threading.Event(), threading.Event()
    sync, write_at = system.sync_data, system.write_at

    def slow_sync(descriptor):
        syncing.set()
        assert may_sync.wait(60)
        sync(descriptor)
        events.append("sync")

    def noted(descriptor, data, offset):
        write_at(descriptor, data, offset)
        events.append(f"flag {offset - disk}" if offset in status else "data")

    monkeypatch.setattr(system, "sync_data", slow_sync)
    monkeypatch.setattr(system, "write_at", noted)
    block = {"avg": np.ones((1, 5), np.float32)}
    with Writer(path, layout, commit_bytes=1, background=True) as writer:
        writer.write(np.array([0]), block, NO_DIGESTS)
        assert syncing.wait(60)
        # The next row is on its way while the first one's data is synced; nothing is flagged.
        writer._commit_bytes = 1 << 20
        writer.write(np.array([1]), block, NO_DIGESTS)
        assert events == ["data"] * 6
        assert writer.committed == 0
        may_sync.set()
        writer.commit()
        assert writer.committed == 2
    assert events == ["data"] * 6 + ["sync", "flag 0", "sync", "sync", "flag 1", "sync"]


@pytest.mark.parametrize("asked", ["write", "fail", "commit", "unflag", "leave"])
def test_an_error_in_the_background_is_told_by_the_next_call(make, monkeypatch, asked):
    path = make(10)
    layout = FeatureStore.open(path).layout
    block = {"avg": np.ones((1, 5), np.float32)}

    def broken(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(StoreError, match="Input/output error"):
        with Writer(path, layout, commit_bytes=1, background=True) as writer:
            writer.write(np.array([0]), block, NO_DIGESTS)
            writer.commit()
            monkeypatch.setattr(system, "sync_data", broken)
            writer.write(np.array([1]), block, NO_DIGESTS)
            while not writer._running.done():
                time.sleep(0.01)
            if asked == "write":
                writer.write(np.array([2]), block, NO_DIGESTS)
            elif asked == "fail":
                writer.fail([FailedRow(2, "img2.png", RowStatus.EMPTY, "nothing")])
            elif asked == "commit":
                writer.commit()
            elif asked == "unflag":
                writer.unflag(np.array([5]))
            assert asked == "leave"
    assert FeatureStore.open(path).done.tolist() == [True] + [False] * 9


def test_failures_have_a_code_and_a_text(make):
    path = make(10)
    with Writer(path, FeatureStore.open(path).layout) as writer:
        writer.fail(
            [
                FailedRow(7, "img7.png", RowStatus.TRUNCATED, "ends after 12 bytes"),
                FailedRow(2, "img2.png", RowStatus.EMPTY, "0 bytes"),
            ]
        )
    store = FeatureStore.open(path)
    assert store.status[[2, 7]].tolist() == [RowStatus.EMPTY, RowStatus.TRUNCATED]
    records = [json.loads(line) for line in failures_path(path).read_text().splitlines()]
    assert records == [
        {"row": 2, "key": "img2.png", "status": "empty", "message": "0 bytes"},
        {"row": 7, "key": "img7.png", "status": "truncated", "message": "ends after 12 bytes"},
    ]


@pytest.mark.parametrize("call", ["write_at", "sync_data"])
def test_an_error_of_the_disk_flags_nothing_more(make, monkeypatch, call):
    path = make(10)
    layout = FeatureStore.open(path).layout

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    writer = Writer(path, layout)
    writer.write(np.array([0]), {"avg": np.ones((1, 5), np.float32)}, NO_DIGESTS)
    writer.commit()
    with pytest.raises(StoreError, match="Input/output error") as caught, writer:
        monkeypatch.setattr(system, call, fail)
        writer.write(np.array([1]), {"avg": np.ones((1, 5), np.float32)}, NO_DIGESTS)
        writer.commit()
    assert "1 rows of this run are safe" in caught.value.hint
    assert FeatureStore.open(path).done.tolist() == [True] + [False] * 9


@pytest.mark.parametrize("background", [False, True])
def test_after_an_error_a_commit_that_would_succeed_flags_nothing(make, monkeypatch, background):
    """A sync that failed has lost the data, and the next one says nothing of it.

    Who catches the error, or is interrupted while it is told, may ask for a commit again.
    """
    path = make(10)
    layout = FeatureStore.open(path).layout
    sync, block = system.sync_data, {"avg": np.ones((1, 5), np.float32)}

    def broken(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    with Writer(path, layout, background=background) as writer:
        writer.write(np.array([0]), block, NO_DIGESTS)
        writer.commit()
        monkeypatch.setattr(system, "sync_data", broken)
        writer.write(np.array([1]), block, NO_DIGESTS)
        with pytest.raises(StoreError, match="Input/output error"):
            writer.commit()
        monkeypatch.setattr(system, "sync_data", sync)
        with pytest.raises(StoreError, match="Input/output error"):
            writer.commit()
    assert FeatureStore.open(path).done.tolist() == [True] + [False] * 9


def test_where_no_thread_can_be_started_commits_are_made_without(make, monkeypatch):
    path = make(10)
    layout = FeatureStore.open(path).layout

    def no_more(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    with Writer(path, layout, commit_bytes=1, background=True) as writer:
        writer.write(np.array([3]), {"avg": np.ones((1, 5), np.float32)}, NO_DIGESTS)
        assert writer.committed == 1
    assert np.flatnonzero(FeatureStore.open(path).done).tolist() == [3]


@pytest.mark.skipif(sys.platform != "linux", reason="locks that belong to the file: Linux only")
def test_a_file_is_free_after_its_commit_though_who_waits_is_interrupted(make, monkeypatch):
    path = make(10)
    layout = FeatureStore.open(path).layout

    def interrupted():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        with Writer(path, layout, background=True) as writer:
            thread = writer._thread
            patch.setattr(thread, "shutdown", interrupted)
            writer.write(np.array([0]), {"avg": np.ones((1, 5), np.float32)}, NO_DIGESTS)
    thread.shutdown()
    with Writer(path, layout):  # else it is being written, by this very process
        pass
    assert np.flatnonzero(FeatureStore.open(path).done).tolist() == [0]


def test_rows_outside_the_file_are_refused(make):
    path = make(10)
    with Writer(path, FeatureStore.open(path).layout) as writer:
        with pytest.raises(ValueError, match="below 10"):
            writer.write(np.array([10]), {"avg": np.ones((1, 5), np.float32)}, NO_DIGESTS)
        with pytest.raises(ValueError, match="expected outputs"):
            writer.write(np.array([1]), {"max": np.ones((1, 5), np.float32)}, NO_DIGESTS)


def test_a_second_writer_is_refused_with_the_name_of_the_first(make):
    path = make(10)
    with writer_lock(path):
        with pytest.raises(StoreLockedError, match=f"process {os.getpid()} on"), writer_lock(path):
            pass
    with writer_lock(path):
        pass
    assert not path.with_name("x.h5.lock").exists()


def test_programs_that_open_for_writing_are_refused_and_readers_are_not(make):
    path = make(10)
    with Writer(path, FeatureStore.open(path).layout):
        with h5py.File(path, "r") as file:
            assert file["status"].shape == (10,)
        with pytest.raises(OSError, match="lock"):
            h5py.File(path, "r+")
    with h5py.File(path, "r+"), pytest.raises(StoreError, match="another program"):
        Writer(path, FeatureStore.open(path).layout)


def test_short_writes_are_continued(tmp_path, monkeypatch):
    path = tmp_path / "f"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, bytes(data[:3]), at))
    system.write_at(descriptor, b"0123456789", 2)
    os.close(descriptor)
    assert path.read_bytes() == b"\0\x000123456789"


@pytest.mark.skipif(sys.platform != "linux", reason="locks that belong to the file: Linux only")
def test_a_file_has_one_writer_under_all_its_names(make):
    path = make(10)
    layout = FeatureStore.open(path).layout
    other = path.with_name("other.h5")
    os.link(path, other)
    with writer_lock(path), Writer(path, layout):
        with writer_lock(other), pytest.raises(StoreLockedError, match="under another name"):
            Writer(other, layout)
        assert len(FeatureStore.open(other)) == 10
    Writer(other, layout).__exit__(None, None, None)


def test_an_interrupt_during_a_sync_does_not_cost_the_commit(make, monkeypatch):
    path = make(10)
    sync, calls = system.sync_data, [0]

    def interrupted(descriptor):
        calls[0] += 1
        if calls[0] == 1:
            raise KeyboardInterrupt
        sync(descriptor)

    monkeypatch.setattr(system, "sync_data", interrupted)
    with pytest.raises(KeyboardInterrupt):
        with Writer(path, FeatureStore.open(path).layout) as writer:
            writer.write(np.arange(4), {"avg": np.ones((4, 5), "f4")}, np.zeros((4, 16), "u1"))
            writer.commit()
    assert FeatureStore.open(path).done.tolist() == [True] * 4 + [False] * 6


def test_a_torn_line_costs_only_itself(make):
    path = make(10)
    failures_path(path).write_text('{"row": 1, "key": "img1.png", "sta')
    with Writer(path, FeatureStore.open(path).layout) as writer:
        writer.fail([FailedRow(2, "img2.png", RowStatus.EMPTY, "nothing")])
    last = failures_path(path).read_text().splitlines()[-1]
    assert json.loads(last)["row"] == 2


def test_settled_flags_change_nothing(make, fill):
    path = make(10)
    fill(path, range(3))
    os.utime(path, ns=(10**18, 10**18))
    before = path.read_bytes()
    with writer_lock(path):
        settle(path, FeatureStore.open(path).layout)
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == 10**18
