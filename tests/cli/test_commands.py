"""Every command, end to end in this process, with the NumPy backbone."""

import csv
import io
import json
import os

import numpy as np
import pytest
from fakes import write_png

from bottleneck.cli.main import COMMANDS
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


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["extract", "nowhere", "-o", "x.h5"], 1, "nowhere, which does not exist"),
        (["extract", ".", "-o", "x.h5"], 1, "expected images below ., found none"),
        (["extract", ".", "-o", "x.h5", "-b", "resnet5"], 2, "resnet50"),
        (["extract", ".", "-o", "x.h5", "--pool", "median"], 2, "'avg', 'max'"),
        (["extract", ".", "-o", "x.h5", "--batch-size", "0"], 2, "batch_size to be at least 1"),
        (["extract", "."], 2, "--output"),
        (["train", "none.h5", "-o", "h"], 1, "there is no file none.h5"),
        (["train", "none.h5", "-o", "h", "--C", "a:b"], 2, "a:b"),
        (["evaluate", "none", "none.h5"], 1, "none"),
        (["predict", "none", "."], 1, "none"),
        (["run", "none.toml"], 1, "cannot read none.toml"),
        (["info", "none.h5"], 1, "there is no file none.h5"),
        (["backbones", "resnet5x"], 2, "resnet50"),
        (["conquer"], 2, "No such command"),
    ],
)
def test_errors_are_a_message_and_an_exit_code(cli, tmp_path, monkeypatch, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    result = cli(*arguments)
    assert result.code == code
    assert says in result.err
    assert "Traceback" not in result.err
    assert result.out == ""
    assert list(tmp_path.glob("*.h5")) == []


def test_debug_shows_the_traceback(cli):
    result = cli("--debug", "info", "none.h5")
    assert "Traceback" in result.err
    assert "error: there is no file none.h5" in result.err


def test_train_json_has_the_fixed_keys(cli, features, tmp_path):
    result = cli("train", features, "-o", tmp_path / "h", "--C", "0.01,1", "--cv", "3", "--json")
    document = result.json
    assert document["head"] == "logreg"
    assert set(document["best"]) == {"C"}
    assert [entry["params"]["C"] for entry in document["cv"]] == [0.01, 1]
    assert all({"params", "mean", "std"} == set(entry) for entry in document["cv"])
    assert {"accuracy", "macro_f1"} <= set(document["test"])
    assert document["test"]["accuracy"] == 1.0
    assert document["test"]["rows"] == 15
    assert (document["rows"], document["features"], document["classes"]) == (45, 3, 3)
    assert document["seconds"] > 0


@pytest.mark.parametrize("head", ["logreg", "svm", "ridge"])
def test_evaluate_agrees_with_train(cli, features, tmp_path, head):
    trained = cli("train", features, "-o", tmp_path / "h", "--head", head, "--json").json
    judged = cli("evaluate", tmp_path / "h", features, "--json").json
    for name, value in trained["test"].items():
        assert judged[name] == value, name
    assert judged["split"] == "test"
    assert judged["failed_rows_skipped"] == 0
    assert np.trace(judged["confusion"]) / judged["rows"] == judged["accuracy"]
    assert [entry["class"] for entry in judged["per_class"]] == ["blue", "green", "red"]
    assert (judged["log_loss"] is None) == (head != "logreg")


def test_calibrated_heads_have_probabilities_and_go_to_other_runtimes(cli, features, tmp_path):
    head, model = tmp_path / "h", tmp_path / "h.onnx"
    trained = cli("train", features, "-o", head, "--head", "svm", "--calibrate", "--json").json
    assert trained["temperature"] > 0
    judged = cli("evaluate", head, features, "--json").json
    assert 0 < judged["log_loss"] < 5
    exported = cli("export", head, "-o", model, "--json").json
    assert exported["bytes"] == model.stat().st_size
    assert b"bottleneck svm" in model.read_bytes()
    refused = cli("export", head, "-o", tmp_path / "h.h5")
    assert refused.code == 2
    assert "ends in .onnx" in refused.err


def test_any_classifier_of_scikit_learn(cli, features, tmp_path):
    head = tmp_path / "h"
    options = ("--head", "sklearn.svm.SVC", "--set", "kernel=rbf", "--set", "C=2")
    trained = cli("train", features, "-o", head, *options, "--json").json
    assert trained["best"] == {"kernel": "rbf", "C": 2}
    judged = cli("evaluate", head, features, "--json").json
    assert judged["accuracy"] == trained["test"]["accuracy"]
    assert "kernel=rbf, C=2" in cli("train", features, "-o", head, *options, "--overwrite").out
    assert "kernel=rbf, C=2" in cli("info", head).out
    refused = cli("train", features, "-o", head, *options, "--C", "1")
    assert refused.code == 2
    assert "expected no --C for sklearn.svm.SVC" in refused.err
    refused = cli("train", features, "-o", head, "--set", "C=1")
    assert refused.code == 2
    assert "expected no --set for the head logreg" in refused.err


def test_training_leaves_out_and_counts_bad_and_unlabelled_rows(cli, colours, tmp_path):
    (colours / "train/red/1.png").write_bytes(b"")
    write_png(colours / "train" / "loose.png", np.zeros((5, 5, 3)))
    (colours / "test/red/0.png").write_bytes(b"")
    cli("extract", colours, "-o", tmp_path / "f.h5", "-q")
    trained = cli("train", tmp_path / "f.h5", "-o", tmp_path / "h", "--json")
    assert trained.json["left_out"] == {"failed": 1, "unlabelled": 1, "pending": 0}
    assert trained.json["rows"] == 44
    assert "training rows left out: 1 failed, 1 without a label" in trained.err
    judged = cli("evaluate", tmp_path / "h", tmp_path / "f.h5", "--json").json
    assert (judged["rows"], judged["failed_rows_skipped"]) == (14, 1)


def test_holdout_where_there_are_no_splits(cli, colours, tmp_path):
    flat = flat_copy(colours, tmp_path / "flat")
    cli("extract", flat, "-o", tmp_path / "f.h5", "-q")
    plain = cli("train", tmp_path / "f.h5", "-o", tmp_path / "a", "--json").json
    assert (plain["rows"], plain["test"]) == (60, None)
    judged = cli("evaluate", tmp_path / "a", tmp_path / "f.h5", "--json")
    assert (judged.json["split"], judged.json["rows"]) == ("all", 60)
    assert "expect flattery" in judged.err
    held = cli("train", tmp_path / "f.h5", "-o", tmp_path / "b", "--holdout", "0.25", "--json").json
    assert (held["rows"], held["test"]["rows"]) == (45, 15)
    again = cli("evaluate", tmp_path / "b", tmp_path / "f.h5", "--json").json
    assert (again["split"], again["rows"]) == ("holdout", 15)
    assert again["accuracy"] == held["test"]["accuracy"]


def test_holdout_does_not_move_when_extraction_goes_on(cli, colours, tmp_path):
    flat = flat_copy(colours, tmp_path / "flat")
    file, head = tmp_path / "f.h5", tmp_path / "h"
    cli("extract", flat, "-o", file, "--limit", "40", "-q")
    trained = cli("train", file, "-o", head, "--holdout", "0.25", "--json").json
    assert trained["rows"] + trained["test"]["rows"] == 40
    cli("extract", flat, "-o", file, "-q")
    assert cli("evaluate", head, file, "--json").json["rows"] == 15


def test_holdout_beside_splits_is_refused(cli, features, tmp_path):
    result = cli("train", features, "-o", tmp_path / "h", "--holdout", "0.2")
    assert result.code == 1
    assert "Leave --holdout out" in result.err


def test_predict_writes_a_row_per_image_in_order(cli, head, colours, tmp_path):
    (colours / "test/blue/4.png").write_bytes(b"")
    result = cli("predict", head, colours / "test")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert [row["key"] for row in rows[:6]] == [
        *(f"blue/{i}.png" for i in (0, 4, 8, 12, 16)),
        "green/0.png",
    ]
    assert (rows[1]["label"], rows[1]["probability"]) == ("", "")
    assert rows[1]["error"].startswith("empty")
    good = [row for row in rows if not row["error"]]
    assert len(good) == 14
    assert all(row["label"] == row["key"].split("/")[0] for row in good)
    assert all(1 / 3 < float(row["probability"]) <= 1 for row in good)
    assert result.code == 0


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_predict_formats_agree(cli, head, colours, tmp_path, kind):
    file = tmp_path / f"rows.{kind}"
    assert cli("predict", head, colours / "test", "-o", file, "-q").out == ""
    text = file.read_text()
    rows = {
        "csv": lambda: list(csv.DictReader(io.StringIO(text))),
        "jsonl": lambda: [json.loads(line) for line in text.splitlines()],
        "json": lambda: json.loads(text),
    }[kind]()
    assert [row["label"] for row in rows] == ["blue"] * 5 + ["green"] * 5 + ["red"] * 5
    assert [*rows[0]] == ["key", "label", "probability", "error"]
    printed = cli("predict", head, colours / "test", "--format", kind).out
    assert printed == text
    assert list(tmp_path.glob("*.part")) == []


def test_predict_takes_single_files_and_says_when_too_many_fail(cli, head, colours, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"x")
    good = colours / "test/red/0.png"
    result = cli("predict", head, good, bad, "--json")
    assert result.code == 3
    assert [(row["key"], row["label"]) for row in result.json] == [
        (str(good), "red"),
        (str(bad), None),
    ]
    assert cli("predict", head, good, bad, "--json", "--max-failed", "1").code == 0


def test_evaluate_refuses_features_of_another_recipe(cli, head, colours, tmp_path):
    cli("extract", colours, "-o", tmp_path / "other.h5", "--resize", "squash", "-q")
    result = cli("evaluate", head, tmp_path / "other.h5")
    assert result.code == 1
    assert "image.resize.rule: crop (head), squash (features)" in result.err


def test_info_tells_features_and_heads(cli, features, head):
    store = cli("info", features, "--json").json
    assert store["status"] == {"done": 60}
    assert store["outputs"] == {"avg": 3}
    assert store["splits"] == {"train": 45, "test": 15}
    assert store["recipe"]["identity"]["backbone"] == "fake"
    assert store["recipe"]["execution"]["dtype"] == "float32"
    about = cli("info", head, "--json").json
    assert about["classes"] == ["blue", "green", "red"]
    assert about["recipe"]["identity"] == store["recipe"]["identity"]
    assert "rows      60: 60 done" in cli("info", features).out
    assert "head logreg" in cli("info", head).out


def test_backbones_lists_the_catalogue(cli):
    rows = {row["name"]: row for row in cli("backbones", "--json").json}
    assert rows["resnet50"] | {"weights": ""} == {
        "name": "resnet50",
        "takes": "image",
        "input_size": 224,
        "dim": 2048,
        "params": 23587712,
        "preprocess": "caffe",
        "weights": "",
        "provider": "keras_applications",
        "license": None,
    }
    assert rows["efficientnet_lite0"]["weights"] == "bundled"
    crnn = rows["music_tagger_crnn"]
    assert (crnn["takes"], crnn["input_size"], crnn["dim"]) == ("sound", [96, 1366], 32)
    assert [row["name"] for row in cli("backbones", "MobileNetV2", "--json").json] == [
        "mobilenet_v2"
    ]
    assert "efficientnet_lite0 (default)" in cli("backbones").out


def test_backbones_are_searched_and_filtered(cli):
    def names(*arguments):
        return [row["name"] for row in cli("backbones", *arguments, "--json").json]

    assert names("resnet", "v2") == [
        *("inception_resnet_v2", "resnet101_v2", "resnet152_v2", "resnet50_v2"),
        *("slim_resnet_v2_101", "slim_resnet_v2_152", "slim_resnet_v2_50"),
    ]
    assert names("--provider", "early_keras") == ["inception_v3_v02", "resnet50_v02"]
    lite = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    assert names("--provider", "lite") == lite
    assert names("--license", "apache") == lite
    assert names("--max-params", "1.6M") == [
        *("mobilenet_v3_small", "music_tagger_crnn", "musicnn_vgg")
    ]
    assert names("mobilenet", "--max-params", "2257984") == [
        *("mobilenet_v2", "mobilenet_v3_small", "slim_mobilenet_v2")
    ]
    assert cli("backbones", "--max-params", "many").code == 2
    assert "nearest" in cli("backbones", "resnet5x").err.lower()


def test_backbones_lists_what_can_be_taken_of_a_file(cli, tmp_path):
    import onnx_files

    file = onnx_files.transformer(tmp_path / "t.onnx")
    rows = cli("backbones", f"onnx:{file}", "--layers", "--json").json
    assert {"layer": "patches", "height": 4, "width": 4, "channels": 6} in rows
    assert {"layer": "/block/tokens", "tokens": 19, "channels": 6} in rows
    assert "tokens" in cli("backbones", f"onnx:{file}", "--layers").out


def test_backbones_lists_layers_with_their_shapes(cli):
    rows = cli("backbones", "MobileNetV3Small", "--layers", "--size", "64", "--json").json
    assert {"layer": "activation_17", "height": 2, "width": 2, "channels": 576} in rows
    assert "expanded_conv_3_project_bn" in {row["layer"] for row in rows}
    assert cli("backbones", "--layers").code == 2


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


def test_options_can_come_from_the_environment(cli, colours, tmp_path, monkeypatch):
    monkeypatch.setenv("BOTTLENECK_EXTRACT_SIZE", "24")
    result = cli("extract", colours, "-o", tmp_path / "f.h5", "-q")
    assert result.code == 0
    assert FeatureStore.open(tmp_path / "f.h5").recipe.identity["image"]["size"] == 24


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_everywhere_and_every_option_explained(cli, command):
    result = cli(*filter(None, [command]), "-h")
    assert result.code == 0
    assert result.out.startswith("Usage:")
    if command:
        from importlib import import_module

        for parameter in import_module(f"bottleneck.cli.{command}").command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{command} {parameter.name}"
    else:
        for name in COMMANDS:
            assert f"  {name}" in result.out


def test_version(cli):
    import bottleneck

    assert cli("--version").out == f"bottleneck, version {bottleneck.__version__}\n"


def _pixels(path):
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image)


