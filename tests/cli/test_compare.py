"""``bottleneck compare``, ``export`` and ``neighbors`` as commands and steps."""

import json
import re

import numpy as np
import pytest

from bottleneck.store.runs import read_runs


@pytest.fixture
def two(cli, fake_backbone, colours, tmp_path):
    """The same images at two sizes, extracted by the command."""
    for size in (8, 16):
        done = cli("extract", colours, "-o", tmp_path / f"s{size}.h5", "--size", size, "-q")
        assert done.code == 0, done.err
    return tmp_path / "s8.h5", tmp_path / "s16.h5"


def test_the_table_the_page_and_the_json_agree(cli, two, tmp_path):
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
    same = ("accuracy", "intervals", "confusion", "versus_best", "best", "cv")
    for ours, theirs in zip(document["leaderboard"], embedded["leaderboard"], strict=True):
        assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    for name in ("duplicates", "label_errors", "map", "data", "curves"):
        assert document[name] == embedded[name]
    # Extraction wrote down where the images are, so that there are thumbnails.
    assert embedded["thumbnails"]["side"] == 64
    assert all(image["thumb"] >= 0 for image in embedded["images"].values())


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
