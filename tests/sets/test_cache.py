"""Blocks of remote sets are kept on the disk, and no more of them than may be."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from made_sets import fill, plan_fake

from bottleneck.errors import OptionError, StoreError
from bottleneck.sets import blocks
from bottleneck.sets import cache as caching
from bottleneck.sets.cache import BlockCache, shared_cache
from bottleneck.store import FeatureStore


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(caching, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1000)


def content(number):
    return np.random.default_rng(number).bytes(1000)


def held(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def names(folder):
    return {path.name for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}


def aged(cache, name, seconds):
    then = time.time() - seconds
    os.utime(cache.folder / name, (then, then))


def test_what_was_read_last_stays(tmp_path):
    cache = BlockCache(tmp_path, 9000)
    for number in range(8):
        cache.keep(f"set/{number}", content(number))
        aged(cache, f"set/{number}", 1000 - number)
    assert names(tmp_path) == {*"01234567"}
    assert cache.read("set/0", 1000, 10, 5) == content(0)[10:15]  # it is the newest now
    assert cache.read("set/1", 999, 0, 5) is None  # of another length: another block
    cache.keep("set/8", content(8))
    assert names(tmp_path) == {"0", *"345678"}
    assert cache.read("set/1", 1000, 0, 5) is None
    assert cache.read("set/8", 1000, 0, 1000) == content(8)


def test_it_stays_within_its_size_whatever_comes(tmp_path):
    cache = BlockCache(tmp_path, 20_000)
    for number in range(200):
        cache.keep(f"set{number // 50}/{number}", content(number))
        assert held(tmp_path) <= 20_000
    assert held(tmp_path) >= 15_000
    assert {*map(str, range(190, 200))} <= names(tmp_path)
    # Folders of sets of which nothing is left are gone.
    assert [one.name for one in sorted(tmp_path.iterdir())] == [".lock", "set3"]


def test_a_size_below_a_block_is_no_cache(tmp_path):
    cache = BlockCache(tmp_path, 10)
    for number in range(3):
        cache.keep(f"set/{number}", content(number))
    assert len(names(tmp_path)) <= 2


def test_sizes_are_told_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("BOTTLENECK_CACHE", str(tmp_path / "there"))
    assert (shared_cache().folder, shared_cache().limit) == (tmp_path / "there/sets", None)
    for text, limit in (("5000", 5000), ("50G", 50 << 30), ("1.5 MiB", 3 << 19), ("2tb", 2 << 40)):
        monkeypatch.setenv("BOTTLENECK_CACHE_SIZE", text)
        assert shared_cache().limit == limit
    monkeypatch.setenv("BOTTLENECK_CACHE_SIZE", "half")
    with pytest.raises(OptionError, match="expected a size as 50G"):
        shared_cache()


def test_without_a_size_half_of_the_disk_is_left(tmp_path, monkeypatch):
    cache = BlockCache(tmp_path)
    real, room = os.statvfs(tmp_path), 30_000

    def disk(path):
        free = room - held(tmp_path)
        return os.statvfs_result((*real[:1], 1, *real[2:4], free, *real[5:]))

    monkeypatch.setattr(caching.os, "statvfs", disk)
    for number in range(40):
        cache.keep(f"set/{number}", content(number))
        assert held(tmp_path) <= 15_000
    assert held(tmp_path) >= 11_000


def test_what_a_killed_process_left_is_removed(tmp_path):
    cache = BlockCache(tmp_path, 9000)
    cache.keep("set/1", content(1))
    for name, age in ((".2.7.8.tmp", 4000), (".3.7.8.tmp", 10)):
        (tmp_path / "set" / name).write_bytes(b"half")
        aged(cache, f"set/{name}", age)
    cache._make_room(9000)
    assert sorted(one.name for one in (tmp_path / "set").iterdir()) == [".3.7.8.tmp", "1"]


def test_a_block_that_cannot_be_read_is_none(tmp_path):
    cache = BlockCache(tmp_path, 9000)
    cache.keep("set/1", content(1))
    assert cache.read("set/1", 1000, 10, 20) == content(1)[10:30]
    (tmp_path / "set/1").unlink()
    (tmp_path / "set/1").mkdir()  # nor can its permissions, or the disk, be right
    assert cache.read("set/1", 1000, 10, 20) is None


def test_a_full_disk_makes_old_blocks_go(tmp_path, monkeypatch):
    cache = BlockCache(tmp_path, 10**6)
    for number in range(6):
        cache.keep(f"set/{number}", content(number))
        aged(cache, f"set/{number}", 1000 - number)
    written = caching.written_whole

    def full(path, **more):
        if held(tmp_path) > 4000:
            raise OSError(28, "No space left on device")
        return written(path, **more)

    monkeypatch.setattr(caching, "written_whole", full)
    cache.keep("set/6", content(6))
    assert names(tmp_path) == {*"456"}
    monkeypatch.setattr(caching, "written_whole", lambda *a, **k: full(tmp_path / "none"))
    (tmp_path / "set/big").write_bytes(bytes(5000))
    (tmp_path / "set/big").chmod(0o600)
    monkeypatch.setattr(cache, "_make_room", lambda limit: None)
    with pytest.raises(StoreError, match="No space left") as caught:
        cache.keep("set/7", content(7))
    assert "BOTTLENECK_CACHE=FOLDER" in caught.value.hint


WORKER = """
import sys
import numpy as np
from bottleneck.sets import cache
cache.BLOCK_BYTES = 1000
ours = cache.BlockCache(cache.Path(sys.argv[1]), 20_000)
draw = np.random.default_rng(int(sys.argv[2]))
for number in draw.integers(0, 60, 600).tolist():
    right = np.random.default_rng(number).bytes(1000)
    found = ours.read(f"set{number % 3}/{number}", 1000, 0, 1000)
    assert found in (None, right), number
    if found is None:
        ours.keep(f"set{number % 3}/{number}", right)
"""


def test_several_processes_share_it(tmp_path):
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE) for seed in range(4)]
    most = 0
    while any(one.poll() is None for one in workers):
        with contextlib.suppress(OSError):  # gone while it was looked at
            most = max(most, held(tmp_path))
    for one in workers:
        assert (one.returncode, one.communicate()[1]) == (0, b"")
    # Each has one more before it looks; and what is looked at changes meanwhile.
    assert 10_000 < most <= 30_000
    assert held(tmp_path) <= 20_000


def test_threads_share_it_too(tmp_path):
    cache, wrong = BlockCache(tmp_path, 10_000), []

    def work(seed):
        for number in np.random.default_rng(seed).integers(0, 40, 300).tolist():
            found = cache.read(f"set/{number}", 1000, 0, 1000)
            if found is None:
                cache.keep(f"set/{number}", content(number))
            elif found != content(number):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert wrong == []
    assert held(tmp_path) <= 14_000


def test_a_set_is_read_right_with_a_cache_that_holds_little_of_it(
    photos, tmp_path, s3, monkeypatch
):
    s3.mkdir("little")
    plan_fake(photos, "s3://little/x.set")
    fill("s3://little/x.set", tmp_path, range(5))
    whole = FeatureStore.open("s3://little/x.set").load(output="mean").X
    monkeypatch.setenv("BOTTLENECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BOTTLENECK_CACHE_SIZE", "20K")
    store = FeatureStore.open("s3://little/x.set")
    for _ in range(3):
        assert np.array_equal(store.features("mean")[:], whole)
        assert 10_000 < held(tmp_path / "cache") <= 20 << 10
