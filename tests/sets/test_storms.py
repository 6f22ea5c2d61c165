"""Each range is published once, whoever is killed or suspended, and when."""

import itertools
import os
import random
import signal
import time
from contextlib import suppress

import pytest
import set_worker
from made_sets import plan_fake, require_right, work, write_small

from bottleneck.location import is_url
from bottleneck.sets import published, read_info
from bottleneck.sets.sealing import verify_set
from bottleneck.sources.remote import filesystem


def shards_now(place):
    """Return what changes where a shard does: the file and its time, or the hash of the object."""
    if is_url(place.name):
        fs, path = filesystem(f"{place.name}/shards")
        with suppress(FileNotFoundError):
            found = fs.ls(path, detail=True, refresh=True)
            return {one["name"]: one["ETag"] for one in found}
        return {}
    return {name: place.stamp(f"shards/{name}") for name in place.names("shards")}


def storm(where, tmp_path, *, workers, kills, seed=0):
    """Keep so many workers at a set, kill one after the other at random; return how many died."""
    draw = random.Random(seed)
    place, info = read_info(where)
    running, killed, seen = [], 0, {}
    deadline = time.monotonic() + 60 + 10 * kills
    while True:
        assert time.monotonic() < deadline
        for one in [one for one in running if one.exitcode is not None]:
            running.remove(one)
            assert one.exitcode == 0, (tmp_path / "errors.txt").read_text()
        # A shard never changes, whatever happens.
        now = shards_now(place)
        assert seen.items() <= now.items()
        seen = now
        if len(published(place, info)) == info.n_ranges:
            break
        while len(running) < workers:
            part = draw.choice([None, None, "1/2", "2/2"])
            # A disk of its own, or one that others of the machine have too.
            scratch = draw.choice(["scratch", f"scratch-{draw.randrange(4)}"])
            running.append(set_worker.start(where, tmp_path, scratch, part=part))
        time.sleep(draw.uniform(0, 0.2))
        # One each time, and as many as it takes not to be done before all were killed.
        behind = int(1.3 * kills * len(now) / info.n_ranges) - killed
        for victim in draw.sample(running, min(max(1, behind), len(running), kills - killed)):
            victim.kill()
            victim.join()
            assert victim.exitcode in (0, -signal.SIGKILL), (tmp_path / "errors.txt").read_text()
            killed += victim.exitcode != 0
            running.remove(victim)
    for one in running:
        one.kill()
        one.join()
    return killed


def require_once(where, s3):
    """Every range has one shard; objects were made once, even while nobody looked."""
    place, info = read_info(where)
    assert published(place, info) == dict.fromkeys(range(info.n_ranges), 1)
    if is_url(str(where)):
        bucket, _, prefix = where.removeprefix("s3://").partition("/")
        told = s3.call_s3("list_object_versions", Bucket=bucket, Prefix=f"{prefix}/shards/")
        versions = [one["Key"] for one in told["Versions"]]
        assert len(versions) == len(set(versions)) == info.n_ranges
        assert not told.get("DeleteMarkers")


def keep_versions(where, s3):
    bucket = where.removeprefix("s3://").partition("/")[0]
    s3.call_s3(
        "put_bucket_versioning", Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )


def test_workers_that_are_killed_lose_and_double_nothing(small, where, tmp_path, s3):
    if is_url(where):
        keep_versions(where, s3)
    plan_fake(small, where, rows=2)
    killed = storm(where, tmp_path, workers=2, kills=4)
    assert killed >= 1
    require_once(where, s3)
    require_right(where, small)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(2))
def test_ten_workers_are_killed_at_random(where, tmp_path, s3, seed):
    """Twice 100 kills or more: 200 on a folder, 200 on an object store."""
    write_small(tmp_path / "small", 400, classes=5, seed=seed)
    if is_url(where):
        keep_versions(where, s3)
    plan_fake(tmp_path / "small", where, rows=4)
    # The last ranges may be done before the last worker is killed.
    killed = storm(where, tmp_path, workers=10, kills=120, seed=seed)
    print(f"{killed} workers were killed")
    assert killed >= 100
    require_once(where, s3)
    assert require_right(where, tmp_path / "small").done.all()


