"""Features for other programs: what goes out comes back, with its keys."""

import csv

import numpy as np
import pytest

from bottleneck.errors import OptionError, StoreError
from bottleneck.store import FeatureStore
from bottleneck.store.export import export_arrays


@pytest.fixture
def finished(make, fill):
    """A file of which rows 2 and 5 were never computed."""

    def build(dtype="float32", **options):
        path = make(n=10, dtype=dtype, **options)
        rows = [0, 1, 3, 4, 6, 7, 8, 9]
        values, _ = fill(path, rows)
        return path, rows, values

    return build


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_npy_and_its_table_come_back(finished, tmp_path, dtype):
    path, rows, values = finished(dtype)
    result = export_arrays(path, tmp_path / "out.npy")
    assert result.rows == 8
    X = np.load(tmp_path / "out.npy")
    assert X.dtype == dtype
    np.testing.assert_array_equal(X, values["avg"])
    store = FeatureStore.open(path)
    with (tmp_path / "out.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [line["path"] for line in table] == [f"img{row}.png" for row in rows]
    assert [line["label"] for line in table] == [f"class{r % 3}" if r % 7 else "" for r in rows]
    again = FeatureStore.open(tmp_path / "out.npy", keys=str(tmp_path / "out.csv"))
    np.testing.assert_array_equal(again.features(), store.features()[rows])
    assert again.classes == store.classes
    assert np.array_equal(again.splits, store.splits[rows])


def test_a_table_of_something_else_stays(finished, tmp_path):
    path, _, _ = finished()
    (tmp_path / "out.csv").write_text("path,price\na.jpg,3\n")
    with pytest.raises(OptionError, match="no out.csv beside out.npy"):
        export_arrays(path, tmp_path / "out.npy")
    assert (tmp_path / "out.csv").read_text() == "path,price\na.jpg,3\n"
    assert not (tmp_path / "out.npy").exists()
    (tmp_path / "out.csv").unlink()
    for _ in range(2):  # its own table is written anew
        assert export_arrays(path, tmp_path / "out.npy").rows == 8


def test_parquet_comes_back(finished, tmp_path):
    from pyarrow import parquet

    path, rows, values = finished()
    export_arrays(path, tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["key", "label", "split", "group", "features"]
    X = np.stack(table["features"].to_numpy(zero_copy_only=False))
    np.testing.assert_array_equal(X, values["avg"])
    assert table["key"].to_pylist() == [f"img{row}.png" for row in rows]
    assert table["label"].to_pylist()[0] is None
    assert table["split"].to_pylist()[0] == "test"
    assert b'"backbone":"fake"' in table.schema.metadata[b"bottleneck.recipe"]


def test_parquet_of_float16(finished, tmp_path):
    from pyarrow import parquet

    path, _, values = finished("float16")
    export_arrays(path, tmp_path / "out.parquet")
    X = np.stack(parquet.read_table(tmp_path / "out.parquet")["features"].to_pylist())
    np.testing.assert_array_equal(X.astype(np.float16), values["avg"])


def test_the_index_finds_each_row_and_its_key(finished, tmp_path):
    usearch = pytest.importorskip("usearch.index")
    path, rows, values = finished()
    export_arrays(path, tmp_path / "out.usearch")
    index = usearch.Index.restore(str(tmp_path / "out.usearch"))
    assert len(index) == 8
    with (tmp_path / "out.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    for i, row in enumerate(rows):
        (match,) = index.search(values["avg"][i], 1)
        assert match.key == i
        assert match.distance == pytest.approx(0, abs=1e-5)
        assert table[int(match.key)]["path"] == f"img{row}.png"


def test_one_of_several_outputs(make, fill, tmp_path):
    path = make(n=4, dims={"a": 3, "b": 2})
    values, _ = fill(path, range(4))
    with pytest.raises(OptionError, match="several outputs"):
        export_arrays(path, tmp_path / "out.npy")
    export_arrays(path, tmp_path / "out.npy", feature="b")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), values["b"])


def test_what_is_refused(make, finished, tmp_path):
    path, _, _ = finished()
    with pytest.raises(OptionError, match="ends in .npy, .parquet, .usearch, got"):
        export_arrays(path, tmp_path / "out.txt")
    export_arrays(path, tmp_path / "out.txt", to="npy")
    assert np.load(tmp_path / "out.txt").shape == (8, 5)
    before = path.read_bytes()
    with pytest.raises(OptionError, match="also an input"):
        export_arrays(path, path, to="npy")
    assert path.read_bytes() == before
    with pytest.raises(StoreError, match="finished rows"):
        export_arrays(make(name="empty.h5"), tmp_path / "none.npy")
    assert not list(tmp_path.glob(".*.tmp"))