def test_outputs_never_replace_inputs_or_other_kinds(cli, features, head, colours, tmp_path):
    table = tmp_path / "images.csv"
    table.write_text("path,label\ncolours/train/red/1.png,red\n")
    image = colours / "test/red/0.png"
    kept = {path: path.read_bytes() for path in (features, head, table, image)}
    attempts = [
        ("train", features, "-o", features),
        ("predict", head, image, "-o", image),
        ("predict", head, image, "-o", features),
        ("predict", head, image, "-o", head),
        ("evaluate", head, features, "-o", features),
        ("evaluate", head, features, "-o", head),
        ("extract", table, "-o", table, "--overwrite"),
        ("extract", colours, "-o", head, "--overwrite"),
        ("extract", colours, "-o", image),
        ("train", features, "-o", table),
        ("train", features, "-o", tmp_path),
        ("predict", head, image, "-o", tmp_path),
        ("evaluate", head, features, "-o", tmp_path),
        ("extract", colours, "-o", tmp_path),
    ]
    for arguments in attempts:
        result = cli(*arguments)
        assert result.code == 2, arguments
        assert "Traceback" not in result.err
        assert "output" in result.err
    assert {path: path.read_bytes() for path in kept} == kept


def test_folders_of_outputs_are_made(cli, features, colours, tmp_path):
    assert cli("train", features, "-o", tmp_path / "a" / "b" / "h", "-q").code == 0
    assert (tmp_path / "a" / "b" / "h").is_file()


