import os

import pytest
from fakes import write_png

from bottleneck.errors import ImageError, ManifestError, SourceError
from bottleneck.sources import open_source
from bottleneck.status import RowStatus


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return str(root)


def rows(source):
    m = source.manifest
    return [
        (key, m.classes[label] if label >= 0 else None, int(split))
        for key, label, split in zip(m.keys, m.labels, m.splits, strict=True)
    ]


def test_class_per_folder_in_natural_order(tmp_path):
    root = touch(tmp_path, "dog/10.jpg", "dog/9.jpg", "ant/1.PNG", "ant/deep/2.webp")
    assert rows(open_source([root])) == [
        ("ant/1.PNG", "ant", 0),
        ("ant/deep/2.webp", "ant", 0),
        ("dog/9.jpg", "dog", 0),
        ("dog/10.jpg", "dog", 0),
    ]


def test_splits_above_classes(tmp_path):
    root = touch(tmp_path, "train/b/1.jpg", "train/a/1.jpg", "val/a/1.jpg", "Test/b/1.jpg")
    assert rows(open_source([root])) == [
        ("Test/b/1.jpg", "b", 3),
        ("train/a/1.jpg", "a", 1),
        ("train/b/1.jpg", "b", 1),
        ("val/a/1.jpg", "a", 2),
    ]


def test_splits_without_classes(tmp_path):
    root = touch(tmp_path, "train/1.jpg", "test/1.jpg")
    assert rows(open_source([root])) == [("test/1.jpg", None, 3), ("train/1.jpg", None, 1)]


def test_a_class_called_train_is_a_class_among_others(tmp_path):
    root = touch(tmp_path, "train/1.jpg", "bus/1.jpg")
    assert rows(open_source([root])) == [("bus/1.jpg", "bus", 0), ("train/1.jpg", "train", 0)]


def test_splits_beside_another_folder_are_not_guessed_about(tmp_path):
    root = touch(tmp_path, "train/a/1.jpg", "test/a/1.jpg", "extra/a/1.jpg")
    with pytest.raises(ManifestError, match=r"test, train look like splits.* are: extra"):
        open_source([root])
    (tmp_path / "test" / "a" / "1.jpg").unlink()
    with pytest.raises(ManifestError, match="train look like splits"):
        open_source([root])


def test_flat_folder_has_no_labels(tmp_path):
    root = touch(tmp_path, "2.jpg", "10.jpg", "notes.txt", ".hidden.jpg")
    assert rows(open_source([root])) == [("2.jpg", None, 0), ("10.jpg", None, 0)]


def test_hidden_folders_and_other_files_are_left_out(tmp_path):
    root = touch(tmp_path, "a/1.jpg", "a/Thumbs.db", ".cache/x/1.jpg", "LICENSE", "empty/readme.md")
    assert [row[0] for row in rows(open_source([root]))] == ["a/1.jpg"]


def test_a_folder_named_like_an_image_is_a_bad_row(tmp_path):
    (tmp_path / "a" / "x.png").mkdir(parents=True)
    touch(tmp_path, "a/y.png")
    source = open_source([str(tmp_path)])
    assert list(source.manifest.keys) == ["a/x.png", "a/y.png"]
    with pytest.raises(ImageError) as caught:
        source.read(0)
    assert caught.value.reason is RowStatus.UNREADABLE
    assert source.read(1) == b"a/y.png"


def test_links_are_followed_once_and_broken_ones_are_bad_rows(tmp_path):
    touch(tmp_path / "set", "a/1.jpg")
    (tmp_path / "set" / "a" / "loop").symlink_to(tmp_path / "set", target_is_directory=True)
    (tmp_path / "set" / "a" / "2.jpg").symlink_to(tmp_path / "nowhere.jpg")
    source = open_source([str(tmp_path / "set")])
    assert list(source.manifest.keys) == ["a/1.jpg", "a/2.jpg"]
    with pytest.raises(ImageError) as caught:
        source.read(1)
    assert (caught.value.reason, caught.value.message) == (
        RowStatus.MISSING,
        "broken symbolic link",
    )


