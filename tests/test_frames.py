"""Tables of notebooks: columns, types, missing values, and what is said where a library lacks."""

import re
import sys

import numpy as np
import pytest

from bottleneck import frames
from bottleneck.errors import OptionError


def test_rows_become_columns_and_mappings_too():
    rows = [{"a": 1, "b": {"c": 2.5, "d": {"e": "x"}}}, {"a": 2, "f": None}]
    assert frames.records_of(rows) == {
        "a": [1, 2],
        "b_c": [2.5, None],
        "b_d_e": ["x", None],
        "f": [None, None],
    }
    assert frames.records_of([]) == {}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_features_keep_their_bits(dtype, rng):
    X = rng.normal(size=(4, 3)).astype(dtype)
    X[1, 2] = np.nan
    table = frames.pandas_frame({"label": list("abca"), "avg": X}, index=list("wxyz"))
    assert [*table.columns] == ["label", "avg_0", "avg_1", "avg_2"]
    assert [*table.index] == list("wxyz")
    assert table.index.name == "key"
    assert table.iloc[:, 1:].to_numpy().dtype == dtype
    assert table.iloc[:, 1:].to_numpy().tobytes() == X.tobytes()
    other = frames.polars_frame({"label": list("abca"), "avg": X})
    assert other.columns == [*table.columns]
    assert other["label"].to_list() == list("abca")
    for i in range(3):
        assert other[f"avg_{i}"].to_numpy().tobytes() == X[:, i].tobytes()


def test_what_is_missing_is_missing():
    columns = {"label": ["a", None], "number": [1.5, None]}
    table = frames.pandas_frame(columns)
    assert table.isna().to_numpy().tolist() == [[False, False], [True, True]]
    assert frames.polars_frame(columns).null_count().row(0) == (1, 1)
    assert len(frames.pandas_frame({})) == len(frames.polars_frame({})) == 0


@pytest.mark.parametrize(
    ("library", "make"), [("pandas", frames.pandas_frame), ("polars", frames.polars_frame)]
)
def test_a_missing_library_is_named_with_its_extra(library, make, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(OptionError, match=f"expected {library}") as told:
        make({"a": [1]})
    assert f"'bottleneck-features[{library}]'" in told.value.hint


def test_html_is_safe():
    made = frames.html_table(
        "a <b>", {"x": "<script>", "left out": None}, [("<i>", "\udcff"), (1, 2)], ("<u>", "&")
    )
    assert "<script>" not in made
    assert "<i>" not in made
    assert "<u>" not in made
    assert "left out" not in made
    assert "&lt;script&gt;" in made
    made.encode()
    assert len(re.findall("<tr>", made)) == 1 + 1 + 2
    opened, closed = (
        len(re.findall(f"<{slash}(?:table|tr|td|th|div)", made)) for slash in ("", "/")
    )
    assert opened == closed
