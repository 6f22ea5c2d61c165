"""Columns of CSV and Parquet tables as targets."""

import json

import numpy as np
import pytest

from bottleneck.errors import ManifestError, OptionError
from bottleneck.sources import open_source
from bottleneck.targets import MISSING

N = MISSING


def csv_of(tmp_path, column, cells, name="images.csv"):
    path = tmp_path / name
    lines = [f'{i}.png,"{cell}"' for i, cell in enumerate(cells)]
    path.write_text("\n".join([f"path,{column}", *lines]) + "\n", encoding="utf-8")
    return str(path)


def targets_of(tmp_path, cells, asked="x", column="x"):
    return open_source([csv_of(tmp_path, column, cells)], [asked]).manifest.targets


def test_numbers(tmp_path):
    targets = targets_of(tmp_path, ["1.5", "", "-3e2", "nan", "N/A", " 4 "])
    assert targets.number_names == ("x",)
    np.testing.assert_array_equal(targets.numbers, [[1.5, np.nan, -300, np.nan, np.nan, 4]])


@pytest.mark.parametrize(
    "cells", [["1", "0", "", "1.0"], ["true", "False", "", "TRUE"]], ids=["digits", "words"]
)
def test_flags(tmp_path, cells):
    targets = targets_of(tmp_path, cells)
    assert targets.flag_names == ("x",)
    np.testing.assert_array_equal(targets.flags, [[1, 0, N, 1]])


@pytest.mark.parametrize("separator", ["|", ";", ","])
def test_lists_by_the_first_separator_that_occurs(tmp_path, separator):
    cells = ["cat", f"dog{separator} cat", "", separator, "none"]
    targets = targets_of(tmp_path, cells)
    assert targets.flag_names == ("x/cat", "x/dog", "x/none")
    np.testing.assert_array_equal(
        targets.flags, [[1, 1, N, 0, 0], [0, 1, N, 0, 0], [0, 0, N, 0, 1]]
    )


def test_a_separator_can_be_named(tmp_path):
    targets = targets_of(tmp_path, ["16 0", "5", ""], "x= ")
    assert targets.flag_names == ("x/0", "x/16", "x/5")
    np.testing.assert_array_equal(targets.flags, [[1, 0, N], [1, 0, N], [0, 1, N]])
    assert targets_of(tmp_path, ["a b|c d"], "x=|").flag_names == ("x/a b", "x/c d")


def test_a_column_with_an_equals_sign_is_itself(tmp_path):
    assert targets_of(tmp_path, ["2.5"], "a=b", column="a=b").names == ("a=b",)


@pytest.mark.parametrize(
    ("cells", "message", "hint"),
    [
        (["1.5", "2", "tall"], "expected a number in every cell, as '1.5', got 'tall'", "'x=,'"),
        (["1,5", "2,5"], "whether '1,5' is a number or a list of labels", "decimal point"),
        (["", "nan"], "expected values, found none", None),
        (["1.5", "inf"], "expected finite numbers", None),
    ],
)
def test_what_is_no_target_is_refused(tmp_path, cells, message, hint):
    with pytest.raises(ManifestError, match="images.csv, column 'x'") as refused:
        targets_of(tmp_path, cells)
    assert message in refused.value.message
    assert hint is None or hint in refused.value.hint


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["y"], "has no column 'y' for --target\nIt has: path, x"),
        (["x="], "expected a separator behind x="),
        (["x", "x=;"], "expected different columns"),
    ],
)
def test_what_cannot_be_asked_for(tmp_path, asked, message):
    with pytest.raises(OptionError, match=message):
        open_source([csv_of(tmp_path, "x", ["1.5"])], asked)


def test_a_folder_has_no_targets(photos):
    with pytest.raises(OptionError, match="expected a table for --target, got"):
        open_source([str(photos)], ["x"])


def test_several_tables_are_joined(tmp_path):
    first = csv_of(tmp_path, "x", ["cat|dog", "cat"], "a.csv")
    second = csv_of(tmp_path, "x", ["fox|", ""], "b.csv")
    targets = open_source([first, second], ["x"]).manifest.targets
    assert targets.flag_names == ("x/cat", "x/dog", "x/fox")
    np.testing.assert_array_equal(targets.flags.T, [[1, 1, 0], [1, 0, 0], [0, 0, 1], [N, N, N]])


def test_the_stamp_sees_a_changed_target(tmp_path):
    before = open_source([csv_of(tmp_path, "x", ["1.5"])], ["x"]).stamp()
    assert open_source([csv_of(tmp_path, "x", ["1.5"])], ["x"]).stamp() == before
    assert open_source([csv_of(tmp_path, "x", ["2.5"])], ["x"]).stamp() != before


@pytest.mark.parametrize("old", [False, True])
def test_parquet_columns_of_every_kind(tmp_path, old):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    item = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    names = {"words": ["a", "b"], "tags": [item] if old else {"feature": item}}
    about = {b"huggingface": json.dumps({"info": {"features": names}}).encode()}
    table = pa.table(
        {
            "path": ["a.png", "b.png", "c.png"],
            "price": pa.array([1.5, None, 3.0]),
            "sold": pa.array([True, False, None]),
            "tags": pa.array([[0, 1], [], None], pa.list_(pa.int64())),
            "words": pa.array([["up"], ["up", "down"], []]),
            "text": ["x;y", "y", "z"],
        }
    ).replace_schema_metadata(about)
    parquet.write_table(table, tmp_path / "t.parquet")
    asked = ["price", "sold", "tags", "words", "text"]
    targets = open_source([str(tmp_path / "t.parquet")], asked).manifest.targets
    assert targets.number_names == ("price",)
    np.testing.assert_array_equal(targets.numbers, [[1.5, np.nan, 3.0]])
    found = dict(zip(targets.flag_names, targets.flags.tolist(), strict=True))
    assert found == {
        "sold": [1, 0, N],
        "tags/cat": [1, 0, N],
        "tags/dog": [1, 0, N],
        "words/down": [0, 1, 0],
        "words/up": [1, 1, 0],
        "text/x": [1, 0, 0],
        "text/y": [1, 1, 0],
        "text/z": [0, 0, 1],
    }
