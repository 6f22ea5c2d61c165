"""Corrected labels: the same features under other names, and nothing without a word."""

import h5py
import numpy as np
import pytest

import bottleneck
from bottleneck.store import FeatureStore

pytestmark = pytest.mark.usefixtures("fake_backbone")


@pytest.fixture
def fixes(tmp_path, features):
    keys = [*FeatureStore.open(features).keys]
    labels = {keys[0]: "pink", keys[1]: "", keys[2]: keys[2].split("/")[1]}
    lines = ["path,label", *(f"{key},{label}" for key, label in labels.items())]
    (tmp_path / "fixes.csv").write_text("\n".join(lines))
    return tmp_path / "fixes.csv"


def test_labels_change_and_nothing_else(cli, features, fixes, tmp_path):
    new = tmp_path / "new.h5"
    before = features.read_bytes()
    result = cli("relabel", features, fixes, "-o", new, "--json").json
    old = FeatureStore.open(features)
    first = old.classes[old.labels[0]]
    assert (result["rows"], result["changed"], result["unchanged"]) == (60, 2, 1)
    assert {(c["before"], c["after"], c["images"]) for c in result["changes"]} == {
        (first, "pink", 1),
        (first, None, 1),
    }
    assert (result["new_classes"], result["lost_classes"]) == (["pink"], [])
    assert features.read_bytes() == before
    store = FeatureStore.open(new)
    names = [None if code < 0 else store.classes[code] for code in store.labels]
    assert names[:2] == ["pink", None]
    assert names[2:] == [old.classes[code] for code in old.labels[2:]]
    with h5py.File(features) as a, h5py.File(new) as b:
        for name in ("features/avg", "crc32/avg", "status", "digest", "manifest/split"):
            assert np.array_equal(a[name], b[name]), name
    assert not bottleneck.verify(new).bad_rows
    runs = bottleneck.info(new).to_json()["runs"]
    assert runs[0] == bottleneck.info(features).to_json()["runs"][0]
    assert (runs[-1]["relabelled"], runs[-1]["from"]) == (2, str(features))


def test_heads_see_the_new_labels_and_comparison_still_knows_the_cost(
    cli, features, fixes, tmp_path
):
    new = tmp_path / "new.h5"
    told = cli("relabel", features, fixes, "-o", new)
    assert "new classes: pink" in told.out
    trained = cli("train", new, "-o", tmp_path / "new.head", "-q", "--json").json
    assert trained["classes"] == 3  # pink is of the test split
    board = cli("compare", new, "--heads", "ridge", "--json").json["features"]
    assert board[0]["cost"]["images_per_second"] > 0


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("path,label\nno/such.png,red\n", "names 1 images that"),
        ("path,label,split\ntest/red/0.png,red,train\n", "expected the columns path and label"),
        ("path,label\ntest/red/0.png,red\ntest/red/0.png,blue\n", "test/red/0.png"),
        ("file,label\ntest/red/0.png,red\n", "column"),
        ("path\ntest/red/0.png\n", "label"),
    ],
)
def test_what_cannot_be_applied_is_refused(cli, features, tmp_path, table, said):
    (tmp_path / "fixes.csv").write_text(table)
    result = cli("relabel", features, tmp_path / "fixes.csv", "-o", tmp_path / "new.h5")
    assert result.code in (1, 2)
    assert said in result.err
    assert not (tmp_path / "new.h5").exists()


def test_a_file_is_not_relabelled_in_place(cli, features, fixes):
    before = features.read_bytes()
    assert cli("relabel", features, fixes, "-o", features).code in (1, 2)
    assert features.read_bytes() == before


def test_labels_may_only_be_taken_away(cli, features, tmp_path):
    key = FeatureStore.open(features).keys[0]
    (tmp_path / "fixes.csv").write_text(f"path,label\n{key},\n")
    result = cli("relabel", features, tmp_path / "fixes.csv", "-o", tmp_path / "new.h5", "--json")
    assert result.json["changed"] == 1
    assert FeatureStore.open(tmp_path / "new.h5").labels[0] == -1
