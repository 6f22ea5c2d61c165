"""Several processes at one file: one writes, the others are told who; readers see no wrong row."""

import fcntl
import os
import threading
import time

import pytest
from faults.together import live_reader, races

from bottleneck.errors import StoreLockedError
from bottleneck.store import writer_lock


def test_writers_race(lab):
    tally = races(lab, 6, 8)
    assert tally.problems == []
    assert tally.counts["writers"] == 48
    assert tally.counts["refused"] >= 36


def test_the_holder_is_named_even_while_it_signs(tmp_path):
    """The lock is held a moment before its file says by whom."""
    path = tmp_path / "x.h5"
    descriptor = os.open(tmp_path / "x.h5.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    def sign():
        time.sleep(0.01)
        os.pwrite(descriptor, b"process 12345 on somewhere\n", 0)

    thread = threading.Thread(target=sign)
    thread.start()
    try:
        with pytest.raises(StoreLockedError, match="process 12345 on somewhere"):
            with writer_lock(path):
                pass
    finally:
        thread.join()
        os.close(descriptor)


def test_a_reader_sees_no_wrong_row_of_three_writers(lab):
    tally = live_reader(lab, 25)
    assert tally.problems == []
    assert tally.counts["midway"] >= 25
    assert tally.counts["kills"] == 2 * tally.counts["files"]
