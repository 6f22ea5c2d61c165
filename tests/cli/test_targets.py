"""Targets through the command line: from a table's columns to predictions, and every refusal."""

import csv
import io
import json

import numpy as np
import pytest
from fakes import write_png

from bottleneck.api.records import label_names
from bottleneck.errors import HeadError
from bottleneck.heads import Head
from bottleneck.store import FeatureStore

pytestmark = pytest.mark.usefixtures("fake_backbone")

ALL = ["--target", "red", "--target", "tags", "--target", "dark"]


@pytest.fixture
def table(tmp_path):
    """Sixty images and what a linear head can tell of their mean colour (the fake features)."""
    rng = np.random.default_rng(5)
    lines = ["path,label,split,red,tags,dark"]
    for i in range(60):
        colour = rng.integers(0, 220, 3)
        pixels = rng.integers(0, 35, (12, 14, 3)) + colour
        write_png(tmp_path / "images" / f"{i}.png", pixels)
        red, green, blue = pixels.reshape(-1, 3).mean(axis=0)
        tags = [name for name, on in (("warm", red > blue), ("lush", green > 120)) if on]
        known = i != 7
        lines.append(
            f"images/{i}.png,{'a' if i % 2 else 'b'},{'test' if i % 4 == 0 else 'train'},"
            f"{f'{red:.4f}' if known else ''},{'|'.join(tags) or '|'},{int(red + green < 220)}"
        )
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def features(cli, table, tmp_path):
    assert cli("extract", table, "-o", tmp_path / "f.h5", *ALL, "-q").code == 0
    return tmp_path / "f.h5"


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_numbers_from_table_to_prediction(cli, table, features, tmp_path):
    head = tmp_path / "red.head"
    trained = cli("train", features, "-o", head, "--head", "ridge", "--target", "red", "--json")
    assert trained.code == 0, trained.err
    document = trained.json
    assert (document["task"], document["metric"]) == ("numbers", "r2")
    assert (document["targets"], document["classes"]) == (["red"], 0)
    assert (document["rows"], document["left_out"]["unlabelled"]) == (44, 1)
    assert "training rows left out: 1 without a value" in trained.err
    assert document["test"]["r2"] > 0.99
    judged = cli("evaluate", head, features, "--json").json
    assert (judged["task"], judged["split"], judged["rows"]) == ("numbers", "test", 15)
    assert {name: judged[name] for name in ("r2", "mae", "rows")} == document["test"]
    rows = rows_of(cli("predict", head, table, "-q").out)
    truth = rows_of(table.read_text())
    assert list(rows[0]) == ["key", "label", "probability", "error", "red"]
    test = [i for i in range(60) if i % 4 == 0]
    errors = [abs(float(rows[i]["red"]) - float(truth[i]["red"])) for i in test]
    assert np.mean(errors) == pytest.approx(judged["mae"], rel=1e-3)
    assert max(len(row["red"]) for row in rows) > 12  # in full, not in six digits


def test_labels_from_table_to_prediction(cli, table, features, tmp_path):
    head = tmp_path / "labels.head"
    asked = ["--target", "tags", "--target", "dark", "--C", "1,100"]
    trained = cli("train", features, "-o", head, *asked, "--json")
    assert trained.code == 0, trained.err
    document = trained.json
    names = ["tags/lush", "tags/warm", "dark"]
    assert (document["task"], document["metric"]) == ("labels", "mean_average_precision")
    assert (document["targets"], document["classes"], document["class_names"]) == (names, 3, [])
    assert document["left_out"]["unlabelled"] == 0
    assert document["test"]["mean_average_precision"] > 0.95
    judged = cli("evaluate", head, features, "--json").json
    assert {name: judged[name] for name in document["test"]} == document["test"]
    rows = [json.loads(line) for line in cli(
        "predict", head, table, "-q", "--format", "jsonl").out.splitlines()]  # fmt: skip
    for row in rows:
        held = [name.removeprefix("tags/") for name in names if row["values"][name] > 0.5]
        assert row["label"] == ("|".join(held) or "|")  # an empty cell would be no value
    assert "|" in [row["label"] for row in rows]
    truth = rows_of(table.read_text())
    right = [
        ("warm" in row["label"]) == ("warm" in t["tags"])
        for row, t in zip(rows, truth, strict=True)
    ]
    assert np.mean(right) > 0.9
    flat = rows_of(cli("predict", head, table, "-q").out)
    assert list(flat[0])[4:] == names
    assert float(flat[3]["tags/warm"]) == rows[3]["values"]["tags/warm"]


