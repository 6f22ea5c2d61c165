"""Images that a head was fitted on and is judged by: said, or kept apart."""

import shutil

import numpy as np
import pytest

import bottleneck
from bottleneck.store import FeatureStore

TWINS = "under other names"


@pytest.fixture
def leaking(colours):
    """Every test image is a training image again, under another name."""
    for path in sorted((colours / "test").rglob("*.png")):
        shutil.copy(colours / "train" / path.parent.name / "1.png", path)
    return colours


def test_test_images_that_were_trained_on_are_told(cli, fake_backbone, leaking, tmp_path):
    assert cli("extract", leaking, "-o", tmp_path / "f.h5", "-q").code == 0
    trained = cli("train", tmp_path / "f.h5", "-o", tmp_path / "a.head")
    assert f"15 of 15 rows to judge by are images that the head was trained on {TWINS}" in (
        trained.err
    )
    judged = cli("evaluate", tmp_path / "a.head", tmp_path / "f.h5")
    assert f"15 of 15 rows to judge by are images that the head was trained on {TWINS}" in (
        judged.err
    )


def test_nothing_is_said_without_such_images(cli, fake_backbone, features, tmp_path):
    trained = cli("train", features, "-o", tmp_path / "a.head")
    assert TWINS not in trained.err
    assert "occur more than once" not in trained.err
    assert TWINS not in cli("evaluate", tmp_path / "a.head", features).err


def test_no_fold_parts_an_image_from_its_copy(cli, fake_backbone, tmp_path):
    """Of noise a neighbour knows nothing but its copy: 100% where folds part them."""
    _noise_twice(tmp_path / "set")
    assert cli("extract", tmp_path / "set", "-o", tmp_path / "f.h5", "-q").code == 0
    told = cli("train", tmp_path / "f.h5", "-o", tmp_path / "a.head", "--head", "knn", "--json")
    assert "120 training rows are images that occur more than once: no fold parts them" in told.err
    of_one = next(entry for entry in told.json["cv"] if entry["params"] == {"k": 1})
    assert of_one["mean"] < 0.6


def _noise_twice(folder):
    """Write 60 images of noise, each twice, in three classes."""
    from fakes import write_png

    rng = np.random.default_rng(0)
    for i in range(60):
        pixels = rng.integers(0, 255, (16, 16, 3))
        for copy in "ab":
            write_png(folder / "xyz"[i % 3] / f"{i}{copy}.png", pixels)


def test_no_fold_parts_copies_in_groups_of_their_own(cli, fake_backbone, tmp_path):
    """With --views every image is a group, and so is each file of a table that says so."""
    _noise_twice(tmp_path / "set")
    lines = ["path,label,group"]
    for number, path in enumerate(sorted((tmp_path / "set").rglob("*.png"))):
        lines.append(f"{path.relative_to(tmp_path / 'set')},{path.parent.name},g{number}")
    (tmp_path / "set" / "t.csv").write_text("\n".join(lines) + "\n")
    for rows, given in ((240, ("set", "--views", "2")), (120, ("set/t.csv",))):
        source, *more = given
        out = tmp_path / f"{rows}.h5"
        assert cli("extract", tmp_path / source, *more, "-o", out, "-q").code == 0
        told = cli("train", out, "-o", tmp_path / f"{rows}.head", "--head", "knn", "--json")
        assert f"{rows} training rows are images that occur more than once: no fold" in told.err
        of_one = next(entry for entry in told.json["cv"] if entry["params"] == {"k": 1})
        assert of_one["mean"] < 0.6


def test_a_copy_in_every_group_leaves_the_groups(cli, fake_backbone, colours, tmp_path):
    """A title that all videos begin with would join them all: folds part it, which is said."""
    from fakes import write_png

    lines = ["path,label,group"]
    for path in sorted((colours / "train").rglob("*.png")):
        key = path.relative_to(colours).as_posix()
        lines.append(f"{key},{path.parent.name},{path.parent.name}{int(path.stem) // 4}")
    for group in sorted({line.rsplit(",", 1)[1] for line in lines[1:]}):
        write_png(colours / "titles" / f"{group}.png", np.full((12, 14, 3), 77))
        lines.append(f"titles/{group}.png,{group[:-1]},{group}")
    (colours / "t.csv").write_text("\n".join(lines) + "\n")
    assert cli("extract", colours / "t.csv", "-o", tmp_path / "f.h5", "-q").code == 0
    told = cli("train", tmp_path / "f.h5", "-o", tmp_path / "a.head", "--cv", "3")
    assert told.code == 0, told.err
    assert "15 training rows are images that occur more than once, too many for a fold" in told.err
    assert "no fold parts them" not in told.err


def test_groups_in_training_and_test_are_told(cli, fake_backbone, colours, tmp_path):
    lines = ["path,label,split,group"]
    for path in sorted(colours.rglob("*.png")):
        key = path.relative_to(colours).as_posix()
        split, label, name = key.split("/")
        lines.append(f"{key},{label},{split},{label}{int(name[:-4]) // 10}")
    (colours / "t.csv").write_text("\n".join(lines) + "\n")
    expected = "6 groups have images to train on and images to test by"
    extracted = cli("extract", colours / "t.csv", "-o", tmp_path / "f.h5")
    assert expected in extracted.err
    assert expected in cli("train", tmp_path / "f.h5", "-o", tmp_path / "a.head", "--cv", "2").err
    assert expected in cli("evaluate", tmp_path / "a.head", tmp_path / "f.h5").err
    compared = cli("compare", tmp_path / "f.h5", "--heads", "ridge", "--cv", "2")
    assert expected in compared.err


def test_verify_finds_rows_that_are_not_finite(cli, fake_backbone, features):
    store = FeatureStore.open(features)
    broken = np.array([[np.nan, 1, 2]], np.float32)
    from bottleneck.store import Writer, writer_lock

    with writer_lock(features), Writer(features, store.layout) as writer:
        writer.write(np.array([3]), {"avg": broken}, np.asarray(store.digests[3:4]))
    assert bottleneck.verify(features).bad_rows == (3,)
    assert bottleneck.verify(features, fix=True).ok
    assert FeatureStore.open(features).status[3] == 0
