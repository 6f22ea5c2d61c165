"""A set is planned in parts, and together they are the list that extract makes."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from fakes import write_png
from made_sets import plan_fake

import bottleneck
from bottleneck.errors import ManifestError, RecipeMismatchError, StoreError
from bottleneck.fingerprint import fingerprint_parts
from bottleneck.sets import open_shards, read_info
from bottleneck.sets.parts import read_part, stacked
from bottleneck.sources import open_source
from bottleneck.sources.streaming import PartSource
from bottleneck.store import FeatureStore


def whole(where):
    shards = open_shards(where)
    return stacked([shards.manifest(k) for k in range(len(shards))], shards.info.classes)


def require_same(where, sources):
    """Compare a set's parts, put together, with the list made in one piece."""
    listed = open_source(list(map(str, sources)))
    assert whole(where).sha256 == listed.manifest.sha256
    # And every image can be read by the part it is in.
    place, info = read_info(where)
    for number in range(info.n_ranges):
        manifest, segments = read_part(place, info, number)
        part = PartSource("part", manifest, segments)
        for i, row in enumerate(range(*info.range(number))):
            mine, theirs = part.read(i), listed.read(row)
            assert np.array_equal(mine, theirs) if isinstance(mine, np.ndarray) else mine == theirs


@pytest.mark.parametrize("rows", [1, 5, 23, 100])
def test_parts_of_a_folder_are_its_list(photos, tmp_path, rows):
    info = plan_fake(photos, tmp_path / "x.set", rows=rows)
    assert info.rows == 23
    assert info.n_ranges == -(-23 // rows)
    require_same(tmp_path / "x.set", [photos])


def test_parts_at_a_url_are_the_same(photos, where):
    info = plan_fake(photos, where)
    place, again = read_info(where)
    assert again == info
    assert sorted(place.names("parts"))[0] == "000000000000-000000000005.npz"
    require_same(where, [photos])


def test_set_json_says_what_was_planned(photos, tmp_path):
    info = plan_fake(photos, tmp_path / "x.set")
    told = json.loads((tmp_path / "x.set/set.json").read_text())
    assert told["rows"] == 23
    assert told["rows_per_shard"] == 5
    assert told["recipe"]["identity"] == {"backbone": "fake", "size": 16}
    assert told["classes"] == ["class0", "class1", "class2"]
    # Two levels of hashes: of the parts, and of their hashes.
    place, _ = read_info(tmp_path / "x.set")
    parts = [read_part(place, info, k)[0].sha256 for k in range(5)]
    assert told["parts"] == parts
    assert told["manifest_sha256"] == fingerprint_parts(map(str.encode, parts))


def test_splits_and_classes_follow_from_all_parts(tmp_path):
    """The folder of the last part decides what the first one's folders mean."""
    for path in ("train/a/1.png", "train/b/2.png", "test/a/3.png"):
        write_png(tmp_path / "photos" / path, np.zeros((4, 4, 3)))
    plan_fake(tmp_path / "photos", tmp_path / "x.set", rows=1)
    require_same(tmp_path / "x.set", [tmp_path / "photos"])
    assert whole(tmp_path / "x.set").classes == ("a", "b")


def test_archives_one_by_one(photos, tmp_path):
    files = sorted(photos.rglob("*.png"))
    for number in range(4):
        with tarfile.open(tmp_path / f"shard-{number}.tar", "w") as archive:
            for file in files[number::4]:
                archive.add(file, file.relative_to(photos))
    archives = [tmp_path / f"shard-{number}.tar" for number in range(4)]
    plan_fake(archives, tmp_path / "x.set", rows=4)
    require_same(tmp_path / "x.set", archives)
    (tmp_path / "tars").mkdir()
    for archive in archives:
        archive.rename(tmp_path / "tars" / archive.name)
    plan_fake(tmp_path / "tars", tmp_path / "y.set", rows=4)
    require_same(tmp_path / "y.set", [tmp_path / "tars"])


def test_tables_with_groups_are_cut(photos, tmp_path):
    files = sorted(photos.rglob("*.png"))
    lines = [f"{file},l{i % 2},train,g{i // 3}\n" for i, file in enumerate(files)]
    (tmp_path / "t.csv").write_text("path,label,split,group\n" + "".join(lines))
    plan_fake(tmp_path / "t.csv", tmp_path / "x.set", rows=4)
    require_same(tmp_path / "x.set", [tmp_path / "t.csv"])
    assert len(whole(tmp_path / "x.set").group_names) == 8
    # Groups go on in the next range, and are counted once.
    assert bottleneck.info(tmp_path / "x.set").to_json()["groups"] == 8


def test_objects_are_listed_level_by_level(photos, tmp_path, s3):
    s3.mkdir("loose")
    for file in photos.rglob("*.png"):
        s3.put_file(str(file), f"loose/photos/{file.relative_to(photos).as_posix()}")
    s3.pipe_file("loose/photos/readme.txt", b"x")
    s3.pipe_file("loose/photos/10.png", (photos / "class0/0.png").read_bytes())
    plan_fake("s3://loose/photos", tmp_path / "x.set")
    require_same(tmp_path / "x.set", ["s3://loose/photos"])


def test_planned_again_it_is_the_same_or_refused(photos, where):
    info = plan_fake(photos, where)
    assert plan_fake(photos, where) == info
    with pytest.raises(StoreError, match="23 rows in shards of 5.*23 rows in shards of 6"):
        plan_fake(photos, where, rows=6)
    with pytest.raises(RecipeMismatchError, match="size"):
        plan_fake(photos, where, size=20)
    write_png(photos / "class9/1.png", np.zeros((4, 4, 3)))
    with pytest.raises(StoreError, match="now there are 24 rows"):
        plan_fake(photos, where)
    assert read_info(where)[1] == info
    require_same_parts_untouched(where, info)


def test_planned_again_it_has_the_parts_that_it_lacked(photos, where):
    info = plan_fake(photos, where)
    place, _ = read_info(where)
    before = place.read(info.part(2))
    place.remove(info.part(2))
    with pytest.raises(StoreError, match="plan the set again"):
        try:
            read_part(place, info, 2)
        except StoreError as error:
            raise StoreError(str(error.hint)) from error
    assert plan_fake(photos, where) == info
    assert place.read(info.part(2)) == before
    # Of another list nothing is written.
    place.remove(info.part(2))
    with pytest.raises(StoreError, match="23 rows in shards of 6"):
        plan_fake(photos, where, rows=6)
    assert place.read(info.part(2)) is None
    assert len(place.names("parts")) == info.n_ranges - 1


def require_same_parts_untouched(where, info):
    place, _ = read_info(where)
    for number in range(info.n_ranges):
        read_part(place, info, number)  # compares fingerprints


def test_a_plan_that_was_killed_leaves_no_set(photos, tmp_path, monkeypatch):
    from bottleneck.sets.place import FolderPlace

    made = FolderPlace.replace

    def killed(self, name, data):
        if "15" in name:
            raise KeyboardInterrupt
        made(self, name, data)

    with monkeypatch.context() as patched:
        patched.setattr(FolderPlace, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            plan_fake(photos, tmp_path / "x.set")
    with pytest.raises(StoreError, match="there is no set"):
        read_info(tmp_path / "x.set")
    plan_fake(photos, tmp_path / "x.set")
    require_same(tmp_path / "x.set", [photos])


def test_damage_is_told(photos, tmp_path):
    plan_fake(photos, tmp_path / "x.set")
    part = tmp_path / "x.set/parts/000000000005-000000000010.npz"
    other = tmp_path / "x.set/parts/000000000010-000000000015.npz"
    part.write_bytes(other.read_bytes())
    with pytest.raises(StoreError, match="is not what its fingerprint says"):
        open_shards(tmp_path / "x.set").manifest(1)
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(StoreError, match="damaged"):
        open_shards(tmp_path / "x.set").manifest(1)
    part.unlink()
    with pytest.raises(StoreError, match="lacks its part"):
        open_shards(tmp_path / "x.set").manifest(1)
    text = (tmp_path / "x.set/set.json").read_text()
    (tmp_path / "x.set/set.json").write_text(text.replace('"size": 16', '"size": 17'))
    with pytest.raises(StoreError, match="not what its fingerprints say"):
        FeatureStore.open(tmp_path / "x.set")


def test_no_images_no_set(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(ManifestError, match="found none"):
        plan_fake(tmp_path / "none", tmp_path / "x.set")
    assert not Path(tmp_path / "x.set").exists()
