"""``bottleneck extract`` from the outside: what it prints, where it stops, what it keeps."""

import os

import numpy as np
import pytest
from fakes import write_png

from bottleneck.store import FeatureStore, writer_lock

pytestmark = pytest.mark.usefixtures("fake_backbone")


def test_extract_json_is_one_document_with_the_fixed_keys(cli, colours, tmp_path):
    result = cli("extract", colours, "-o", tmp_path / "f.h5", "--json")
    assert result.code == 0
    assert set(result.json["stages"]) == {
        *("read", "decode", "transfer", "forward", "write", "waiting")
    }
    assert result.json["limit"] in result.json["stages"]
    varying = ("seconds", "images_per_second", "stages", "limit", "advice", "peak_rss_mb")
    varying += ("forward_seconds", "decode_seconds")
    assert result.json | dict.fromkeys(varying, 0) == {
        "output": str(tmp_path / "f.h5"),
        "rows": 60,
        "ok": 60,
        "failed": 0,
        "copied": 0,
        "reused": 0,
        "first_of_several": 0,
        "computed": 60,
        "forward_seconds": 0,
        "decode_seconds": 0,
        "already_done": 0,
        "pending": 0,
        "left_to_others": 0,
        "failed_total": 0,
        "reasons": {},
        "too_many_failed": False,
        "interrupted": False,
        "seconds": 0,
        "images_per_second": 0,
        "stages": 0,
        "limit": 0,
        "advice": 0,
        "backbone": "fake",
        "outputs": {"avg": 3},
        "peak_rss_mb": 0,
    }
    assert "60 images to do" in result.err
    assert "60/60 images" in result.err


def test_extract_again_does_nothing_and_says_so(cli, colours, features):
    result = cli("extract", colours, "-o", features)
    assert result.code == 0
    assert "nothing to do: every image was finished before" in result.out


def test_extract_refuses_another_recipe_with_both_values(cli, colours, features):
    before = features.read_bytes()
    result = cli("extract", colours, "-o", features, "--size", "20")
    assert result.code == 1
    assert "image.size: 20 (this run), 16" in result.err
    assert "--overwrite" in result.err
    assert "Traceback" not in result.err
    assert features.read_bytes() == before
    assert cli("extract", colours, "-o", features, "--size", "20", "--overwrite").code == 0


def test_extract_exit_codes_by_max_failed(cli, colours, tmp_path):
    for i in (1, 2, 3):
        (colours / f"train/red/{i}.png").write_bytes(b"not an image")
    allowed = cli("extract", colours, "-o", tmp_path / "a.h5", "--max-failed", "5%")
    assert allowed.code == 0
    assert "3 failed: 3 not an image" in allowed.out
    refused = cli("extract", colours, "-o", tmp_path / "b.h5", "--max-failed", "2", "--json")
    assert refused.code == 3
    assert refused.json["failed"] == 3
    assert "3 of 60 images failed, more than --max-failed 2" in refused.err
    assert cli("extract", colours, "-o", tmp_path / "b.h5", "--max-failed", "2").code == 3
    assert cli("extract", colours, "-o", tmp_path / "c.h5", "--max-failed", "some").code == 2


def test_extract_refuses_a_file_that_is_being_written(cli, colours, features):
    with writer_lock(features):
        result = cli("extract", colours, "-o", features)
    assert result.code == 1
    assert f"is being written by process {os.getpid()}" in result.err


def test_several_backbones_write_a_file_each_from_one_pass(cli, colours, tmp_path):
    arguments = ("extract", colours, "-b", "resnet50", "-b", "VGG16", "--json")
    refused = cli(*arguments, "-o", tmp_path / "f.h5")
    assert refused.code == 2
    assert "expected {backbone} in the output for 2 backbones" in refused.err
    result = cli(*arguments, "-o", tmp_path / "f_{backbone}.h5")
    assert [file["output"] for file in result.json["files"]] == [
        str(tmp_path / f"f_{name}.h5") for name in ("resnet50", "vgg16")
    ]
    assert [file["ok"] for file in result.json["files"]] == [60, 60]
    assert (tmp_path / "f_resnet50.h5").exists()
    assert cli(*arguments, "-b", "resnet50", "-o", tmp_path / "f_{backbone}.h5").code == 2