def test_tables_on_the_terminal(cli, features, tmp_path):
    head = tmp_path / "a.head"
    shown = cli("train", features, "-o", head, "--target", "tags", "--C", "1,100").out
    assert "2 labels" in shown
    assert "mAP" in shown
    assert "test mAP" in shown
    shown = cli("evaluate", head, features).out
    assert "average precision" in shown
    assert "tags/warm" in shown
    assert "labels    2: tags/lush, tags/warm" in cli("info", head).out
    assert "targets   red, tags/lush, tags/warm, dark" in cli("info", features).out
    again = ("--target", "red", "--head", "ridge", "--overwrite")
    shown = cli("train", features, "-o", head, *again).out
    assert "test R2" in shown
    assert "rmse" in cli("evaluate", head, features).out
    assert cli("export", head, "-o", tmp_path / "a.onnx").code == 0


def test_a_bad_image_has_no_values(cli, table, features, tmp_path):
    head = tmp_path / "red.head"
    assert cli("train", features, "-o", head, "--head", "ridge", "--target", "red").code == 0
    (tmp_path / "images" / "3.png").write_bytes(b"no image")
    rows = rows_of(cli("predict", head, table, "-q").out)
    assert (rows[3]["red"], rows[3]["error"][:12]) == ("", "not an image")
    assert rows[4]["red"] != ""


def test_holdout_is_the_same_in_evaluate(cli, table, tmp_path):
    text = table.read_text().replace(",train,", ",,").replace(",test,", ",,")
    table.write_text(text)
    assert cli("extract", table, "-o", tmp_path / "g.h5", *ALL, "-q").code == 0
    for asked in (["--head", "ridge", "--target", "red"], ["--target", "tags"]):
        head = tmp_path / f"{asked[-1]}.head"
        trained = cli(
            "train", tmp_path / "g.h5", "-o", head, *asked, "--holdout", "0.3", "--json"
        ).json
        judged = cli("evaluate", head, tmp_path / "g.h5", "--json").json
        assert judged["split"] == "holdout"
        assert judged["rows"] == trained["test"]["rows"]
        assert {name: judged[name] for name in trained["test"]} == trained["test"]


def test_a_holdout_is_of_the_targets_it_was_made_with(cli, table, tmp_path):
    lines = table.read_text().replace(",train,", ",,").replace(",test,", ",,").splitlines()
    table.write_text("\n".join(lines))
    assert cli("extract", table, "-o", tmp_path / "g.h5", *ALL, "-q").code == 0
    head = tmp_path / "h.head"
    asked = ["--head", "ridge", "--target", "red", "--holdout", "0.3"]
    assert cli("train", tmp_path / "g.h5", "-o", head, *asked).code == 0
    lines[9] = ",".join([*lines[9].split(",")[:3], "", *lines[9].split(",")[4:]])
    table.write_text("\n".join(lines))
    assert cli("extract", table, "-o", tmp_path / "h.h5", *ALL, "-q").code == 0
    judged = cli("evaluate", head, tmp_path / "h.h5", "--json")
    # 40 of the 58 with a value were trained on.
    assert (judged.json["split"], judged.json["rows"]) == ("all", 18)
    assert judged.json["trained_rows_skipped"] == 40
    assert "other targets than in training: no hold-out is used" in judged.err