def test_holdout_is_for_the_images_of_training_only(cli, colours, tmp_path):
    flat = flat_copy(colours, tmp_path / "flat")
    cli("extract", flat, "-o", tmp_path / "f.h5", "-q")
    cli("train", tmp_path / "f.h5", "-o", tmp_path / "h", "--holdout", "0.25", "-q")
    write_png(flat / "red" / "new.png", np.zeros((5, 5, 3)))
    cli("extract", flat, "-o", tmp_path / "g.h5", "-q")
    judged = cli("evaluate", tmp_path / "h", tmp_path / "g.h5", "--json")
    # 45 were trained on: what is left are the 15 of the hold-out and the new one.
    assert (judged.json["split"], judged.json["rows"]) == ("all", 16)
    assert (judged.json["trained_rows_skipped"], judged.json["trained_rows_included"]) == (45, 0)
    assert "the hold-out is not used" in judged.err
    assert "left out 45 of 61 rows that the head was trained on" in judged.err
    everything = cli("evaluate", tmp_path / "h", tmp_path / "g.h5", "--split", "all", "--json")
    assert (everything.json["rows"], everything.json["trained_rows_included"]) == (61, 45)
    assert "trained on 45 of these 61 rows" in everything.err
    own = cli("evaluate", tmp_path / "h", tmp_path / "f.h5", "--split", "all", "--json")
    assert (own.json["rows"], own.json["trained_rows_included"]) == (60, 45)


