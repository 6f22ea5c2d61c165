"""Features in the formats of other programs give what the feature file they come from gives."""

import csv
import re

import h5py
import numpy as np
import pytest
from blobs import CLASSES, write_blobs

import bottleneck
from bottleneck.errors import BottleneckError, StoreError
from bottleneck.store import FeatureStore

FORMATS = ("npy", "parquet", "csv", "npz", "h5", "wide.parquet")


def columns_of(store, rows):
    manifest = store.manifest
    return {
        "path": [store.keys[int(row)] for row in rows],
        "label": [store.classes[code] if code >= 0 else "" for code in store.labels[rows]],
        "split": [("", "train", "val", "test")[code] for code in store.splits[rows]],
        "group": [
            manifest.group_names[int(code)] if code >= 0 else "" for code in manifest.groups[rows]
        ],
    }


def write_as(kind, own, path):
    """Write the finished rows of a feature file as another program would."""
    store = FeatureStore.open(own)
    rows = np.flatnonzero(store.done)
    X, columns = store.features()[rows], columns_of(store, rows)
    names = [f"f{i}" for i in range(X.shape[1])]
    if kind in ("npy", "parquet"):
        bottleneck.export(own, output=path)
    elif kind == "csv":
        with path.open("w", newline="") as stream:
            lines = csv.writer(stream)
            lines.writerow([*columns, *names])
            lines.writerows(
                [*cells, *map(repr, map(float, x))]
                for *cells, x in zip(*columns.values(), X, strict=True)
            )
    elif kind == "npz":
        np.savez(path, features=X, **{name: np.array(v) for name, v in columns.items()})
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["feats"] = X
            for name, values in columns.items():
                file[f"{name}s"] = np.array(values, h5py.string_dtype())
    else:
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        # Numbers in the order of text, as some programs sort them.
        wide = {name: X[:, names.index(name)] for name in sorted(names)}
        parquet.write_table(pa.table(columns | wide), path)


@pytest.fixture
def own(tmp_path):
    """A feature file with all that a row can have: labels, splits, groups, a failure."""
    n = 240
    labels = [CLASSES[i % 6] if i % 40 else None for i in range(n)]
    return write_blobs(
        tmp_path,
        "own.h5",
        noise=4.0,
        labels=labels,
        groups=[f"g{i // 3}" for i in range(n)],
        failed=[5, 77],
        dims={"avg": 12},
    )


def results(path, tmp_path):
    """What train, evaluate and compare say of features, without what they cost and are called."""
    head = tmp_path / f"{path.name}.head"
    document = bottleneck.train(path, output=head).to_json()
    judged = bottleneck.evaluate(head, path).to_json()
    compared = bottleneck.compare([path], heads="logreg,knn", map="pca").to_json()
    return {
        "train": {name: document[name] for name in ("best", "cv", "test", "rows", "class_names")},
        "evaluate": {
            name: judged[name] for name in ("accuracy", "confusion", "log_loss", "intervals")
        },
        "compare": [
            {
                name: line[name]
                for name in ("head", "best", "accuracy", "intervals", "versus_best", "confusion")
            }
            for line in compared["leaderboard"]
        ],
    }


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_gives_the_results_of_the_file_it_comes_from(own, tmp_path, kind):
    if "parquet" in kind:
        pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    path = tmp_path / f"theirs.{kind}"
    write_as(kind, own, path)
    ours, theirs = FeatureStore.open(own), FeatureStore.open(path)
    done = ours.done
    assert np.array_equal(theirs.features()[:], ours.features()[done])
    assert theirs.dtype == np.float32
    for name in ("labels", "splits"):
        assert np.array_equal(getattr(theirs, name), getattr(ours, name)[done])
    assert list(theirs.keys) == [ours.keys[int(row)] for row in np.flatnonzero(done)]
    groups = columns_of(theirs, np.arange(len(theirs)))["group"]
    assert groups == columns_of(ours, np.flatnonzero(done))["group"]
    assert results(path, tmp_path) == results(own, tmp_path)


