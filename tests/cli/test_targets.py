"""Targets through the command line: from a table's columns to predictions, and every refusal."""

import csv
import io
import json

import numpy as np
import pytest
from fakes import write_png

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
        assert row["label"] == "|".join(held)
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
    shown = cli("train", features, "-o", head, "--target", "red", "--head", "ridge").out
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
        head = tmp_path / "h.head"
        trained = cli(
            "train", tmp_path / "g.h5", "-o", head, *asked, "--holdout", "0.3", "--json"
        ).json
        judged = cli("evaluate", head, tmp_path / "g.h5", "--json").json
        assert judged["split"] == "holdout"
        assert judged["rows"] == trained["test"]["rows"]
        assert {name: judged[name] for name in trained["test"]} == trained["test"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "red"], "labels of 0 and 1 for the head logreg"),
        (["--target", "green"], "has no target 'green'"),
        (["--target", "tags", "--head", "svm"], "expected the head logreg or ridge for --target"),
        (["--target", "tags", "--head", "sklearn.svm.SVC"], "expected the head logreg or ridge"),
        (["--target", "tags", "--nested"], "expected no --nested with --target"),
        (["--target", "tags", "--calibrate"], "expected no --calibrate with --target"),
        (["--target", "tags", "--set", "a=1"], "expected no --set with --target"),
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