def columns_of(table, **changed):
    """Write the table again with some columns made by functions of the row's number and cells."""
    head, *lines = [line.split(",") for line in table.read_text().splitlines()]
    for name, value in changed.items():
        place = head.index(name)
        for i, line in enumerate(lines):
            line[place] = value(i, dict(zip(head, line, strict=True)))
    table.write_text("\n".join(",".join(line) for line in [head, *lines]) + "\n")


def test_wrong_labels_in_the_test_are_seen_before_the_fit(cli, table, tmp_path, monkeypatch):
    columns_of(table, dark=lambda i, row: "2" if i == 4 else row["dark"])
    assert cli("extract", table, "-o", tmp_path / "g.h5", *ALL, "-q").code == 0
    monkeypatch.setattr("bottleneck.heads.select", None)
    result = cli("train", tmp_path / "g.h5", "-o", tmp_path / "x.head", "--target", "dark")
    assert result.code == 2
    assert "got 2 in target 'dark' of 'images/4.png', a row of the test" in result.err


def test_a_head_is_kept_when_judging_it_fails(cli, features, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise HeadError("no judgement")

    monkeypatch.setattr("bottleneck.judge.judge_targets", fails)
    head = tmp_path / "red.head"
    result = cli("train", features, "-o", head, "--target", "red", "--head", "ridge")
    assert (result.code, Head.load(head).classes) == (1, ("red",))


def test_rows_that_lack_a_label_left_out_are_judged_as_in_evaluate(cli, table, tmp_path):
    columns_of(
        table, dark=lambda i, row: "" if i == 8 else str(int(row["split"] == "test" and i > 30))
    )
    assert cli("extract", table, "-o", tmp_path / "g.h5", *ALL, "-q").code == 0
    head = tmp_path / "a.head"
    asked = ["--target", "tags", "--target", "dark", "--C", "1", "--json"]
    trained = cli("train", tmp_path / "g.h5", "-o", head, *asked)
    assert "left out that hold in no training row, or in all: dark" in trained.err
    judged = cli("evaluate", head, tmp_path / "g.h5", "--json").json
    assert (trained.json["test"]["rows"], judged["rows"]) == (15, 15)


def test_a_target_named_as_a_column_that_is_there_anyway(cli, table, tmp_path):
    columns_of(table, label=lambda i, row: row["red"])
    asked = ["--target", "label", "--target", "tags"]
    assert cli("extract", table, "-o", tmp_path / "g.h5", *asked, "-q").code == 0
    assert cli("export", tmp_path / "g.h5", "-o", tmp_path / "x.npy").code == 0
    header = (tmp_path / "x.csv").read_text().splitlines()[0]
    assert header == "path,label,split,group,target/label,tags/lush,tags/warm"
    head = tmp_path / "a.head"
    asked = ["--head", "RIDGE", "--target", "label"]
    assert cli("train", tmp_path / "g.h5", "-o", head, *asked).code == 0
    rows = rows_of(cli("predict", head, table, "-q").out)
    assert list(rows[0]) == ["key", "label", "probability", "error", "target/label"]
    assert float(rows[0]["target/label"]) == pytest.approx(
        float(rows_of(table.read_text())[0]["red"]), abs=20
    )


def test_labels_of_several_lists_keep_their_lists_name():
    assert label_names(["tags/cat", "tags/dog", "dark"]) == ["cat", "dog", "dark"]
    several = ["seen/cat", "heard/cat", "dark"]
    assert label_names(several) == several
    assert label_names(["tags/dark", "dark"]) == ["tags/dark", "dark"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "red"], "labels of 0 and 1 for the head logreg"),
        (["--target", "green"], "has no target 'green'"),
        (
            ["--target", "tags", "--head", "svm"],
            "expected a head of labels",
        ),
        (
            ["--target", "tags", "--head", "sklearn.svm.SVC"],
            "expected a head of labels",
        ),
        (["--target", "tags", "--nested"], "expected no --nested with --target"),
        (["--target", "tags", "--screen"], "expected no --screen with --target"),
        (["--target", "tags", "--calibrate"], "expected no --calibrate with --target"),
        (["--target", "tags", "--set", "a=1"], "expected no --set for the head logreg"),
    ],
)
def test_wrong_combinations(cli, features, tmp_path, options, message):
    result = cli("train", features, "-o", tmp_path / "x.head", *options)
    assert result.code in (1, 2)
    assert message in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "x.head").exists()


