"""``bottleneck train`` and ``evaluate`` from the outside: which rows, which numbers."""

import csv
import io

import numpy as np
import pytest
from fakes import write_png

pytestmark = pytest.mark.usefixtures("fake_backbone")


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


def test_screening_trains_the_same_head(cli, features, tmp_path):
    options = ("--C", "1e-4:1e1:6", "--cv", "3", "--json")
    whole = cli("train", features, "-o", tmp_path / "a", *options).json
    screened = cli("train", features, "-o", tmp_path / "b", *options, "--screen").json
    assert screened["best"] == whole["best"]
    assert screened["test"] == whole["test"]
    refused = cli("train", features, "-o", tmp_path / "c", *options, "--screen", "--nested")
    assert refused.code == 2
    assert "nested estimate or screening" in refused.err


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


def test_evaluate_refuses_features_of_another_recipe(cli, head, colours, tmp_path):
    cli("extract", colours, "-o", tmp_path / "other.h5", "--resize", "squash", "-q")
    result = cli("evaluate", head, tmp_path / "other.h5")
    assert result.code == 1
    assert "image.resize.rule: crop (head), squash (features)" in result.err


def _pixels(path):
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image)


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
    assert (trained.json["engine"], trained.json["device"]) == ("keras", "cpu")
    for name in ("ridge", "mlp", "sklearn.svm.SVC"):
        refused = cli("train", features, "-o", head, "--engine", "keras", "--head", name)
        assert f"expected the head logreg or svm for --engine keras, got {name}" in refused.err


def test_a_device_is_for_what_keras_computes(cli, features, tmp_path):
    head = tmp_path / "d.head"
    train = ["train", features, "-o", head, "--C", "1", "--cv", "0", "--json"]
    for options, message in {
        ("--device", "gpu"): "expected the device cpu for logreg, which NumPy computes, got gpu\n"
        "On a GPU: logreg and svm with --engine keras; mlp and stack.",
        ("--device", "gpu0"): "expected the device cpu, gpu or gpu:N, got 'gpu0'",
        ("--engine", "keras", "--device", "gpu:99"): "expected the device gpu:99, but TensorFlow",
        ("--engine", "keras", "--device", "tensorrt"): "expected the device cpu, gpu or gpu:N for "
        "tensorflow, got 'tensorrt'",
        ("--engine", "keras", "--on", "ray", "--device", "gpu:1"): "expected the device cpu or gpu "
        "for --on ray, got gpu:1\nRay gives every worker a GPU of its own.",
    }.items():
        refused = cli(*train, *options)
        assert message in refused.err.replace("\n  ", "\n")
        assert refused.code == (1 if "99" in options[-1] else 2)
        assert not head.exists()
    found = cli(*train, "--device", "cpu").json
    assert (found["engine"], found["device"]) == ("numpy", "cpu")
    told = cli(*train, "--engine", "keras", "--device", "cpu", "--overwrite")
    assert told.json["test"]["log_loss"] == pytest.approx(found["test"]["log_loss"], rel=1e-3)
    assert "by Keras on cpu" in told.err


def test_a_gpu_that_does_not_fit_is_told(cli, features, tmp_path, monkeypatch):
    """Before the fit, whatever head Keras computes; not where the CPU was asked for."""
    monkeypatch.setattr("bottleneck.runtimes.choice.gpu_makers", lambda: ("NVIDIA",))
    head = tmp_path / "u.head"
    small = ["--head", "mlp", "--set", "hidden=2", "--set", "epochs=1", "--cv", "0", "--overwrite"]
    for options in (["--engine", "keras", "--C", "1", "--cv", "0"], small):
        told = cli("train", features, "-o", head, *options).err
        assert told.count("the CPU computes, though there is a GPU (NVIDIA): ") == 1
        assert told.index("the CPU computes") < told.index("fitting ")
        assert told.count("fitted through Keras: ") == 1
        quiet = cli("train", features, "-o", head, *options, "--device", "cpu", "--overwrite").err
        assert "the CPU computes" not in quiet


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


def test_a_head_is_replaced_only_when_told(cli, features, head):
    before = head.read_bytes()
    refused = cli("train", features, "-o", head, "--C", "1", "--cv", "0")
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert head.read_bytes() == before
    assert cli("train", features, "-o", head, "--C", "1", "--cv", "0", "--overwrite").code == 0
    assert head.read_bytes() != before


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


def test_a_hold_out_of_one_image_per_class_is_refused(cli, tmp_path):
    from blobs import write_blobs

    store = write_blobs(
        tmp_path, "few.h5", n=3, classes=("a", "b", "c"), labels=["a", "b", "c"], split=False
    )
    shown = cli("train", store, "-o", tmp_path / "h.head", "--holdout", "0.2")
    assert shown.code == 1
    assert "one row (or group) of each class" in shown.err
    assert "Leave --holdout out" in shown.err
