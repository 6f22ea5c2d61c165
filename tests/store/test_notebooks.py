"""Feature files in notebooks: tables, HTML, and rows for training loops of other frameworks."""

import multiprocessing
import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
from fakes import fake_recipe

from bottleneck.errors import OptionError, StoreError
from bottleneck.manifest import Manifest
from bottleneck.status import RowStatus
from bottleneck.store import FailedRow, FeatureStore, Writer, create, writer_lock
from bottleneck.store.datasets import choose_items
from bottleneck.store.export import export_compressed
from bottleneck.targets import collect

DONE = [i for i in range(20) if i not in (4, 9)]
"""Row 4 is pending, row 9 failed; see manifest_of for labels and splits."""


@pytest.fixture
def filled(make, fill):
    path = make(20, {"avg": 5})
    values, _ = fill(path, DONE)
    with writer_lock(path), Writer(path, FeatureStore.open(path).layout) as writer:
        writer.fail([FailedRow(9, "img9.png", RowStatus.EMPTY, "")])
    return FeatureStore.open(path), values["avg"]


def test_pandas_has_the_finished_rows_bit_for_bit(filled):
    store, values = filled
    table = store.to_pandas()
    assert [*table.index] == [f"img{i}.png" for i in DONE]
    assert [*table.columns] == ["label", "split", *(f"avg_{i}" for i in range(5))]
    assert table.filter(like="avg_").to_numpy().tobytes() == values.tobytes()
    labels = [f"class{i % 3}" if i % 7 else None for i in DONE]
    assert [None if value is None or value != value else value for value in table.label] == labels
    assert [*table.split] == ["train" if i % 5 else "test" for i in DONE]
    assert [*store.to_pandas("test").index] == [f"img{i}.png" for i in DONE if i % 5 == 0]


def test_polars_has_the_same(filled):
    store, values = filled
    table = store.to_polars()
    assert table["key"].to_list() == [f"img{i}.png" for i in DONE]
    assert table["label"].to_list() == [f"class{i % 3}" if i % 7 else None for i in DONE]
    for i in range(5):
        assert table[f"avg_{i}"].to_numpy().tobytes() == values[:, i].tobytes()
    assert len(store.to_polars("train")) == sum(i % 5 > 0 for i in DONE)


def test_targets_groups_and_several_outputs(tmp_path):
    columns = [
        ("price", np.array([1.5, np.nan, 3.0])),
        ("tags/garden", np.array([1, 255, 0], np.uint8)),
    ]
    plain = Manifest.build(["a", "b", "c"], groups=["x", None, "y"])
    manifest = replace(plain, targets=collect(columns, 3))
    create(
        tmp_path / "t.h5",
        manifest=manifest,
        recipe=fake_recipe(execution={"dtype": "float16"}),
        dims={"avg": 2, "max": 3},
        dtype="float16",
    )
    layout = FeatureStore.open(tmp_path / "t.h5").layout
    values = {
        "avg": np.arange(6, dtype=np.float16).reshape(3, 2),
        "max": np.arange(9, dtype=np.float16).reshape(3, 3) / 3,
    }
    with writer_lock(tmp_path / "t.h5"), Writer(tmp_path / "t.h5", layout) as writer:
        writer.write(np.arange(3), values, np.ones((3, 16), np.uint8))
    store = FeatureStore.open(tmp_path / "t.h5")
    table = store.to_polars()
    assert table["group"].to_list() == ["x", None, "y"]
    assert table["price"].to_list()[::2] == [1.5, 3.0]
    assert np.isnan(table["price"][1])
    assert table["tags/garden"].to_list() == [1, None, 0]
    assert set(table.columns) >= {"avg_0", "avg_1", "max_0", "max_1", "max_2"}
    assert store.to_pandas(output="max").filter(like="max").to_numpy().dtype == np.float16
    assert "avg_0" not in store.to_pandas(output="max")
    with pytest.raises(OptionError, match="no output named 'min'"):
        store.to_pandas(output="min")


@pytest.mark.parametrize("name", ["key", "avg_1", "group"])
def test_a_target_does_not_take_the_place_of_another_column(tmp_path, name):
    plain = Manifest.build(["a", "b"], groups=["x", "y"])
    manifest = replace(plain, targets=collect([(name, np.array([1.5, 2.5]))], 2))
    create(tmp_path / "t.h5", manifest=manifest, recipe=fake_recipe(), dims={"avg": 2})
    store = FeatureStore.open(tmp_path / "t.h5")
    for made in (store.to_pandas, store.to_polars):
        with pytest.raises(OptionError, match=f"another name for the target '{name}'"):
            made()


def test_html_says_what_the_file_is(filled):
    store, _ = filled
    made = store._repr_html_()
    for told in ("x.h5", "18 done", "1 pending", "avg (5)", "float32", "16 train", "4 test"):
        assert told in made
    for name in range(3):
        count = sum(1 for i in range(20) if i % 7 and i % 3 == name)
        assert f"<td>class{name}</td><td>{count}</td>" in made