def test_rows_of_training_are_known_whatever_became_of_the_file(cli, colours, tmp_path):
    """Grown, under other names, with a test split: an image that was trained on stays known."""
    flat = flat_copy(colours, tmp_path / "flat")
    cli("extract", flat, "-o", tmp_path / "f.h5", "-q")
    cli("train", tmp_path / "f.h5", "-o", tmp_path / "h", "-q")
    rng = np.random.default_rng(5)
    renamed = tmp_path / "renamed" / "test"
    for folder in sorted(flat.iterdir()):
        for i, path in enumerate(sorted(folder.iterdir())):
            target = renamed / folder.name / f"other{i}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        write_png(renamed / folder.name / "new.png", rng.integers(0, 256, (9, 9, 3)))
    classes = len(list(flat.iterdir()))
    cli("extract", tmp_path / "renamed", "-o", tmp_path / "g.h5", "-q")
    judged = cli("evaluate", tmp_path / "h", tmp_path / "g.h5", "--json").json
    assert (judged["split"], judged["rows"]) == ("test", classes)
    assert judged["trained_rows_skipped"] == 60


def test_an_empty_holdout_keeps_the_head(cli, colours, tmp_path):
    flat = flat_copy(colours, tmp_path / "flat")
    cli("extract", flat, "-o", tmp_path / "f.h5", "--limit", "6", "-q")
    options = ("--holdout", "0.01", "--cv", "0", "--C", "1")
    result = cli("train", tmp_path / "f.h5", "-o", tmp_path / "h", "--json", *options)
    assert result.code == 0
    assert result.json["test"] is None or result.json["test"]["rows"] > 0
    assert (tmp_path / "h").is_file()