def test_a_file_that_went_away_is_missing(tmp_path):
    source = open_source([touch(tmp_path, "1.jpg")])
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(ImageError) as caught:
        source.read(0)
    assert caught.value.reason is RowStatus.MISSING


def test_no_permission_is_unreadable(tmp_path, monkeypatch):
    source = open_source([touch(tmp_path, "1.jpg")])

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # whoever runs the tests may be root
    with pytest.raises(ImageError) as caught:
        source.read(0)
    assert (caught.value.reason, caught.value.message) == (
        RowStatus.UNREADABLE,
        "Permission denied",
    )


def test_a_pipe_does_not_stop_the_run(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError) as caught:
        open_source([str(tmp_path)]).read(0)
    assert caught.value.reason is RowStatus.UNREADABLE


def test_no_image_is_an_error_that_tells_the_endings(tmp_path):
    root = touch(tmp_path, "a/readme.txt")
    with pytest.raises(ManifestError, match="found none") as caught:
        open_source([root])
    assert ".jpeg" in caught.value.hint


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    root = touch(tmp_path, "a/1.jpg", "b/1.jpg")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match="/b: Permission denied"):
        open_source([root])


def test_names_that_are_no_text_are_kept(tmp_path):
    name = b"caf\xe9.jpg"
    (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    source = open_source([str(tmp_path)])
    assert source.manifest.keys.blob.tobytes() == name
    assert source.read(0) == b"x"


def test_stamp_sees_changes_without_reading(tmp_path):
    root = touch(tmp_path, "a/1.jpg", "a/2.jpg")
    before = open_source([root]).stamp()
    assert open_source([root]).stamp() == before
    os.utime(tmp_path / "a" / "2.jpg", ns=(1, 1))
    assert open_source([root]).stamp() != before


def test_several_sources_are_one(tmp_path):
    one = touch(tmp_path / "one", "ant/1.jpg")
    two = touch(tmp_path / "two", "bee/1.jpg", "ant/1.jpg")
    single = write_png(tmp_path / "alone.png", [[0]])
    source = open_source([one, str(single), two])
    assert rows(source) == [
        ("one/ant/1.jpg", "ant", 0),
        ("two/ant/1.jpg", "ant", 0),
        ("two/bee/1.jpg", "bee", 0),
        (f"files/{single}", None, 0),
    ]
    assert source.read(2) == b"bee/1.jpg"
    assert source.read(3) == single.read_bytes()


def test_sources_of_one_name_are_refused(tmp_path):
    with pytest.raises(ManifestError, match="different names"):
        open_source(
            [touch(tmp_path / "x" / "set", "1.jpg"), touch(tmp_path / "y" / "set", "1.jpg")]
        )


@pytest.mark.parametrize("given", ["nowhere", "nowhere.jpg"])
def test_what_does_not_exist_is_named(given):
    with pytest.raises(SourceError, match=given):
        open_source([given])


def test_a_link_does_not_take_the_place_of_the_folder_it_leads_to(tmp_path):
    """Listed before it, ``bird`` has taken all images of ``cat``."""
    top = tmp_path / "set"
    touch(top, "cat/1.jpg", "dog/2.jpg", ".store/3.jpg")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "4.jpg").write_bytes(b"x")
    for name, target in {
        "bird": top / "cat",
        "back": top / "dog" / "..",
        "fox": top / ".store",  # listed nowhere else
        "owl": tmp_path / "outside",
        "pig": tmp_path / "outside",
    }.items():
        (top / name).symlink_to(target, target_is_directory=True)
    expected = ["cat/1.jpg", "dog/2.jpg", "fox/3.jpg", "owl/4.jpg"]
    source = open_source([str(top)])
    assert list(source.manifest.keys) == expected
    assert source.manifest.classes == ("cat", "dog", "fox", "owl")
    assert "left out: hidden 1, link to a folder that is listed elsewhere 3" in (
        source.listing.lines()
    )
    assert list(open_source([f"{top}/**/*.jpg"]).manifest.keys) == expected