@pytest.mark.heavy
def test_workers_are_suspended_at_random(where, tmp_path, s3):
    """Past their leases, while others do their ranges; then they go on, or are killed."""
    write_small(tmp_path / "small", 240, classes=5, seed=11)
    if is_url(where):
        keep_versions(where, s3)
    plan_fake(tmp_path / "small", where, rows=4)
    place, info = read_info(where)
    draw = random.Random(11)
    names = itertools.count()

    def start():
        return set_worker.start(where, tmp_path, f"scratch-{next(names)}", lease_seconds=0.3)

    def send(one, what):
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(one.pid, what)

    working, asleep, suspended = [], [], 0
    deadline = time.monotonic() + 200
    try:
        while len(published(place, info)) < info.n_ranges:
            assert time.monotonic() < deadline
            for one in [one for one in working if one.exitcode is not None]:
                working.remove(one)
                assert one.exitcode == 0, (tmp_path / "errors.txt").read_text()
            while len(working) < 4:
                working.append(start())
            time.sleep(draw.uniform(0, 0.15))
            one = working.pop(draw.randrange(4))
            send(one, signal.SIGSTOP)
            suspended += 1
            asleep.append((time.monotonic() + draw.uniform(0.2, 2.5), one))
            for until, one in [pair for pair in asleep if pair[0] < time.monotonic()]:
                asleep.remove((until, one))
                if draw.random() < 0.3:
                    one.kill()
                    one.join()
                else:
                    send(one, signal.SIGCONT)
                    working.append(one)
        before = shards_now(place)
    finally:
        for _, one in asleep:
            send(one, signal.SIGCONT)
    for one in [*working, *(one for _, one in asleep)]:
        one.join(60)
        assert one.exitcode in (0, -signal.SIGKILL), (tmp_path / "errors.txt").read_text()
    print(f"workers were suspended {suspended} times")
    assert suspended >= 40
    assert shards_now(place) == before
    require_once(where, s3)
    assert require_right(where, tmp_path / "small").done.all()


def test_a_worker_that_was_suspended_goes_on_behind_another(small, where, tmp_path, s3):
    """Its range is done by another meanwhile: its own copy is thrown away."""
    if is_url(where):
        keep_versions(where, s3)
    plan_fake(small, where, rows=13)
    place, info = read_info(where)
    asleep = set_worker.start(where, tmp_path, "scratch-1", part="1/2")
    try:
        own = tmp_path / "scratch-1" / info.id / f"{info.stem(0)}.h5"
        end = time.monotonic() + 60
        while not own.exists():
            assert time.monotonic() < end
            time.sleep(0.001)
        os.kill(asleep.pid, signal.SIGSTOP)
        assert published(place, info) == {}
        run = work(where, tmp_path)
        assert (run.published, run.duplicates, run.pending) == (2, 0, 0)
        before = shards_now(place)
    finally:
        os.kill(asleep.pid, signal.SIGCONT)
    asleep.join(60)
    assert asleep.exitcode == 0, (tmp_path / "errors.txt").read_text()
    assert shards_now(place) == before
    assert place.names("leases") == []
    assert list(tmp_path.rglob("scratch*/**/*.h5")) == []
    require_once(where, s3)
    require_right(where, small)


def test_workers_that_are_killed_while_they_correct_lose_nothing(small, where, tmp_path, s3):
    """Failed images of all ranges are tried again by two workers, which are killed."""
    images = {image: image.read_bytes() for image in sorted((small).rglob("*.png"))[::2]}
    for image in images:
        image.write_bytes(b"no image")
    if is_url(where):
        keep_versions(where, s3)
    plan_fake(small, where, rows=4)
    work(where, tmp_path, max_failed="100%")
    place, info = read_info(where)
    first = shards_now(place)
    for image, good in images.items():
        image.write_bytes(good)
    draw = random.Random(1)
    for _ in range(3):
        workers = [
            set_worker.start(where, tmp_path, f"s{i % 2}", retry_failed=True) for i in range(3)
        ]
        time.sleep(draw.uniform(0.1, 0.4))
        for worker in workers:
            worker.kill()
            worker.join()
            assert worker.exitcode in (0, -signal.SIGKILL), (tmp_path / "errors.txt").read_text()
    workers = [set_worker.start(where, tmp_path, f"s{i}", retry_failed=True) for i in range(2)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0, (tmp_path / "errors.txt").read_text()
    assert published(place, info) == dict.fromkeys(range(info.n_ranges), 2)
    assert first.items() <= shards_now(place).items()
    assert require_right(where, small).done.all()
    assert verify_set(where).ok
