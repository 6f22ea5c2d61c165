"""Folders, files and archives given one by one mean what the folder that holds them means."""

import glob
import shutil
import tarfile

import pytest

from bottleneck.errors import ManifestError
from bottleneck.manifest import SPLITS
from bottleneck.sources import open_source

TREE = ("test/cat/3.png", "test/dog/4.png", "train/cat/1.png", "train/dog/2.png")


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def rows(given):
    m = open_source([str(one) for one in given]).manifest
    return [
        (key, m.classes[label] if label >= 0 else None, SPLITS[split])
        for key, label, split in zip(m.keys, m.labels, m.splits, strict=True)
    ]


def meaning(given):
    return [(key[-9:], *rest) for key, *rest in rows(given)]


EXPECTED = [(path, *path.split("/")[1::-1]) for path in TREE]


@pytest.fixture
def tree(tmp_path):
    return make(tmp_path / "d", *TREE)


def test_two_folders_of_splits(tree):
    assert rows([tree]) == rows([tree / "test", tree / "train"]) == EXPECTED
    source = open_source([f"{tree}/train/", f"{tree}/test"])  # in the order given
    assert list(source.manifest.keys) == [*TREE[2:], *TREE[:2]]
    assert [source.read(row) for row in range(4)] == [key.encode() for key in source.manifest.keys]


def test_one_folder_of_a_split_knows_it(tree, monkeypatch):
    train = [("cat/1.png", "cat", "train"), ("dog/2.png", "dog", "train")]
    assert rows([tree / "train"]) == train
    assert rows([f"{tree}/train/**/*.png"]) == train
    monkeypatch.chdir(tree / "train")
    assert rows(["."]) == rows(["../train"]) == rows(["*/*.png"]) == train


@pytest.mark.parametrize("pattern", ["*", "*/*", "*/*/*.png"])
def test_what_a_shell_expands(tree, pattern):
    expanded = sorted(glob.glob(f"{tree}/{pattern}"))
    found = [(key.removeprefix(f"{tree}/"), *rest) for key, *rest in rows(expanded)]
    assert found == EXPECTED


@pytest.mark.parametrize("pattern", ["*", "*/*", "*/*/*.png", "**/*.png", "**", "{test,train}"])
def test_quoted_patterns(tree, pattern):
    assert rows([f"{tree}/{pattern}"]) == EXPECTED


def test_relative_folders(tree, monkeypatch):
    (tree / "here").mkdir()
    monkeypatch.chdir(tree / "here")
    assert rows(["../test", "../train"]) == EXPECTED
    monkeypatch.chdir(tree)
    assert rows(["test", "./train/"]) == EXPECTED


def test_folders_in_memory(tree):
    import fsspec

    fs = fsspec.filesystem("memory")
    for path in TREE:
        fs.pipe_file(f"/together/{path}", path.encode())
    base = "memory://together"
    assert rows([base]) == rows([f"{base}/test", f"{base}/train"]) == EXPECTED
    assert meaning([f"{base}/{path}" for path in TREE]) == meaning([base])
    assert open_source([f"{base}/test", f"{base}/train"]).read(3) == TREE[3].encode()


def test_archives_of_splits(tree, tmp_path):
    for split in ("test", "train"):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as file:
            file.add(tree / split, arcname=".")
        shutil.make_archive(tmp_path / split, "zip", tree / split)
    for kind in ("tar", "zip"):
        assert rows([tmp_path / f"test.{kind}", tmp_path / f"train.{kind}"]) == EXPECTED


def test_class_folders_given_one_by_one(tmp_path):
    make(tmp_path, "p/cat/1.png", "p/cat/more/2.png", "p/dog/3.png")
    assert rows([tmp_path / "p/cat", tmp_path / "p/dog"]) == rows([tmp_path / "p"])
    assert {label for _, label, _ in rows([tmp_path / "p/cat", tmp_path / "p/dog"])} == {
        "cat",
        "dog",
    }


def test_sets_with_classes_of_their_own_stay_sets(tmp_path):
    make(tmp_path, "a/cat/1.png", "b/dog/2.png", "b/cat/3.png")
    assert rows([tmp_path / "a", tmp_path / "b"]) == [
        ("a/cat/1.png", "cat", ""),
        ("b/cat/3.png", "cat", ""),
        ("b/dog/2.png", "dog", ""),
    ]


def test_splits_beside_other_folders_are_refused_as_in_their_folder(tmp_path):
    make(tmp_path, "train/a/1.png", "test/a/2.png", "extra/a/3.png")
    files = sorted(glob.glob(f"{tmp_path}/*/*/*.png"))
    with pytest.raises(ManifestError, match="look like splits"):
        open_source(files)
    with pytest.raises(ManifestError, match="look like splits"):
        open_source([str(tmp_path)])


def test_links_that_lead_back_give_nothing_twice(tree):
    (tree / "train" / "cat" / "loop").symlink_to(tree, target_is_directory=True)
    (tree / "train" / "up").symlink_to("..", target_is_directory=True)
    assert rows([f"{tree}/**/*.png"]) == rows([tree]) == EXPECTED


def test_hidden_folders_are_not_matched(tree):
    make(tree, "train/.git/x.png", "__MACOSX/train/cat/1.png", "train/cat/._1.png")
    for pattern in ("*/*/*.png", "**/*.png", "*"):
        assert rows([f"{tree}/{pattern}"]) == EXPECTED


def test_what_a_pattern_leaves_out_is_counted(tree):
    make(tree, "train/cat/1.svg", "train/cat/deep/9.png")
    assert open_source([f"{tree}/*/*/*"]).listing.lines() == [
        "left out by ending: .svg 1",
        "left out: folder beside the images 1",
    ]
