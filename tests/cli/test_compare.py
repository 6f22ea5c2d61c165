"""``bottleneck compare``, ``export`` and ``neighbors`` as commands and steps."""

import base64
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bottleneck import FeatureStore
from bottleneck.comparison.alignment import align
from bottleneck.comparison.take import choose, train_command
from bottleneck.store.runs import read_runs


@pytest.fixture
def two(cli, fake_backbone, colours, tmp_path):
    """The same images at two sizes, extracted by the command."""
    for size in (8, 16):
        done = cli("extract", colours, "-o", tmp_path / f"s{size}.h5", "--size", size, "-q")
        assert done.code == 0, done.err
    return tmp_path / "s8.h5", tmp_path / "s16.h5"


def column(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def test_the_table_the_page_and_the_json_agree(cli, two, colours, tmp_path):
    page = tmp_path / "report.html"
    options = ("--heads", "ridge,knn", "--map", "pca")
    shown = cli("compare", *two, *options, "-o", page)
    assert shown.code == 0, shown.err
    assert "60 of 60 images in 3 classes" in shown.out
    assert "45 to learn from, 15 to judge by: test split" in shown.out
    for word in ("s8", "s16", "ridge", "knn", "images/s", f"wrote {page}"):
        assert word in shown.out
    assert "s8: ridge (1 of 4)" in shown.err
    assert "s16: knn (4 of 4, about " in shown.err
    document = cli("compare", *two, *options, "--json", "-q").json
    assert [len(document[name]) for name in ("leaderboard", "features", "curves")] == [4, 2, 2]
    assert document["page"] is None
    best = document["leaderboard"][0]
    assert f"{100 * best['accuracy']:.1f}%" in shown.out
    text = page.read_text()
    embedded = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    same = ("accuracy", "intervals", "versus_best", "best")
    for ours, theirs in zip(document["leaderboard"], embedded["leaderboard"], strict=True):
        assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    for name in ("data", "curves", "take"):
        assert document[name] == embedded[name]
    keys = [
        embedded["images"]["folders"][folder] + name
        for folder, name in zip(
            column(embedded["images"]["folder"], "<u4"), embedded["images"]["names"], strict=True
        )
    ]
    assert len(keys) == 60
    for name in ("mistakes", "label_errors"):
        ours = document["leaderboard"][0][name] if name == "mistakes" else document[name]
        theirs = embedded["leaderboard"][0][name] if name == "mistakes" else embedded[name]
        assert [row["image"] for row in ours["rows"]] == [
            keys[row["image"]] for row in theirs["rows"]
        ]
    ours, theirs = document["duplicates"], embedded["duplicates"]
    assert [one["images"] for one in ours["sets"]] == [
        [keys[i] for i in one["images"]] for one in theirs["sets"]
    ]
    shown = [keys[i] for i in column(embedded["map"]["images"], "<u4")]
    assert shown == document["map"]["images"]
    points = column(embedded["map"]["maps"][0]["points"], "<u2").reshape(-1, 2) / 65535
    assert points == pytest.approx(np.array(document["map"]["maps"][0]["points"]), abs=2e-5)
    cells = column(embedded["leaderboard"][0]["confusion"]["cells"], "<u4").reshape(-1, 3)
    confusion = np.zeros((3, 3), int)
    confusion[cells[:, 0], cells[:, 1]] = cells[:, 2]
    assert confusion.tolist() == best["confusion"]
    # Extraction wrote down where the images are, so that there are thumbnails.
    assert embedded["thumbnails"]["side"] == 64
    assert sorted(embedded["thumbnails"]["places"].values()) == [*range(60)]
    assert len(embedded["previews"]) == 60
    assert embedded["images"]["roots"] == [f"{colours}/"]


def test_the_head_to_take_is_saved_and_made_again_by_its_command(cli, two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = cli("compare", *two, "--heads", "knn,logreg,ridge,lda", "--map", "pca", "-q", "--json",
                "--save-best", "best.head").json  # fmt: skip
    take = shown["take"]
    entry = shown["leaderboard"][take["entry"]]
    assert entry["versus_best"] is None or not entry["versus_best"]["distinguishable"]
    tied = [
        line
        for line in shown["leaderboard"]
        if line["versus_best"] is None or not line["versus_best"]["distinguishable"]
    ]
    assert take["candidates"] == len(tied)
    assert take["value"] == min(line["costs"][take["cost"]] for line in tied)
    assert shown["saved"] == "best.head"
    store = shown["features"][entry["features"]]["file"]
    judged = cli("evaluate", "best.head", store, "--json").json
    assert judged["accuracy"] == entry["accuracy"]
    assert judged["confusion"] == entry["confusion"]
    train = shlex.split(take["train"])
    assert train[:2] == ["bottleneck", "train"]
    again = cli(*train[1:], "--json").json
    assert again["test"]["accuracy"] == entry["accuracy"]
    assert again["baseline"]["accuracy"] == shown["data"]["baseline"]["accuracy"] == 1 / 3
    assert take["extract"] is None  # the backbone of this test is in no catalogue
    for entry in shown["leaderboard"]:  # every kind of head is made again
        command = train_command(align([store]).features[0], entry["head"], entry["best"], seed=0)
        again = cli(*shlex.split(command)[1:], "--overwrite", "--json").json
        assert again["best"] == entry["best"]


def test_the_cheapest_of_those_that_cannot_be_told_apart():
    def line(features, distinguishable, milliseconds, parameters=5):
        return {
            "features": features,
            "head": "ridge",
            "best": {"C": 1.0},
            "versus_best": None
            if distinguishable is None
            else {"distinguishable": distinguishable},
            "costs": {
                "milliseconds_per_image": milliseconds, "parameters": parameters, "length": 7,
            },
        }  # fmt: skip

    def taken(board, *machines):
        costs = [SimpleNamespace(machine=one, device="cpu") for one in machines]
        store = SimpleNamespace(
            recipe=SimpleNamespace(identity={}, execution={}),
            path=Path("a.h5"),
            location="a.h5",
            outputs=["avg"],
        )
        features = [SimpleNamespace(store=store, output="avg") for _ in machines]
        found = choose(board, features, costs, 0)
        return found["entry"], found["cost"], found["value"]

    board = [line(0, None, 9.0, 30), line(1, False, 4.0, 40), line(2, True, 1.0, 1)]
    assert taken(board, "a", "a", "a") == (1, "milliseconds_per_image", 4.0)
    assert taken(board, "a", "b", "a") == (0, "parameters", 30)  # rates of two machines
    board[0]["costs"]["milliseconds_per_image"] = None
    assert taken(board, "a", "a", "a") == (0, "parameters", 30)
    board[1]["costs"]["parameters"] = None
    assert taken(board, "a", "a", "a") == (0, "length", 7)


def test_images_of_a_table_take_no_part(cli, two, tmp_path):
    table = tmp_path / "fixes.csv"
    table.write_text(
        "path,label,was\ntrain/red/1.png,,red\ntrain/red/2.png,red,red\ntest/red/0.png,blue,red\n"
    )
    document = cli("compare", *two, "--heads", "ridge", "--map", "pca", "--exclude", table,
                   "--json", "-q").json  # fmt: skip
    assert document["data"]["left_out"]["excluded"] == 2  # the third is as the table says
    assert (document["data"]["train"], document["data"]["judged"]) == (44, 14)
    assert f"--exclude {table}" in document["command"]
    trained = cli("train", two[0], "-o", tmp_path / "h", "--exclude", table, "--json", "-q").json
    assert (trained["rows"], trained["test"]["rows"]) == (44, 14)
    assert trained["left_out"]["excluded"] == 1
    judged = cli("evaluate", tmp_path / "h", two[0], "--exclude", table, "--json").json
    assert (judged["rows"], judged["excluded_rows_skipped"]) == (14, 1)
    table.write_text("path\ntrain/red/1.png\ntrain/red/2.png\n")  # a list is left out whole
    trained = cli("train", two[0], "-o", tmp_path / "i", "--exclude", table, "--json", "-q").json
    assert trained["left_out"]["excluded"] == 2
    table.write_text("path,label,was\ntrain/red/1.png,,blue\n")
    refused = cli("train", two[0], "-o", tmp_path / "j", "--exclude", table)
    assert refused.code == 1
    assert "was 'blue' when it was corrected, and is 'red' there" in refused.err


def test_extraction_is_logged_beside_the_file(cli, two, colours):
    cli("extract", colours, "-o", two[0], "--size", 8, "-q")  # nothing to do: nothing to log
    (run,) = read_runs(two[0])
    assert run["images"] == 60
    assert run["images_per_second"] == pytest.approx(60 / run["seconds"], rel=0.05)
    assert run["sources"] == [str(colours)]
    assert run["machine"]["cores"] >= 1


def test_files_of_other_images_are_refused(cli, two, colours, tmp_path):
    (colours / "train" / "red" / "1.png").unlink()
    cli("extract", colours, "-o", tmp_path / "less.h5", "-q")
    refused = cli("compare", two[0], tmp_path / "less.h5")
    assert refused.code == 1
    assert "list different images: 1 images only in" in refused.err
    assert "'train/red/1.png'" in refused.err


def test_wrong_use(cli, two):
    assert cli("compare", two[0], "--heads", "forest").code == 2
    assert cli("compare", two[0], two[0]).code == 2
    assert cli("compare").code == 2
    assert cli("export", two[0], "-o", "x.txt").code == 2
    refused = cli("compare", two[0], "-o", two[1])
    assert refused.code == 2
    assert "is a feature file" in refused.err


def test_compare_as_a_step_runs_again_only_when_a_file_changed(cli, two, tmp_path):
    (tmp_path / "p.toml").write_text(
        '[[step]]\nrun = "compare"\nname = "page"\nfeatures = ["s8.h5", "s16.h5"]\n'
        'images = ["colours"]\noutput = "report.html"\nheads = "ridge"\nmap = "pca"\n'
    )
    first = cli("run", tmp_path / "p.toml", "-q")
    assert "page: ran (not made yet): best s" in first.out
    assert "skipped (up to date)" in cli("run", tmp_path / "p.toml", "-q").out
    two[1].touch()
    assert "page: ran (inputs changed)" in cli("run", tmp_path / "p.toml", "-q").out
    two[1].unlink()
    missing = cli("run", tmp_path / "p.toml", "-q")
    assert missing.code == 1
    assert "step 'page': cannot read features = " in missing.err
    assert "s16.h5" in missing.err


def test_a_step_waits_for_all_files_it_reads(cli, fake_backbone, colours, tmp_path):
    (tmp_path / "p.toml").write_text(
        "".join(
            f'[[step]]\nrun = "extract"\nname = "e{size}"\nsources = ["colours"]\n'
            f'output = "s{size}.h5"\nsize = {size}\n'
            for size in (8, 16)
        )
        + '[[step]]\nrun = "compare"\nname = "page"\nfeatures = ["s8.h5", "s16.h5"]\n'
        'output = "report.html"\nheads = "ridge"\nmap = "pca"\n'
    )
    dry = cli("run", tmp_path / "p.toml", "--dry-run").out
    assert "page: would run (not made yet)" in dry
    assert cli("run", tmp_path / "p.toml", "-q").code == 0
    text = (tmp_path / "p.toml").read_text().replace("size = 16", "size = 16\nbatch_size = 7")
    (tmp_path / "p.toml").write_text(text)
    again = cli("run", tmp_path / "p.toml", "-q").out
    assert "e8: skipped" in again
    assert "e16: ran (options changed)" in again
    assert re.search(r"page: ran \(\S*s16.h5 is rebuilt\)", again)


def test_export_and_neighbors(cli, two, colours, tmp_path, monkeypatch):
    from bottleneck import extraction as engine

    monkeypatch.setattr("bottleneck.comparison.neighbors.rebuild_embedder", engine.rebuild_embedder)
    done = cli("export", two[0], "-o", tmp_path / "out.npy")
    assert done.code == 0, done.err
    assert "60 rows" in done.out
    assert np.load(tmp_path / "out.npy").shape == (60, 3)
    image = colours / "test" / "green" / "4.png"
    found = cli("neighbors", two[0], image, "-k", "3", "--json").json
    assert [one["label"] for one in found] == ["green"] * 3
    assert found[0] == {
        "key": "test/green/4.png",
        "label": "green",
        "split": "test",
        "similarity": pytest.approx(1, abs=1e-6),
    }
    assert "test/green/4.png" in cli("neighbors", two[0], image).out


def test_the_images_of_a_table_are_found_by_its_column(cli, two, colours, tmp_path):
    keys = FeatureStore.open(two[0]).keys
    table = colours / "list.csv"
    table.write_text("where,other\n" + "".join(f"{key},{i}\n" for i, key in enumerate(keys)))
    quick = ("--heads", "ridge", "--map", "pca", "-q", "-o", tmp_path / "r.html")
    named = cli("compare", *two, *quick, "--images", table, "--path-column", "where", "--json")
    assert named.json["page"]["thumbnails"] == 60
    (tmp_path / "r.html").unlink()
    without = cli("compare", *two, *quick, "--path-column", "where")
    assert without.code == 2
    assert "--images" in without.err