def test_a_trial_says_how_many_were_done_before(cli, colours, tmp_path):
    first = cli("extract", colours, "-o", tmp_path / "f.h5", "--limit", "6")
    assert "6 images to do" in first.err.splitlines()
    second = cli("extract", colours, "-o", tmp_path / "f.h5")
    assert "54 images to do, 6 done before" in second.err.splitlines()
    assert second.err.count("54/54") == 1


def test_names_that_are_no_text_are_shown_and_predicted(cli, head, colours, tmp_path):
    folder = tmp_path / "odd"
    write_png(folder / "x.png", np.full((5, 5, 3), 9))
    (folder / "x.png").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9\n.png"))
    rows = cli("predict", head, folder, "--json").json
    assert rows[0]["key"] == "caf\\xe9\n.png"
    result = cli("extract", folder, "-o", tmp_path / "odd.h5", "-q")
    assert result.code == 0


def test_terminal_codes_in_class_names_are_harmless(cli, tmp_path):
    for name in ("red\x1b[31m", "line\nbreak"):
        for i in range(4):
            write_png(tmp_path / "set" / name / f"{i}.png", np.full((5, 5, 3), len(name) * i))
    cli("extract", tmp_path / "set", "-o", tmp_path / "f.h5", "-q")
    out = cli("info", tmp_path / "f.h5").out
    assert "red\\x1b[31m" in out
    assert "line\\nbreak" in out


