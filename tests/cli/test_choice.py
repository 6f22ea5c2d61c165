"""Which folder or column is the class: said on the command line, in pipelines and in Python."""

import json

import numpy as np
import pytest
from fakes import write_png

import bottleneck
from bottleneck import FeatureStore

pytestmark = pytest.mark.usefixtures("fake_backbone")


@pytest.fixture
def photos(tmp_path):
    """Images of two classes, each in the folders of two years."""
    for i in range(12):
        name, level = (("dark", 20), ("light", 230))[i % 2]
        picture = np.full((9, 9, 3), level + i, np.uint8)
        write_png(tmp_path / f"photos/{2020 + i // 6}/{name}/{i}.png", picture)
    return tmp_path / "photos"


def classes(path):
    return FeatureStore.open(path).manifest.classes


def test_a_depth_on_the_command_line_in_python_and_in_a_pipeline(cli, photos, tmp_path):
    told = cli("extract", photos, "--dry-run", "--depth", 2, "--json").json
    assert told["classes"] == {"dark": 6, "light": 6}
    assert bottleneck.survey(photos, label_from="parent").classes == told["classes"]
    assert cli("extract", photos, "--dry-run", "--json").json["classes"] == {"2020": 6, "2021": 6}
    features = tmp_path / "x.h5"
    assert cli("extract", photos, "-o", features, "--depth", 2).code == 0
    assert classes(features) == ("dark", "light")
    (tmp_path / "p.toml").write_text(
        f'[[step]]\nrun = "extract"\nsources = "{photos}"\noutput = "y.h5"\nlabel_from = "parent"\n'
    )
    assert [one["action"] for one in cli("run", tmp_path / "p.toml", "--json").json] == ["ran"]
    assert classes(tmp_path / "y.h5") == ("dark", "light")
    bottleneck.extract(photos, tmp_path / "z.h5", depth=1)
    assert classes(tmp_path / "z.h5") == ("2020", "2021")


def test_another_choice_is_another_list_of_images(cli, photos, tmp_path):
    features = tmp_path / "x.h5"
    assert cli("extract", photos, "-o", features, "--depth", 2).code == 0
    again = cli("extract", photos, "-o", features)
    assert again.code == 1
    assert "the classes differ" in again.err
    assert cli("extract", photos, "-o", features, "--label-from", "parent").code == 0


def test_columns_of_a_table_are_named_to_all_that_read_it(cli, photos, tmp_path):
    table = tmp_path / "t.csv"
    lines = [f"{p.relative_to(tmp_path)},{p.parent.name}" for p in sorted(photos.rglob("*.png"))]
    table.write_text("\n".join(["where,kind", *lines]))
    refused = cli("extract", table, "-o", tmp_path / "x.h5")
    assert refused.code == 1
    assert "--path-column NAME" in refused.err
    columns = ("--path-column", "where", "--label-column", "kind")
    assert cli("extract", table, "-o", tmp_path / "x.h5", *columns).code == 0
    assert classes(tmp_path / "x.h5") == ("dark", "light")
    assert cli("train", tmp_path / "x.h5", "-o", tmp_path / "head", "--cv", 2).code == 0
    found = cli("predict", tmp_path / "head", table, "--path-column", "where", "--format", "jsonl")
    labels = {row["key"]: row["label"] for row in map(json.loads, found.out.splitlines())}
    assert labels == dict(line.split(",") for line in lines)
    wrong = cli("extract", table, "-o", tmp_path / "y.h5", "--path-column", "wher")
    assert wrong.code == 2
    assert "It has: where, kind" in wrong.err