def test_items_are_finished_rows_with_their_labels(filled):
    store, values = filled
    items = choose_items(store, "train", None, (), True)
    rows = [i for i in DONE if i % 5 and i % 7]
    assert items.rows.tolist() == rows
    assert items.y.tolist() == [i % 3 for i in rows]
    assert [items.key(i) for i in range(len(items))] == [f"img{i}.png" for i in rows]
    expected = values[[DONE.index(i) for i in rows]]
    assert items.features(np.arange(len(rows))).tobytes() == expected.tobytes()
    assert items.features([-1, 0]).tobytes() == expected[[-1, 0]].tobytes()
    blocks = [*items.blocks(4)]
    assert np.concatenate([X for _, X in blocks]).tobytes() == expected.tobytes()
    assert max(len(X) for _, X in blocks) == 4
    alone = choose_items(store, None, None, (), False)
    assert (alone.rows.tolist(), alone.y) == (DONE, None)
    with pytest.raises(OptionError, match="no targets beside"):
        choose_items(store, None, None, ["price"], False)


def test_features_without_labels_are_asked_for(make, tmp_path):
    create(
        tmp_path / "u.h5",
        manifest=Manifest.build(["a"]),
        recipe=fake_recipe(execution={"dtype": "float32"}),
        dims={"avg": 2},
        dtype="float32",
    )
    with pytest.raises(OptionError, match="rows with a label") as told:
        choose_items(FeatureStore.open(tmp_path / "u.h5"), None, None, (), True)
    assert "labels=False" in told.value.hint


def _features_of(items, positions, queue):
    read = items.features(positions).tobytes()
    queue.put((os.getpid(), read, items._process))


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("compressed", [False, True])
def test_another_process_opens_the_file_anew(filled, fill, tmp_path, start, compressed):
    store, values = filled
    if compressed:
        fill(store.path, [4])
        export_compressed(store.path, tmp_path / "small.h5", compression="gzip")
        store = FeatureStore.open(tmp_path / "small.h5")
    items = choose_items(store, None, None, (), False)
    items.features([0])  # opened here before
    context = multiprocessing.get_context(start)
    queue = context.Queue()
    worker = context.Process(target=_features_of, args=(items, [3, 1], queue))
    worker.start()
    process, found, opened_by = queue.get(timeout=60)
    worker.join(60)
    assert found == values[[3, 1]].tobytes()
    assert process == opened_by != os.getpid()


def test_a_file_that_was_replaced_is_refused(filled, make, fill, tmp_path):
    store, _ = filled
    items = choose_items(store, None, None, (), False)
    travelled = pickle.dumps(items)
    other = make(12, {"avg": 5}, name="other.h5")
    fill(other, range(12))
    shutil.move(other, store.path)
    with pytest.raises(StoreError, match="the file that was opened before"):
        pickle.loads(travelled).features([0])


@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_tensorflow_streams_the_rows(make, fill, batch_size, dtype):
    tf = pytest.importorskip("tensorflow")
    path = make(20, {"avg": 5}, dtype)
    values, _ = fill(path, DONE)
    rows = [i for i in DONE if i % 7]
    expected = values["avg"][[DONE.index(i) for i in rows]]
    data = FeatureStore.open(path).to_tf(batch_size=batch_size, keys=True)
    assert isinstance(data, tf.data.Dataset)
    assert int(data.cardinality()) == (len(rows) if batch_size is None else 3)
    parts = [[np.atleast_1d(part) for part in element] for element in data.as_numpy_iterator()]
    X = np.concatenate([np.atleast_2d(part[0]) for part in parts])
    assert X.dtype == dtype
    assert X.tobytes() == expected.tobytes()
    assert np.concatenate([part[1] for part in parts]).tolist() == [i % 3 for i in rows]
    keys = np.concatenate([part[2] for part in parts]).tolist()
    assert keys == [f"img{i}.png".encode() for i in rows]
    twice = [len([*data]) for _ in range(2)]  # it can be gone through again, as epochs do
    assert twice == [int(data.cardinality())] * 2
    alone = FeatureStore.open(path).to_tf(batch_size=batch_size, labels=False)
    assert np.concatenate([np.atleast_2d(x) for x in alone.as_numpy_iterator()]).tobytes() == (
        values["avg"].tobytes()
    )
    with pytest.raises(OptionError, match="batch_size to be at least 1"):
        FeatureStore.open(path).to_tf(batch_size=0)


def test_a_missing_framework_is_named(filled, monkeypatch):
    import sys

    for name, method, package in (
        ("torch", "to_torch", "bottleneck-features[torch]"),
        ("tensorflow", "to_tf", "pip install tensorflow"),
    ):
        module = f"bottleneck.store.{name.replace('tensorflow', 'tf')}_dataset"
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(OptionError, match="for such a data set") as told:
            getattr(filled[0], method)()
        assert package in told.value.hint