def test_a_file_without_the_targets_cannot_judge(cli, table, features, tmp_path):
    head = tmp_path / "a.head"
    cli("train", features, "-o", head, "--target", "dark", "--C", "1")
    assert cli("extract", table, "-o", tmp_path / "plain.h5", "-q").code == 0
    result = cli("evaluate", head, tmp_path / "plain.h5")
    assert result.code == 2
    assert "plain.h5 has no target 'dark'" in result.err


def test_extraction_goes_on_with_its_targets_only(cli, table, features):
    before = features.read_bytes()
    assert cli("extract", table, "-o", features, *ALL).code == 0
    assert cli("extract", table, "-o", features).code == 0  # without --target: those it has
    refused = cli("extract", table, "-o", features, "--target", "dark")
    assert refused.code == 1
    assert "was made with targets red, tags, dark (fingerprint" in refused.err
    lines = table.read_text().splitlines()
    lines[3] = lines[3][:-1] + str(1 - int(lines[3][-1]))
    table.write_text("\n".join(lines))
    refused = cli("extract", table, "-o", features, *ALL)
    assert ": 1 values of 'dark' differ, first of 'images/2.png'" in refused.err
    assert features.read_bytes() == before


def test_features_are_taken_over_when_targets_change(cli, table, features, tmp_path):
    more = tmp_path / "more.h5"
    result = cli(
        "extract", table, "-o", more, "--target", "dark", "--reuse", features, "--json"
    ).json
    assert (result["reused"], result["ok"]) == (60, 60)
    assert FeatureStore.open(more).manifest.targets.names == ("dark",)


def test_views_share_their_images_targets(cli, table, tmp_path):
    assert cli("extract", table, "-o", tmp_path / "v.h5", *ALL, "--views", "2", "-q").code == 0
    targets = FeatureStore.open(tmp_path / "v.h5").manifest.targets
    numbers = targets.columns(["red"])[:, 0]
    assert len(numbers) == 120
    np.testing.assert_array_equal(numbers[0::2], numbers[1::2])


def test_merged_files_keep_targets_or_are_refused(cli, table, features, tmp_path):
    other = tmp_path / "other.h5"
    assert cli("extract", table, "-o", other, "--target", "dark", "-q").code == 0
    refused = cli("merge", features, other, "-o", tmp_path / "m.h5")
    assert refused.code == 1
    assert "the targets differ" in refused.err
    assert cli("merge", features, features, "-o", tmp_path / "m.h5").code == 0
    merged = FeatureStore.open(tmp_path / "m.h5")
    assert merged.targets_sha256 == FeatureStore.open(features).targets_sha256
    assert cli("verify", tmp_path / "m.h5").code == 0


def test_exported_tables_hold_the_targets(cli, table, features, tmp_path):
    assert cli("export", features, "-o", tmp_path / "x.npy").code == 0
    rows, given = rows_of((tmp_path / "x.csv").read_text()), rows_of(table.read_text())
    assert list(rows[0])[4:] == ["red", "tags/lush", "tags/warm", "dark"]
    assert rows[7]["red"] == ""
    assert [float(row["red"] or 0) for row in rows] == [float(row["red"] or 0) for row in given]
    assert [row["dark"] for row in rows] == [row["dark"] for row in given]


def test_compare_is_of_class_labels(cli, table, tmp_path):
    lines = [line.split(",") for line in table.read_text().splitlines()]
    place = lines[0].index("label")
    table.write_text(
        "\n".join(",".join(c for i, c in enumerate(one) if i != place) for one in lines)
    )
    assert cli("extract", table, "-o", tmp_path / "u.h5", *ALL, "-q").code == 0
    result = cli("compare", tmp_path / "u.h5")
    assert result.code == 1
    assert "Only class labels are compared" in result.err
