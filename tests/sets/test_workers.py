"""Workers without an engine: each range is published once, whoever is killed, and when."""

import errno
import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import set_worker
from fakes import MeanBackbone, fake_embedder, write_png
from made_sets import make_shard, plan_fake

from bottleneck.errors import BottleneckError, OptionError, RecipeMismatchError, StoreError
from bottleneck.extraction.engine import fill_store
from bottleneck.extraction.plan import MaxFailed
from bottleneck.extraction.ranges import FillSettings, RangeFiller, own_scratch
from bottleneck.extraction.sets import work_on_set
from bottleneck.images import Drawing, Geometry, decode_all
from bottleneck.location import is_url
from bottleneck.progress import SILENT
from bottleneck.sets import open_shards, published, read_info
from bottleneck.sets.leases import Lease, Leases
from bottleneck.sets.sealing import failure_texts, verify_set
from bottleneck.sources import open_source
from bottleneck.sources.remote import filesystem
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore, writer_lock


def work(where, tmp_path, **more):
    return work_on_set(
        set_worker.options(str(where), str(tmp_path / "scratch"), **more),
        load=set_worker.load,
        lease_seconds=2,
    )


def require_right(where, sources):
    """Compare every row with what the images' own pixels say."""
    store = FeatureStore.open(where)
    assert store.complete
    keys = list(store.keys)
    assert keys == list(open_source([str(sources)]).manifest.keys)
    network = MeanBackbone()
    for row in np.flatnonzero(store.done):
        (pixels,) = decode_all((Path(sources) / keys[row]).read_bytes(), [Drawing(Geometry(16))])
        expected = network(pixels[None])
        for name, features in expected.items():
            np.testing.assert_allclose(store.features(name)[int(row)], features[0], atol=1e-4)
    return store


@pytest.fixture
def small(tmp_path):
    """26 images of 16 pixels."""
    rng = np.random.default_rng(3)
    for number in range(26):
        pixels = rng.integers(0, 256, (16, 16, 3))
        write_png(tmp_path / "small" / f"c{number % 2}" / f"{number}.png", pixels)
    return tmp_path / "small"


def test_one_worker_does_all_and_then_nothing(small, where, tmp_path):
    plan_fake(small, where)
    run = work(where, tmp_path)
    assert (run.ranges, run.published, run.pending, run.ok, run.failed) == (6, 6, 0, 26, 0)
    require_right(where, small)
    assert verify_set(where).ok
    assert verify_set(where).checked == 26
    again = work(where, tmp_path)
    assert (again.published, again.already_done, again.ok) == (0, 6, 0)
    place, _ = read_info(where)
    assert place.names("leases") == []
    assert list((tmp_path / "scratch").rglob("*.h5")) == []


def test_features_are_taken_over_from_a_set(small, where, tmp_path):
    plan_fake(small, where)
    work(where, tmp_path, part="1/2")
    network = MeanBackbone()
    path = tmp_path / "x.h5"
    with writer_lock(path):
        result = fill_store(
            open_source([str(small)]),
            path,
            fake_embedder(network),
            batch_size=4,
            workers=1,
            max_failed=MaxFailed(share=1.0),
            progress=SILENT,
            reuse=[FeatureStore.open(where)],
        )
    assert (result.ok, result.reused, result.computed) == (26, 15, 11)
    store, old = FeatureStore.open(path), FeatureStore.open(where)
    for name in store.outputs:
        assert np.array_equal(store.features(name)[old.done], old.features(name)[old.done])


def test_parts_and_ranges_share_the_ranges_out(small, where, tmp_path):
    info = plan_fake(small, where)
    work(where, tmp_path, part="2/4")
    assert published(*read_info(where)).keys() == {1, 5}
    work(where, tmp_path, ranges="3-5")
    assert published(*read_info(where)).keys() == {1, 3, 4, 5}
    with pytest.raises(OptionError, match="within 6"):
        work(where, tmp_path, ranges="4-7")
    work(where, tmp_path)
    assert len(published(*read_info(where))) == info.n_ranges
    require_right(where, small)


