"""Predicting from stored features, resuming, ranks and names, with the NumPy backbone."""

import csv
import io
import json
from pathlib import Path

import fakes
import numpy as np
import pytest

from bottleneck import FeatureStore, api
from bottleneck.heads import Head

pytestmark = pytest.mark.usefixtures("fake_backbone")


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_stored_features_give_what_their_images_give(cli, head, features, colours):
    of_images = rows_of(cli("predict", head, colours, "-q").out)
    assert rows_of(cli("predict", head, features, "-q").out) == of_images
    assert len(of_images) == 60


def test_rows_that_the_head_was_trained_on_are_counted(cli, head, features, colours, tmp_path):
    trained = int((FeatureStore.open(features).splits == 1).sum())
    assert trained == 45
    assert f"trained on {trained} of the 60 images in f.h5" in cli("predict", head, features).err
    cli("extract", colours / "test", "-o", tmp_path / "g.h5", "-q")
    assert "the head was trained on" not in cli("predict", head, tmp_path / "g.h5").err


def test_stored_rows_without_features_say_why(cli, head, colours, tmp_path):
    (colours / "test/blue/0.png").write_bytes(b"")
    part = tmp_path / "part.h5"
    assert cli("extract", colours, "-o", part, "--limit", "20", "-q").code == 0
    store = FeatureStore.open(part)
    result = cli("predict", head, part, "--json", "--max-failed", "100%")
    for row, record in enumerate(result.json):
        assert record["key"] == store.keys[row]
        if store.done[row]:
            assert record["error"] is None
            assert record["label"] in ("blue", "green", "red")
        else:
            assert (record["label"], record["probability"]) == (None, None)
            failed = store.status[row] > 1
            assert record["error"] == ("empty" if failed else "pending: not extracted yet")
    assert sum(record["error"] is None for record in result.json) == int(store.done.sum())
    assert cli("predict", head, part, "-q").code == 3  # most rows are missing


def test_several_feature_files_are_told_apart_and_nothing_else_is_among_them(
    cli, head, features, colours, tmp_path
):
    cli("extract", colours / "test", "-o", tmp_path / "g.h5", "-q")
    rows = rows_of(cli("predict", head, features, tmp_path / "g.h5", "-q").out)
    assert len(rows) == 75
    assert rows[0]["key"] == "f.h5/test/blue/0.png"
    assert rows[60]["key"] == "g.h5/blue/0.png"
    mixed = cli("predict", head, features, colours)
    assert mixed.code == 2
    assert "expected feature files or images, got both" in mixed.err


def test_stored_features_of_another_recipe_are_refused(cli, head, colours, tmp_path):
    cli("extract", colours, "-o", tmp_path / "o.h5", "--resize", "squash", "-q")
    refused = cli("predict", head, tmp_path / "o.h5")
    assert refused.code == 1
    assert "image.resize.rule: crop (head), squash (features)" in refused.err


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json"])
def test_a_stopped_prediction_keeps_what_is_done(cli, head, colours, tmp_path, monkeypatch, ending):
    whole, file = tmp_path / f"whole.{ending}", tmp_path / f"rows.{ending}"
    (colours / "test/blue/4.png").write_bytes(b"")
    small = ("--batch-size", "4", "--workers", "1", "-q")
    cli("predict", head, colours, "-o", whole, *small)
    compute, seen = fakes.MeanBackbone.__call__, []

    def stopping(self, batch):
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(len(batch))
        return compute(self, batch)

    monkeypatch.setattr(fakes.MeanBackbone, "__call__", stopping)
    stopped = cli("predict", head, colours, "-o", file, *small)
    assert stopped.code == 130
    assert not file.exists()
    part = tmp_path / f"{file.name}.part"
    done = len(part.read_bytes().splitlines()) - 1
    assert 1 < done < 60  # the bad image among them
    assert f"{done} rows are kept in {part.name}" in stopped.err
    part.write_bytes(part.read_bytes() + b'{"key": "torn')  # as a power cut leaves it
    computed = []

    def counting(self, batch):
        computed.append(len(batch))
        return compute(self, batch)

    monkeypatch.setattr(fakes.MeanBackbone, "__call__", counting)
    assert cli("predict", head, colours, "-o", file, *small).code == 0
    assert sum(computed) == 60 - done
    assert file.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in tmp_path.glob("rows*")) == [file.name]


def test_a_part_of_another_prediction_is_started_over(cli, head, colours, tmp_path):
    file = tmp_path / "rows.csv"
    part = tmp_path / "rows.csv.part"
    part.write_text('{"identity": "of something else"}\n{"key": "a", "error": null}\n')
    result = cli("predict", head, colours, "-o", file)
    assert "rows.csv.part is of another prediction: started over" in result.err
    assert len(rows_of(file.read_text())) == 60
    assert not part.exists()