def test_two_names_of_one_file_are_one(cli, colours, features, tmp_path):
    (tmp_path / "alias.h5").symlink_to(features)
    with writer_lock(tmp_path / "alias.h5"):
        assert "is being written by" in cli("extract", colours, "-o", features).err
    cli("extract", colours, "-o", tmp_path / "alias.h5", "--overwrite", "-q")
    assert (tmp_path / "alias.h5").is_symlink()
    assert not list(tmp_path.glob("*.lock"))


def flat_copy(colours, target):
    for path in colours.rglob("*.png"):
        split, name = path.parts[-3:-1]
        write_png(target / name / f"{split}{path.name}", _pixels(path))
    return target


def test_the_keras_engine_is_for_heads_that_are_solved_in_passes(cli, features, tmp_path):
    head = tmp_path / "k.head"
    trained = cli("train", features, "-o", head, "--engine", "keras", "--C", "1", "--json")
    assert trained.json["test"]["accuracy"] > 0.9
    assert "fitted through Keras: " in trained.err
    for name in ("ridge", "mlp", "sklearn.svm.SVC"):
        refused = cli("train", features, "-o", head, "--engine", "keras", "--head", name)
        assert f"expected the head logreg or svm for --engine keras, got {name}" in refused.err


def test_the_small_network_from_training_to_labels(cli, colours, features, tmp_path):
    head = tmp_path / "m.head"
    options = ["--set", "hidden=8", "--set", "epochs=40", "--set", "lr=0.02", "--cv", "2"]
    trained = cli("train", features, "-o", head, "--head", "mlp", *options, "--json").json
    assert trained["best"] == {
        "hidden": 8, "dropout": 0.5, "epochs": 40, "lr": 0.02, "batch_size": 256
    }  # fmt: skip
    assert trained["test"]["accuracy"] > 0.9
    judged = cli("evaluate", head, features, "--json").json
    assert judged["accuracy"] == trained["test"]["accuracy"]
    rows = list(csv.DictReader(io.StringIO(cli("predict", head, colours, "-q").out)))
    right = [row["label"] == row["key"].split("/")[1] for row in rows]
    assert np.mean(right) > 0.9
    for extra in (["--C", "1"], ["--calibrate"], ["--curve", "0.5,1"]):
        refused = cli("train", features, "-o", head, "--head", "mlp", *extra)
        assert f"expected no {extra[0]} for mlp" in refused.err
    refused = cli("train", features, "-o", head, "--head", "mlp", "--set", "depth=3")
    assert "no setting 'depth'" in refused.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("extract", "colours", "-o", "s3://bucket/f.h5"),
        ("train", "f.h5", "-o", "s3://bucket/h"),
        ("evaluate", "logreg.head", "f.h5", "-o", "gs://bucket/j.json"),
        ("predict", "logreg.head", "colours", "-o", "https://host/l.csv"),
        ("compare", "f.h5", "-o", "s3://bucket/r.html"),
        ("merge", "f.h5", "-o", "s3://bucket/all.h5"),
        ("export", "f.h5", "-o", "s3://bucket/x.npy"),
        ("export", "f.h5", "-o", "s3://bucket/x.h5", "--compress", "gzip"),
        ("export", "logreg.head", "-o", "s3://bucket/x.onnx"),
        ("rescue", "f.h5", "-o", "s3://bucket/x.h5"),
    ],
)
def test_urls_are_no_places_for_results(cli, head, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = cli(*arguments)
    assert result.code == 2
    assert "expected a path for the output, got the URL" in result.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("typed", "meant"), [("extrct", "extract"), ("Train", "train")])