def test_bad_images_are_rows_and_may_be_tried_again(small, where, tmp_path):
    image = small / "c0/4.png"
    good = image.read_bytes()
    image.write_bytes(b"no image")
    (small / "c1/7.png").write_bytes(b"")
    plan_fake(small, where)
    run = work(where, tmp_path, max_failed="1")
    assert (run.ok, run.failed, run.too_many_failed) == (24, 2, True)
    store = require_right(where, small)
    row = list(store.keys).index("c0/4.png")
    assert store.status[row] == RowStatus.NOT_AN_IMAGE
    shards = open_shards(where)
    texts = [text for k in range(len(shards)) for text in failure_texts(shards, k)]
    assert sorted((text["row"], text["key"]) for text in texts) == sorted(
        (list(store.keys).index(key), key) for key in ("c0/4.png", "c1/7.png")
    )
    # The one that was mended makes a correction; the other stays as it is, and so does its shard.
    before = {name: shards.place.read(f"shards/{name}") for name in shards.place.names("shards")}
    image.write_bytes(good)
    run = work(where, tmp_path, retry_failed=True)
    assert (run.published, run.pending) == (1, 0)
    number = row // 5
    assert published(*read_info(where))[number] == 2
    assert {n: shards.place.read(f"shards/{n}") for n in before} == before
    assert require_right(where, small).status[row] == RowStatus.DONE
    assert work(where, tmp_path, retry_failed=True).published == 0
    assert verify_set(where).ok