def test_top_k_ranks_the_classes_by_probability(cli, head, features):
    loaded, store = Head.load(head), FeatureStore.open(features)
    truth = loaded.predict_proba(np.asarray(store.features()[:]))
    order = np.argsort(-truth, axis=1)
    ranked = cli("predict", head, features, "--top-k", "2", "--json").json
    table = rows_of(cli("predict", head, features, "--top-k", "2", "-q").out)
    assert [*table[0]] == ["key", "label", "probability", "error", "label_2", "probability_2"]
    for i, (record, row) in enumerate(zip(ranked, table, strict=True)):
        names = [loaded.classes[c] for c in order[i, :2]]
        assert [one["label"] for one in record["top"]] == names == [row["label"], row["label_2"]]
        values = [one["probability"] for one in record["top"]]
        assert values == pytest.approx(truth[i, order[i, :2]], abs=1e-6)
        assert values == [float(row["probability"]), float(row["probability_2"])]
    everything = rows_of(cli("predict", head, features, "--top-k", "all", "-q").out)
    assert [*everything[0]][4:] == ["blue", "green", "red"]
    found = [[float(row[name]) for name in loaded.classes] for row in everything]
    np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-9)
    more = rows_of(cli("predict", head, features, "--top-k", "9", "-q").out)
    assert [*more[0]][-1] == "probability_3"


def test_heads_without_probabilities_rank_by_scores(cli, features, tmp_path):
    ridge = tmp_path / "ridge.head"
    cli("train", features, "-o", ridge, "--head", "ridge", "-q")
    loaded, store = Head.load(ridge), FeatureStore.open(features)
    best = np.argsort(-loaded.scores(np.asarray(store.features()[:])), axis=1)
    ranked = cli("predict", ridge, features, "--top-k", "3", "--json").json
    for record, order in zip(ranked, best, strict=True):
        assert [one["label"] for one in record["top"]] == [loaded.classes[c] for c in order]
        assert {one["probability"] for one in record["top"]} == {None}
    refused = cli("predict", ridge, features, "--top-k", "all")
    assert refused.code == 1
    assert "--calibrate" in refused.err


def test_full_paths_open_from_everywhere(cli, head, colours, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = cli("predict", head, "colours/test", "--full-paths", "--json").json
    monkeypatch.chdir("/")
    paths = [Path(record["key"]) for record in records]
    assert paths == sorted((colours / "test").rglob("*.png"), key=lambda p: (
        p.parent.name, int(p.stem)))  # fmt: skip
    assert all(path.is_absolute() and path.is_file() for path in paths)


def test_python_predicts_from_stored_features_too(head, features):
    found = api.predict(head, features, top_k=1)
    assert found.document == {
        "output": None, "rows": 60, "already_done": 0, "failed": 0, "first_of_several": 0,
        "too_many_failed": False,
    }  # fmt: skip
    assert found.records[0]["top"][0]["label"] == found.records[0]["label"]
    assert json.loads(json.dumps(found.records)) == found.records


def test_a_pipeline_predicts_from_the_features_it_made(cli, colours, tmp_path):
    (tmp_path / "p.toml").write_text(
        '[[step]]\nrun = "extract"\nsources = "colours"\noutput = "f.h5"\n'
        '[[step]]\nrun = "train"\nfeatures = "f.h5"\noutput = "h.head"\n'
        '[[step]]\nrun = "predict"\nhead = "h.head"\nsources = "f.h5"\noutput = "l.csv"\n'
    )
    ran = cli("run", tmp_path / "p.toml", "--json").json
    assert [one["action"] for one in ran] == ["ran"] * 3
    assert len(rows_of((tmp_path / "l.csv").read_text())) == 60
    again = cli("run", tmp_path / "p.toml", "--json").json
    assert [one["action"] for one in again] == ["skipped"] * 3


def test_files_of_which_only_the_first_frame_was_used_are_counted(cli, head, tmp_path):
    from PIL import Image

    folder = tmp_path / "new"
    folder.mkdir()
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue", "green")]
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "b.tif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "c.png")
    shown = cli("predict", head, folder)
    assert len(rows_of(shown.out)) == 3
    assert "2 of the images are the first page or frame of a file that has more" in shown.err
    assert api.predict(head, folder).to_json()["first_of_several"] == 2
    assert "first page" not in cli("predict", head, folder / "c.png").err