def test_misspelt_commands_name_the_nearest(cli, typed, meant):
    result = cli(typed, "x")
    assert result.code == 2
    assert f"Did you mean {meant}" in result.err


def test_a_head_is_replaced_only_when_told(cli, features, head):
    before = head.read_bytes()
    refused = cli("train", features, "-o", head, "--C", "1", "--cv", "0")
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert head.read_bytes() == before
    assert cli("train", features, "-o", head, "--C", "1", "--cv", "0", "--overwrite").code == 0
    assert head.read_bytes() != before


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


def test_swapped_arguments_are_told_with_the_right_order(cli, features, head, colours, tmp_path):
    right = f"The head comes first: bottleneck evaluate {head} {features}"
    swapped = cli("evaluate", features, head)
    assert swapped.code == 2
    assert swapped.err.splitlines() == [f"error: expected a head, got features: {features}", right]
    swapped = cli("predict", colours, head)
    assert swapped.code == 2
    assert swapped.err.splitlines() == [
        f"error: expected a head, got a folder: {colours}",
        f"The head comes first: bottleneck predict {head} {colours}",
    ]
    for arguments in (
        ("train", head, "-o", tmp_path / "x"),
        ("compare", features, head),
        ("merge", features, head, "-o", tmp_path / "x.h5"),
    ):
        refused = cli(*arguments)
        assert refused.code == 2
        assert f"error: expected a feature file, got a head: {head}" in refused.err
        assert "bottleneck extract" in refused.err
    refused = cli("extract", head, "-o", tmp_path / "x.h5")
    assert refused.code == 2
    assert f"expected images, got a head: {head}" in refused.err
    assert not list(tmp_path.glob("x*"))


def test_intervals_of_a_loss_are_no_shares(cli, features, head):
    ends = cli("evaluate", head, features, "--json").json["intervals"]["log_loss"]
    shown = cli("evaluate", head, features).out.splitlines()
    assert "95% intervals:" in shown
    assert f"  log loss {ends[0]:.4g} to {ends[1]:.4g}" in shown
    assert max(map(len, shown)) <= 80


def test_train_says_what_the_commonest_class_is_worth(cli, colours, tmp_path):
    for i in range(0, 20, 4):
        (colours / f"test/green/{i}.png").unlink()
    for i in (1, 2, 3):
        (colours / f"train/green/{i}.png").unlink()
        (colours / f"train/blue/{i}.png").unlink()
    cli("extract", colours, "-o", tmp_path / "f.h5", "-q")
    trained = cli("train", tmp_path / "f.h5", "-o", tmp_path / "h", "--json")
    assert trained.json["baseline"] == {"class": "red", "accuracy": 0.5, "rows": 10}
    assert "fitting logreg on 39 rows" in trained.err
    shown = cli("train", tmp_path / "f.h5", "-o", tmp_path / "h2").out
    assert "always saying red would give 50.0%" in shown


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


def test_a_hold_out_of_one_image_per_class_is_refused(cli, tmp_path):
    from blobs import write_blobs

    store = write_blobs(
        tmp_path, "few.h5", n=3, classes=("a", "b", "c"), labels=["a", "b", "c"], split=False
    )
    shown = cli("train", store, "-o", tmp_path / "h.head", "--holdout", "0.2")
    assert shown.code == 1
    assert "one row (or group) of each class" in shown.err
    assert "Leave --holdout out" in shown.err