def test_an_image_that_ends_its_process_is_a_failed_row(small, tmp_path):
    """Three workers die at its range; the fourth finds the image, and the others are computed."""
    write_png(small / "c0/8.png", np.full((16, 16, 3), set_worker.POISON))
    where = tmp_path / "x.set"
    plan_fake(small, where)
    codes = []
    for _ in range(4):
        worker = run_worker(where, tmp_path)
        worker.join(120)
        codes.append(worker.exitcode)
    assert codes == [-signal.SIGKILL] * 3 + [0]
    store = FeatureStore.open(where)
    row = list(store.keys).index("c0/8.png")
    assert store.complete
    assert np.flatnonzero(~store.done).tolist() == [row]
    assert store.status[row] == RowStatus.DECODER_CRASHED
    assert [text["key"] for text in failure_texts(open_shards(where), row // 5)] == ["c0/8.png"]
    # Tried again, it ends no worker; mended, it is an image as others.
    assert work(where, tmp_path, retry_failed=True).published == 0
    assert published(*read_info(where))[row // 5] == 1
    write_png(small / "c0/8.png", np.full((16, 16, 3), 9))
    assert work(where, tmp_path, retry_failed=True).published == 1
    assert require_right(where, small).done.all()


def test_an_error_is_no_death_of_a_process(small, tmp_path):
    """What is wrong with the machine is told; no image is blamed for it."""
    plan_fake(small, tmp_path / "x.set")
    settings = FillSettings(load=set_worker.load_nothing, scratch=tmp_path / "scratch")
    with RangeFiller(str(tmp_path / "x.set"), settings) as filler:
        with pytest.raises(BottleneckError, match="OSError: no space left"):
            filler.fill(0, suspected=True)
    assert published(*read_info(tmp_path / "x.set")) == {}


def left_by_a_killed_worker(small, tmp_path, rows):
    """Plan a set of one range, and compute some of its rows; return the shard and the settings."""
    plan_fake(small, tmp_path / "x.set", rows=26)
    settings = FillSettings(set_worker.load, tmp_path / "scratch", workers=1, worker_kind="threads")
    filler = RangeFiller(str(tmp_path / "x.set"), settings)
    path = filler._prepare(0, 1)
    filler.fill_rows(0, path, 0, rows)
    return path, settings


def test_no_image_is_blamed_where_processes_end_without_any(small, tmp_path):
    """For want of memory, say: a worker that was killed had computed some rows already."""
    path, settings = left_by_a_killed_worker(small, tmp_path, 22)
    ends = replace(settings, load=set_worker.load_and_end)
    with pytest.raises(BottleneckError, match="ends before it has begun"):
        RangeFiller(str(tmp_path / "x.set"), ends).fill(0, suspected=True)
    assert FeatureStore.open(path).status.tolist() == [1] * 22 + [0] * 4
    assert RangeFiller(str(tmp_path / "x.set"), settings).fill(0, suspected=True).published


def test_damage_on_the_local_disk_is_computed_again(small, tmp_path):
    """A file of a worker that was killed, of which a bit flipped since."""
    info = plan_fake(small, tmp_path / "x.set")
    path = tmp_path / "scratch" / info.id / f"{info.stem(1)}.h5"
    make_shard(path, open_shards(tmp_path / "x.set"), 1)
    with path.open("r+b") as stream:
        stream.seek(FeatureStore.open(path).layout.features["mean"].offset + 13)
        stream.write(b"\x55")
    with pytest.raises(StoreError, match="Run the same command again"):
        try:
            work(tmp_path / "x.set", tmp_path)
        except StoreError as error:
            raise StoreError(str(error.hint)) from error
    work(tmp_path / "x.set", tmp_path)
    assert verify_set(tmp_path / "x.set").ok
    assert FeatureStore.open(tmp_path / "x.set").complete


def test_features_of_another_recipe_are_not_computed(small, tmp_path):
    plan_fake(small, tmp_path / "x.set", rows=30, backbone="else")
    with pytest.raises(RecipeMismatchError, match="backbone: fake .this installation., else"):
        work(tmp_path / "x.set", tmp_path)
    place, _ = read_info(tmp_path / "x.set")
    assert place.names("leases") == []  # given back


def test_what_a_killed_worker_finished_is_not_computed_again(small, tmp_path):
    _, settings = left_by_a_killed_worker(small, tmp_path, 11)
    assert work(tmp_path / "x.set", tmp_path).published == 1
    filled = RangeFiller(str(tmp_path / "x.set"), settings).fill(0)
    assert not filled.published  # everybody may try; one file counts
    require_right(tmp_path / "x.set", small)


def run_worker(where, tmp_path, scratch="scratch", lease_seconds=2.0, **more):
    """Start a worker whose program is loaded already: it is at work at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["set_worker", "s3fs"])
    environment = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
    worker = context.Process(
        target=set_worker.run,
        args=(
            tmp_path / "errors.txt",
            environment,
            str(where),
            str(tmp_path / scratch),
            lease_seconds,
            more,
        ),
    )
    worker.start()
    return worker


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
            running.append(run_worker(where, tmp_path, scratch, part=part))
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
    rng = np.random.default_rng(seed)
    for number in range(400):
        pixels = rng.integers(0, 256, (16, 16, 3))
        write_png(tmp_path / "small" / f"c{number % 5}" / f"{number}.png", pixels)
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
    rng = np.random.default_rng(11)
    for number in range(240):
        pixels = rng.integers(0, 256, (16, 16, 3))
        write_png(tmp_path / "small" / f"c{number % 5}" / f"{number}.png", pixels)
    if is_url(where):
        keep_versions(where, s3)
    plan_fake(tmp_path / "small", where, rows=4)
    place, info = read_info(where)
    draw = random.Random(11)
    names = itertools.count()

    def start():
        return run_worker(where, tmp_path, f"scratch-{next(names)}", lease_seconds=0.3)

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


def test_leases_are_of_one_and_end(small, where):
    info = plan_fake(small, where)
    place, _ = read_info(where)
    mine = Leases(place, info, seconds=30)
    other = Leases(place, info, seconds=30)
    lease = mine.take(2)
    assert lease is not None
    assert other.take(2) is None
    with mine.kept(2, lease):
        assert other.take(2) is None
    assert other.take(2) is not None
    # One of another day is dead; so is one whose process is gone.
    old = Lease("w", "elsewhere", 1, "", time.time() - 30 * 30 - 1)
    place.replace(f"leases/{info.stem(3)}.json", old.to_json())
    assert mine.take(3).deaths == 1
    young = Lease("w", "elsewhere", 1, "", time.time() - 30 * 30 + 60)
    place.replace(f"leases/{info.stem(3)}.json", young.to_json())
    assert mine.take(3) is None
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    gone = Lease("w", json.loads(lease.to_json())["host"], child.pid, "", time.time(), deaths=2)
    place.replace(f"leases/{info.stem(3)}.json", gone.to_json())
    assert mine.take(3).suspected
    # The same part again is a task that was started anew.
    part = Leases(place, info, part="1/2", seconds=30)
    before = Lease("w", "elsewhere", 1, "1/2", time.time() - 10)
    place.replace(f"leases/{info.stem(4)}.json", before.to_json())
    assert mine.take(4) is None
    assert part.take(4).deaths == 1
    # What is no lease is nobody's.
    place.replace(f"leases/{info.stem(0)}.json", b"{}")
    assert mine.take(0).deaths == 0


@pytest.mark.parametrize("wrong_by", [-600, 0, 600, 4000])
def test_leases_are_right_where_clocks_are_wrong(small, where, monkeypatch, wrong_by):
    """A lease lives while its holder does, whatever the holder's clock says, and then ends."""
    info = plan_fake(small, where)
    place, _ = read_info(where)
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    mine = Leases(place, info, seconds=30)
    theirs = Lease("w", "elsewhere", 1, "", time.time() + wrong_by)
    for renewal in range(8):
        renewed = replace(theirs, time=theirs.time + 20 * renewal)
        place.replace(f"leases/{info.stem(3)}.json", renewed.to_json())
        assert mine.take(3) is None
        now[0] += 20
    now[0] += 9  # it was renewed 29 seconds ago, and then never again
    assert mine.take(3) is None
    now[0] += 2
    assert mine.take(3).deaths == 1
    # Nor does one who comes later take it for dead at the first look.
    assert Leases(place, info, seconds=30).take(3) is None


def test_a_lease_is_renewed_while_the_work_goes_on(small, where):
    info = plan_fake(small, where)
    place, _ = read_info(where)
    mine, other = (Leases(place, info, seconds=0.4) for _ in range(2))
    with mine.kept(1, mine.take(1)):
        time.sleep(1.2)
        assert other.take(1) is None


def test_users_of_a_machine_fill_shards_apart(tmp_path, monkeypatch):
    """Everybody may write where temporary files are; what is filled there is of one user alone."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir(mode=0o777)
    mine = own_scratch()
    assert mine.parent == tmp_path / "tmp"
    assert mine.stat().st_mode & 0o777 == 0o700
    assert own_scratch() == mine
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    with pytest.raises(StoreError, match=f"sets-{user + 1} .drwx------, user {user}"):
        own_scratch()  # of another name, and made by somebody else
    monkeypatch.setattr(os, "getuid", lambda: user)
    mine.chmod(0o777)
    with pytest.raises(StoreError, match="may write to, got .* .drwxrwxrwx, user"):
        own_scratch()
    mine.rmdir()
    (tmp_path / "elsewhere").mkdir()
    mine.symlink_to(tmp_path / "elsewhere")  # as somebody may who wants our files
    with pytest.raises(StoreError, match="only its owner"):
        own_scratch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="cannot make the folder") as caught:
        own_scratch()
    assert "--scratch FOLDER" in caught.value.hint


def test_who_was_suspended_leaves_the_lease_of_another_alone(small, where):
    info = plan_fake(small, where)
    place, _ = read_info(where)
    mine, other = (Leases(place, info, seconds=0.4) for _ in range(2))
    name = f"leases/{info.stem(1)}.json"
    with mine.kept(1, mine.take(1)):
        place.replace(name, other.take(2).to_json())  # while nothing was done here
        theirs = place.read(name)
        time.sleep(0.5)
        assert place.read(name) == theirs
    assert place.read(name) == theirs


def test_a_worker_that_was_suspended_goes_on_behind_another(small, where, tmp_path, s3):
    """Its range is done by another meanwhile: its own copy is thrown away."""
    if is_url(where):
        keep_versions(where, s3)
    plan_fake(small, where, rows=13)
    place, info = read_info(where)
    asleep = run_worker(where, tmp_path, "scratch-1", part="1/2")
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


def test_a_disk_that_is_full_when_rows_are_tried_again_is_said(small, tmp_path, monkeypatch):
    (small / "c0/4.png").write_bytes(b"no image")
    plan_fake(small, tmp_path / "x.set", rows=30)
    work(tmp_path / "x.set", tmp_path)

    def full(place, name):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bottleneck.extraction.ranges.blocks", full)
    with pytest.raises(StoreError, match="cannot write .*@2.part: No space left") as caught:
        work(tmp_path / "x.set", tmp_path, retry_failed=True)
    assert "--scratch FOLDER" in caught.value.hint
    assert read_info(tmp_path / "x.set")[0].names("leases") == []


def test_files_of_killed_workers_go_when_others_have_published(small, tmp_path):
    plan_fake(small, tmp_path / "x.set", rows=13)
    settings = FillSettings(set_worker.load, tmp_path / "scratch", workers=1, worker_kind="threads")
    filler = RangeFiller(str(tmp_path / "x.set"), settings)
    path = filler._prepare(1, 1)
    filler.fill_rows(1, path, 0, 4)
    with writer_lock(path):
        work(tmp_path / "x.set", tmp_path / "elsewhere")
        filler.tidy()
        assert path.exists()  # somebody is at it
    path.with_name(f"{path.name}.lock").touch()  # as who was killed leaves it
    other = filler._prepare(0, 1)
    other.with_name(f"{other.name}.lock").touch()
    filler.tidy()
    assert list(path.parent.iterdir()) == []


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
        workers = [run_worker(where, tmp_path, f"s{i % 2}", retry_failed=True) for i in range(3)]
        time.sleep(draw.uniform(0.1, 0.4))
        for worker in workers:
            worker.kill()
            worker.join()
            assert worker.exitcode in (0, -signal.SIGKILL), (tmp_path / "errors.txt").read_text()
    workers = [run_worker(where, tmp_path, f"s{i}", retry_failed=True) for i in range(2)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0, (tmp_path / "errors.txt").read_text()
    assert published(place, info) == dict.fromkeys(range(info.n_ranges), 2)
    assert first.items() <= shards_now(place).items()
    assert require_right(where, small).done.all()
    assert verify_set(where).ok