def test_targets_come_back(own, tmp_path):
    store = FeatureStore.open(own)
    n = len(store)
    X, key = store.features()[:], [store.keys[row] for row in range(n)]
    size = np.arange(n) % 7 + X[:, 0]
    size[3] = np.nan
    table = {"path": key, "size": size, "tags/big": size > 3, "note": ["text"] * n}
    np.save(tmp_path / "a.npy", X)
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        lines = csv.writer(stream, delimiter=";")
        lines.writerow(table)
        for row in range(n):
            cells = [column[row] for column in table.values()]
            cells[1] = "" if np.isnan(cells[1]) else cells[1]
            lines.writerow([*cells[:2], int(cells[2]), cells[3]])
    np.savez(tmp_path / "b.npz", X=X, **{name: np.array(v) for name, v in table.items()})
    for name in ("a.npy", "b.npz"):
        found = FeatureStore.open(tmp_path / name)
        targets = found.manifest.targets
        assert (targets.number_names, targets.flag_names) == (("size",), ("tags/big",))
        np.testing.assert_allclose(targets.numbers[0], size)
        assert np.array_equal(targets.flags[0], size > 3)
        head = tmp_path / f"{name}.head"
        made = bottleneck.train(tmp_path / name, output=head, targets="size", head="ridge")
        assert made.to_json()["rows"] == n - 1
        assert bottleneck.evaluate(head, tmp_path / name).to_json()["rows"] == n - 1


def test_targets_of_an_export_come_back(tmp_path):
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(
        pa.table(
            {
                "key": ["a", "b", "c"],
                "features": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2)),
                "age": pa.array([1.0, None, 0.0]),
                "target/label": pa.array([1, 0, None], pa.uint8()),
            }
        ),
        tmp_path / "x.parquet",
    )
    targets = FeatureStore.open(tmp_path / "x.parquet").manifest.targets
    assert (targets.number_names, targets.flag_names) == (("age",), ("label",))
    np.testing.assert_array_equal(targets.numbers, [[1, np.nan, 0]])
    assert targets.flags.tolist() == [[1, 0, 255]]


def test_an_exported_table_keeps_its_recipe(own, tmp_path):
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    bottleneck.export(own, output=tmp_path / "x.parquet")
    bottleneck.train(own, output=tmp_path / "own.head")
    ours = bottleneck.evaluate(tmp_path / "own.head", own).to_json()
    theirs = bottleneck.evaluate(tmp_path / "own.head", tmp_path / "x.parquet").to_json()
    assert theirs["accuracy"] == ours["accuracy"]
    assert theirs["trained_rows_skipped"] == ours["trained_rows_skipped"]
    bottleneck.export(own, output=tmp_path / "x.npy")  # says nothing of its recipe
    with pytest.raises(
        BottleneckError, match="trained on output 'avg', the features are of 'features'"
    ):
        bottleneck.evaluate(tmp_path / "own.head", tmp_path / "x.npy")


BROKEN = {
    "a line too short": ("x.csv", "path,label,f0,f1\na,1,2,3\nb,1,2\n", "line 3: expected 4 cells"),
    "a line too long": ("x.csv", "path,label,f0,f1\na,1,2,3,4\n", "expected 4 cells.*got 5"),
    "no number": ("x.csv", "path,label,f0,f1\na,1,2,\n", "row 0: expected numbers"),
    "a gap in the numbers": ("x.csv", "path,f0,f2\na,1,2\n", "columns of features that are num"),
    "no features": ("x.csv", "path,label\na,1\n", "columns of features that are numbered"),
    "a column twice": ("x.csv", "path,f0,f1,f1\na,1,2,2\n", "'f1' appears twice"),
    "a broken quote": ("x.csv", 'path,f0,f1\n"a"b,1,2\n', "cannot read the table"),
    "a split of another name": ("x.csv", "path,split,f0,f1\na,later,2,3\n", "expected a split"),
    "a key twice": ("x.csv", "path,f0,f1\na,1,2\na,1,2\n", "'a'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_tables_that_do_not_fit_are_refused(tmp_path, case):
    name, text, message = BROKEN[case]
    (tmp_path / name).write_text(text)
    with pytest.raises(StoreError, match=message):
        FeatureStore.open(tmp_path / name)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 2.0], [1.0]], "of one length in every row, got 1, 2"),
        ([[1.0, 2.0], None], "of one length in every row, got 2, None"),
        ([[1.0, 2.0], [None, 1.0]], "with nulls"),
        ([[1, 2], [3, 4]], "lists of floats"),
        ([1.0, 2.0], "lists of floats"),
    ],
)
def test_lists_that_are_no_features_are_refused(tmp_path, rows, message):
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"features": rows}), tmp_path / "x.parquet")
    with pytest.raises(StoreError, match=message):
        FeatureStore.open(tmp_path / "x.parquet")