def test_ctrl_c_exits_130_with_what_was_done_kept(cli, colours, tmp_path, monkeypatch):
    def interrupted(self, batch):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fakes.MeanBackbone.__call__", interrupted)
        result = cli("extract", colours, "-o", tmp_path / "f.h5")
    assert result.code == 130
    assert "60 still to do: run the same command again" in result.out
    assert not FeatureStore.open(tmp_path / "f.h5").done.any()
    assert cli("extract", colours, "-o", tmp_path / "f.h5").code == 0


def test_folders_of_outputs_are_made(cli, features, colours, tmp_path):
    assert cli("train", features, "-o", tmp_path / "a" / "b" / "h", "-q").code == 0
    assert (tmp_path / "a" / "b" / "h").is_file()


def test_a_trial_says_how_many_were_done_before(cli, colours, tmp_path):
    first = cli("extract", colours, "-o", tmp_path / "f.h5", "--limit", "6")
    assert "6 images to do" in first.err.splitlines()
    second = cli("extract", colours, "-o", tmp_path / "f.h5")
    assert "54 images to do, 6 done before" in second.err.splitlines()
    assert second.err.count("54/54") == 1


def test_extract_says_first_what_it_found(cli, colours, tmp_path):
    for i in range(2):
        write_png(colours / f"train/test/{i}.png", np.zeros((4, 4, 3)))
    split_like = (
        "read as a class, though called like a split: test; splits are the folders at the top, "
        "train/CLASS/IMAGE, and all of those are train, val or test"
    )
    lines = cli("extract", colours, "-o", tmp_path / "f.h5").err.splitlines()
    assert lines[:5] == [
        f"{colours}: 62 images",
        "4 classes: blue 20, green 20, red 20, test 2",
        "splits: train 47, test 15",
        f"note: {split_like}",
        "62 images to do",
    ]


def test_what_is_left_out_is_told(cli, colours, tmp_path):
    (colours / "train/red/scan.dcm").write_bytes(b"x")
    (colours / "train/red/README").write_bytes(b"x")
    err = cli("extract", colours, "-o", tmp_path / "f.h5").err.splitlines()
    assert "left out by ending: .dcm 1, no ending 1" in err
    assert "left out by ending: .dcm 1, no ending 1" in cli("extract", colours, "--dry-run").out
    left_out = cli("extract", colours, "--dry-run", "--json").json["left_out"]
    assert left_out["endings"] == {".dcm": 1, "": 1}


def test_a_dry_run_only_looks(cli, colours, tmp_path):
    before = sorted(tmp_path.iterdir())
    told = cli("extract", colours, "--dry-run")
    assert told.code == 0
    assert told.out.splitlines()[:3] == [
        f"{colours}: 60 images",
        "3 classes: blue 20, green 20, red 20",
        "splits: train 45, test 15",
    ]
    assert "test/blue/0.png" in told.out
    assert "... and 50 more" in told.out
    document = cli("extract", colours, "-o", tmp_path / "f.h5", "--dry-run", "--json").json
    assert document["classes"] == {"blue": 20, "green": 20, "red": 20}
    assert document["first"][0] == {
        "key": "test/blue/0.png", "label": "blue", "split": "test", "group": None,
    }  # fmt: skip
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_system_without_locks_is_told_as_such(cli, colours, tmp_path, monkeypatch):
    import errno
    import fcntl

    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    refused = cli("extract", colours, "-o", tmp_path / "f.h5")
    assert refused.code == 1
    assert "expected a file system with locks" in refused.err
    assert "write to a local folder" in refused.err
