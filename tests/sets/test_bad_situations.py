"""What happens to sets in real life: cut files, strangers among the shards, lost parts, copies."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fakes import write_png
from made_sets import fill, make_shard, plan_fake

import bottleneck
from bottleneck.errors import BottleneckError, OptionError, StoreError
from bottleneck.location import SET_FILE
from bottleneck.sets import open_shards, published, read_info
from bottleneck.sets.parts import read_part
from bottleneck.sets.sealing import verify_set
from bottleneck.store import FeatureStore


@pytest.fixture
def whole(photos, where, tmp_path):
    """A set of 23 rows in 5 shards, all published."""
    plan_fake(photos, where)
    fill(where, tmp_path, range(5))
    return where


def values(where):
    return FeatureStore.open(where).features("mean")[:]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: b"",
        lambda text: b"[1, 2]",
        lambda text: b"\xff\xfe" + text,
        lambda text: text.replace(b'"rows_per_shard": 5', b'"rows_per_shard": 0'),
        lambda text: text.replace(b'"rows": 23', b'"rows": "many"'),
        lambda text: text.replace(b'"size": 16', b'"size": 17'),
        lambda text: text.replace(b'"parts": [', b'"parts": ["ab", '),
        lambda text: text.replace(b'"id": "', b'"id": "/somebody/else/'),
    ],
)
def test_what_says_what_a_set_is_is_checked(photos, where, spoil):
    plan_fake(photos, where)
    place, info = read_info(where)
    text = place.read(SET_FILE)
    assert spoil(text) != text
    place.replace(SET_FILE, spoil(text))
    with pytest.raises(StoreError, match="set.json") as caught:
        FeatureStore.open(where)
    assert "plan the set again" in caught.value.hint
    # And so it is mended: shards of the same list and recipe stay.
    with pytest.raises(BottleneckError):
        plan_fake(photos, where)
    place.remove(SET_FILE)
    again = plan_fake(photos, where)
    assert (again.parts, again.recipe) == (info.parts, info.recipe)


def test_shards_stay_when_a_set_is_planned_again(photos, whole):
    before = values(whole)
    place, _ = read_info(whole)
    place.remove(SET_FILE)
    plan_fake(photos, whole)
    assert np.array_equal(values(whole), before)
    assert verify_set(whole).ok


@pytest.mark.parametrize("published_too", [True, False])
def test_a_part_that_is_wrong_is_told_whether_its_range_is_done_or_not(
    whole, photos, published_too
):
    place, info = read_info(whole)
    if not published_too:
        place.remove(info.shard(2))
    right = place.read(info.part(2))
    before, found = read_part(place, info, 2), 0
    for offset in range(0, len(right), max(1, len(right) // 12)):
        wrong = bytearray(right)
        wrong[offset] ^= 1
        place.replace(info.part(2), bytes(wrong))
        report = verify_set(whole)
        if report.ok:  # nothing that it says was changed
            manifest, segments = read_part(place, info, 2)
            assert (manifest.sha256, segments) == (before[0].sha256, before[1])
        else:
            found += 1
            assert len(report.problems) == 1
            assert info.part(2) in report.problems[0]
    assert found > 4
    place.remove(info.part(2))
    assert "lacks its part" in verify_set(whole).problems[0]
    plan_fake(photos, whole)
    assert verify_set(whole).ok


def test_a_shard_that_is_cut_says_what_to_do(whole):
    place, info = read_info(whole)
    data = place.read(info.shard(1))
    for cut in (0, 100, 5000, len(data) // 2):
        place.replace(info.shard(1), data[:cut])
        with pytest.raises(StoreError) as caught:
            values(whole)
        assert info.stem(1) in caught.value.message
        assert "Move it away and run extract --set again" in caught.value.hint
        report = verify_set(whole)
        assert (report.checked, len(report.problems)) == (18, 1)
        with pytest.raises(StoreError):
            bottleneck.seal(whole)


def test_a_stranger_among_the_shards(whole, tmp_path):
    place, info = read_info(whole)
    # Names that are no shards mean nothing; what is called like one has to be one.
    for name in (
        "notes.txt",
        "000000000000-000000000005.h5.old",
        "000000000000-000000000005@01.h5",
    ):
        place.create(f"shards/{name}", b"what is this?")
    assert published(place, info) == dict.fromkeys(range(5), 1)
    assert verify_set(whole).ok
    place.replace(info.shard(0), place.read(info.shard(1)))
    assert verify_set(whole).checked == 18
    with pytest.raises(StoreError, match="expected the images of rows 0 to 4"):
        values(whole)


def test_a_correction_after_the_seal_is_not_sealed(photos, where, tmp_path):
    info = plan_fake(photos, where)
    fill(where, tmp_path, range(5), failed=(12,))
    bottleneck.seal(where)
    assert bottleneck.info(where).to_json()["shards"]["sealed"]
    fill(where, tmp_path, [2], version=2)
    told = bottleneck.info(where).to_json()
    assert told["status"] == {"done": 23}
    assert (told["shards"]["corrected"], told["shards"]["sealed"]) == (1, False)
    assert verify_set(where).problems == (
        f"{info.shard(2, 2)} was published after the set was sealed: seal it again",
    )
    assert bottleneck.seal(where).corrections == 1
    assert verify_set(where).ok
    assert bottleneck.info(where).to_json()["shards"]["sealed"]
    # A correction that is moved away leaves what was before, which the seal does not know.
    place, _ = read_info(where)
    place.remove(info.shard(2, 2))
    assert not bottleneck.info(where).to_json()["shards"]["sealed"]
    assert not verify_set(where).ok


def test_a_folder_where_a_shard_should_be(photos, tmp_path):
    where = tmp_path / "x.set"
    info = plan_fake(photos, where)
    fill(where, tmp_path, range(5))
    bottleneck.seal(where)
    (where / info.shard(3)).unlink()
    (where / info.shard(3)).mkdir()
    report = verify_set(where)
    assert (report.checked, len(report.problems)) == (18, 1)
    assert info.shard(3) in report.problems[0]


def test_a_set_may_be_copied_renamed_and_linked(photos, tmp_path):
    where = tmp_path / "x.set"
    plan_fake(photos, where)
    fill(where, tmp_path, range(5))
    bottleneck.seal(where)
    expected = values(where)
    there = tmp_path / "a b" / "ünï ✓ 'q' %41.set"
    shutil.copytree(where, there)
    where.rename(tmp_path / "renamed")
    (tmp_path / "link").symlink_to(tmp_path / "renamed")
    for one in (there, tmp_path / "renamed", tmp_path / "link", f"{there}/"):
        assert np.array_equal(values(one), expected)
        assert verify_set(one).ok
        assert bottleneck.info(one).to_json()["shards"]["sealed"]


def test_relative_paths_hold_from_everywhere(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan_fake("photos", "x.set")
    fill("x.set", tmp_path, range(4))
    head = bottleneck.train("x.set", "x.head", head="ridge", feature="mean", cv=2).head
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    shards = open_shards("../x.set")
    make_shard(tmp_path / "last.h5", shards, 4)
    assert len(shards) == 5
    told = bottleneck.predict("../x.head", "../x.set")
    assert sum(one["error"] is None for one in told.records) == 20
    assert head.dim == 3


def test_a_set_is_a_folder_of_its_own(photos, tmp_path):
    """In a folder of images, say, it would be taken for features from then on."""
    for other in (photos, tmp_path):
        with pytest.raises(OptionError, match="expected a new folder for the set"):
            plan_fake(photos, other)
        assert not (other / SET_FILE).exists()
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StoreError, match="Not a directory"):
        plan_fake(photos, tmp_path / "file")
    with pytest.raises(StoreError, match="there is no set"):
        read_info(tmp_path / "file")
    # What a plan that was killed left, or an empty folder, is no hindrance.
    (tmp_path / "new.set" / "parts").mkdir(parents=True)
    (tmp_path / "new.set" / "parts" / "000000000000-000000000005.npz").write_bytes(b"old")
    plan_fake(photos, tmp_path / "new.set")
    assert verify_set(tmp_path / "new.set").ok


def test_a_set_within_its_own_images(photos, tmp_path):
    plan_fake(photos, photos / "photos.set")
    again = plan_fake(photos, photos / "photos.set")
    assert again.rows == 23


def test_a_set_is_no_source_of_images(photos, tmp_path):
    plan_fake(photos, tmp_path / "x.set")
    for call in (bottleneck.extract, bottleneck.plan):
        with pytest.raises(OptionError, match="expected images, got the set") as caught:
            call(tmp_path / "x.set", tmp_path / "y")
        assert f"extract --set {tmp_path / 'x.set'}" in caught.value.hint


def test_several_who_plan_the_same_make_one(photos, where):
    with ThreadPoolExecutor(4) as executor:
        infos = [*executor.map(lambda _: plan_fake(photos, where), range(4))]
    assert len({one.id for one in infos}) == 1
    assert verify_set(where).ok
    with pytest.raises(StoreError, match="or other images or labels"):
        plan_fake(photos / "class0", where)


def test_names_that_are_no_text_are_kept(tmp_path):
    folder = tmp_path / "photos"
    for name in (b"a\xff.png", "ü.png".encode(), b"b c.png"):
        write_png(folder / "c" / os.fsdecode(name), np.zeros((2, 2, 3)))
    plan_fake(folder, tmp_path / "x.set", rows=2)
    fill(tmp_path / "x.set", tmp_path, range(2))
    store = FeatureStore.open(tmp_path / "x.set")
    assert sorted(map(os.fsencode, store.keys)) == [
        b"c/a\xff.png", b"c/b c.png", "c/ü.png".encode()
    ]  # fmt: skip
    bottleneck.merge([tmp_path / "x.set"], tmp_path / "x.h5")
    assert [*FeatureStore.open(tmp_path / "x.h5").keys] == [*store.keys]


def test_urls_of_odd_names(photos, tmp_path, s3):
    s3.mkdir("odd")
    where = "s3://odd/a b/ünï ✓+&%41=.set"
    plan_fake(photos, where)
    fill(where, tmp_path, range(5))
    assert len(values(where)) == 23
    assert verify_set(f"{where}/").ok
    assert published(*read_info(where)) == dict.fromkeys(range(5), 1)
    assert bottleneck.seal(where).shards == 5


def test_seal_removes_what_was_half_published(photos, tmp_path):
    """Of a worker that was killed as it copied its shard; but not what is being copied now."""
    where = tmp_path / "x.set"
    plan_fake(photos, where)
    fill(where, tmp_path, range(5))
    shards = {path.name for path in (where / "shards").iterdir()}
    assert len(shards) == 5
    for name, age in ((".old.h5.1.tmp", 4000), (".new.h5.1.tmp", 10)):
        (where / "shards" / name).write_bytes(b"half")
        os.utime(where / "shards" / name, (time.time() - age,) * 2)
    bottleneck.seal(where)
    found = {path.name for path in (where / "shards").iterdir()}
    assert found == {*shards, ".new.h5.1.tmp"}