def test_arrays_without_a_name_for_features_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 4, 4, 3), np.uint8), labels=[0, 1, 2])
    with pytest.raises(StoreError, match="found images, labels") as caught:
        FeatureStore.open(tmp_path / "x.npz")
    assert "features=" in caught.value.hint
    np.savez(tmp_path / "y.npz", deep=np.ones((3, 2), np.float32), y=[0, 1, 2])
    assert FeatureStore.open(tmp_path / "y.npz", features="deep").classes == ("0", "1", "2")


def test_a_damaged_file_of_ours_is_not_taken_for_anothers(own):
    with h5py.File(own, "r+") as file:
        file["embeddings"] = np.ones((240, 3), np.float32)
        del file.attrs["format"]
    with pytest.raises(StoreError, match="expected a feature file"):
        FeatureStore.open(own)
    with h5py.File(own, "r+") as file:
        del file.attrs["format_version"]
    with pytest.raises(StoreError, match="expected a feature file"):
        FeatureStore.open(own)


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_doubles_are_learnt_from(own, tmp_path, kind):
    store = FeatureStore.open(own)
    rows = np.flatnonzero(store.done)
    X, columns = store.features()[rows].astype(np.float64), columns_of(store, rows)
    path = tmp_path / f"x.{kind}"
    if kind == "npz":
        np.savez(
            path, embeddings=X, y=columns["label"], keys=columns["path"], split=columns["split"]
        )
    else:
        np.save(path, X)
        with path.with_suffix(".csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([columns, *zip(*columns.values(), strict=True)])
    made = bottleneck.train(path, output=tmp_path / "h.head").to_json()
    assert made["test"]["accuracy"] > 2 / 6


def test_a_folder_of_clip_retrieval_is_learnt_from(own, tmp_path):
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    import pyarrow as pa
    from pyarrow import parquet

    store = FeatureStore.open(own)
    rows = np.flatnonzero(store.done)
    columns = columns_of(store, rows)
    columns["image_path"] = columns.pop("path")
    for name in ("img_emb", "metadata"):
        (tmp_path / "clip" / name).mkdir(parents=True)
    for i, part in enumerate(np.array_split(np.arange(len(rows)), 3)):
        np.save(tmp_path / "clip" / "img_emb" / f"img_emb_{i}.npy", store.features()[rows[part]])
        cut = {name: [values[j] for j in part] for name, values in columns.items()}
        parquet.write_table(pa.table(cut), tmp_path / "clip" / "metadata" / f"metadata_{i}.parquet")
    made = bottleneck.train(tmp_path / "clip", output=tmp_path / "h.head").to_json()
    again = bottleneck.train(own, output=tmp_path / "own.head").to_json()
    assert made["test"] == again["test"]


def test_keys_of_any_bytes_come_back(tmp_path):
    keys = ["a\rb.png", "c\nd.png", b"caf\xe9.png".decode("utf-8", "surrogateescape"), '"q",.png']
    keys += [f"{i}.png" for i in range(56)]
    own = write_blobs(tmp_path, "own.h5", n=60, keys=keys)
    for name in ("x.npy", "x.parquet"):
        bottleneck.export(own, output=tmp_path / name)
        assert list(FeatureStore.open(tmp_path / name).keys) == keys


def test_labels_and_groups_of_any_bytes_come_back_from_parquet(tmp_path):
    odd = b"sch\xf6n".decode("utf-8", "surrogateescape")
    labels, groups = ([odd, "katze"] * 30), [odd, "b", "c"] * 20
    own = write_blobs(tmp_path, "own.h5", n=60, labels=labels, groups=groups)
    bottleneck.export(own, output=tmp_path / "x.parquet")
    ours, theirs = FeatureStore.open(own), FeatureStore.open(tmp_path / "x.parquet")
    assert [theirs.classes[code] for code in theirs.labels] == labels
    assert theirs.classes == ours.classes
    assert theirs.manifest.group_names == ours.manifest.group_names
    np.testing.assert_array_equal(theirs.manifest.groups, ours.manifest.groups)
    # What is UTF-8 is text for other programs.
    parquet = pytest.importorskip("pyarrow.parquet")
    types = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "x.parquet")}
    assert (types["key"], types["label"], types["split"]) == ("string", "binary", "string")


def test_the_command_names_what_it_expects(own, tmp_path):
    """What is wrong with features of other programs is said with what to do."""
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["vectors"] = np.ones((3, 2), np.float32)
    with pytest.raises(StoreError) as caught:
        bottleneck.train(tmp_path / "odd.h5", output=tmp_path / "h.head")
    assert re.search("features, feats or embeddings", caught.value.hint)
