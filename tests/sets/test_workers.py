"""Workers without an engine: what one does with a set, and what it leaves."""

import errno
import os
import signal
import tempfile
from dataclasses import replace

import numpy as np
import pytest
import set_worker
from fakes import MeanBackbone, fake_embedder, write_png
from made_sets import make_shard, plan_fake, require_right, work

from bottleneck.errors import BottleneckError, OptionError, RecipeMismatchError, StoreError
from bottleneck.extraction.engine import fill_store
from bottleneck.extraction.plan import MaxFailed
from bottleneck.extraction.ranges import FillSettings, RangeFiller, own_scratch
from bottleneck.progress import SILENT
from bottleneck.sets import open_shards, published, read_info
from bottleneck.sets.sealing import failure_texts, verify_set
from bottleneck.sources import open_source
from bottleneck.status import RowStatus
from bottleneck.store import FeatureStore, writer_lock


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
        worker = set_worker.start(where, tmp_path)
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
